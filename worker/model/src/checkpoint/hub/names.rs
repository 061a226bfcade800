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

/// The hub's name of the tensor that GGUF files call `name`, e.g. `model.layers.3.mlp.up_proj.weight` for `blk.3.ffn_up.weight`.
/// Names of `own_parts` (GGUF's and the hub's) come before the common ones. A name that the hub does not have comes back as it is.
pub(super) fn on_the_hub(own_parts: &[(&str, &str)], name: &str) -> String {
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => "model.norm.weight".to_owned(),
        "output.weight" => "lm_head.weight".to_owned(),
        _ => in_layer(own_parts, name).unwrap_or_else(|| name.to_owned()),
    }
}

fn in_layer(own_parts: &[(&str, &str)], name: &str) -> Option<String> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, kind) = part.split_once('.')?;
    let (_, part) = own_parts.iter().chain(PARTS).find(|(gguf, _)| *gguf == part)?;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::on_the_hub;

    #[test]
    fn a_norm_has_the_name_that_its_architecture_gives_it() {
        let own: &[(&str, &str)] = &[("ffn_norm", "pre_feedforward_layernorm")];
        let name = |own_parts| on_the_hub(own_parts, "blk.12.ffn_norm.weight");
        assert_eq!(name(&[]), "model.layers.12.post_attention_layernorm.weight");
        assert_eq!(name(own), "model.layers.12.pre_feedforward_layernorm.weight");
        assert_eq!(on_the_hub(own, "blk.0.attn_q.bias"), "model.layers.0.self_attn.q_proj.bias");
    }
}
