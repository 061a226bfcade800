//! Tensor names of the hub for those of GGUF files.

/// Parts of a layer: GGUF's name, and the hub's.
const PARTS: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// Gemma norms what attention gives, too: the norm before the feed-forward layer has another name there.
const GEMMA_PARTS: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The hub's name of the tensor that GGUF files call `name`, e.g. `model.layers.3.mlp.up_proj.weight` for `blk.3.ffn_up.weight`.
/// A name that the hub does not have comes back as it is.
pub(super) fn on_the_hub(architecture: &str, name: &str) -> String {
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => "model.norm.weight".to_owned(),
        "output.weight" => "lm_head.weight".to_owned(),
        _ => in_layer(architecture, name).unwrap_or_else(|| name.to_owned()),
    }
}

fn in_layer(architecture: &str, name: &str) -> Option<String> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = part.split_once('.')?;
    let own = if architecture == "gemma3" { GEMMA_PARTS } else { &[] };
    let (_, part) = own.iter().chain(PARTS).find(|(gguf, _)| *gguf == part)?;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::on_the_hub;

    #[test]
    fn a_norm_has_the_name_that_its_architecture_gives_it() {
        let name = |architecture| on_the_hub(architecture, "blk.12.ffn_norm.weight");
        assert_eq!(name("llama"), "model.layers.12.post_attention_layernorm.weight");
        assert_eq!(name("gemma3"), "model.layers.12.pre_feedforward_layernorm.weight");
        assert_eq!(on_the_hub("gemma3", "blk.0.attn_q.bias"), "model.layers.0.self_attn.q_proj.bias");
    }
}
