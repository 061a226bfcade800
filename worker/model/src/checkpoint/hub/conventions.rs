//! [`HubConventions`]: what an architecture's folders have otherwise than Llama's.

/// How to read a folder where `config.json` and the tensors leave it open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubConventions {
    /// Tensor names that differ from the common ones: GGUF's name of a layer's part, and the hub's.
    pub(crate) own_parts: &'static [(&'static str, &'static str)],
    /// Norms multiply by `1 + w`; GGUF files hold that sum.
    pub(crate) norms_add_one: bool,
    /// `tie_word_embeddings`, where the file leaves it out.
    pub(crate) is_tied_by_default: bool,
    /// `rope_theta`, where the file leaves it out.
    pub(crate) rope_base: f32,
    /// Some layers see a window of positions: the architecture reads `layer_types`.
    pub(crate) has_local_layers: bool,
    /// The architecture adds biases to query, key and value, whatever `attention_bias` says.
    pub(crate) has_attention_bias: bool,
}

impl HubConventions {
    pub(crate) const LLAMA: Self = Self {
        own_parts: &[],
        norms_add_one: false,
        is_tied_by_default: false,
        rope_base: 10_000.0,
        has_local_layers: false,
        has_attention_bias: false,
    };
}
