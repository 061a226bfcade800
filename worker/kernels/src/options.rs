//! What a model or its user chooses: the same for kernels and twins.

use candle_core::Device;

/// What a gate goes through. Both are `x sigmoid(t(x))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `t(x) = x`, also called swish.
    Silu,
    /// `t(x) = 2 sqrt(2/π) (x + 0.044715 x³)`: GELU by the hyperbolic tangent (Hendrycks and Gimpel 2016,
    /// <https://arxiv.org/abs/1606.08415>), as `(1 + tanh(t/2)) / 2 = sigmoid(t)`.
    GeluTanh,
}

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// Neighbours `(2 i, 2 i + 1)`: Llama in GGUF files.
    Interleaved,
    /// `(i, i + n)` for `n` frequencies: Qwen, Gemma, and checkpoints in the hub's layout.
    Half,
}

/// How cached keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// Exact.
    F32,
    /// Half the memory, and half the traffic at long contexts.
    F16,
}

/// How a linear layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// Dequantised weights and `f32` arithmetic: the reference.
    F32,
    /// Integer arithmetic with the weights of the file: 8-bit activations where those are Q4_0, Q4_1 or Q4_K, 16-bit activations
    /// where they are Q5_0, Q6_K or Q8_0. F16 and BF16 weights stay as they are, in `f32` arithmetic; the others become `f32`.
    Quantized,
    /// On any device what [`Compute::Quantized`] means on a GPU, candle's products of the weights as the file holds them, but
    /// with exact keys and values: for tests.
    Portable,
}

impl Compute {
    /// Precision of the keys and values that goes with it.
    #[must_use]
    pub fn kv_type(self) -> KvType {
        match self {
            Self::F32 | Self::Portable => KvType::F32,
            Self::Quantized => KvType::F16,
        }
    }

    /// Whether a model on `device` runs on the CPU kernels and not on their twins. A model's layers and its cache must agree on
    /// it: [`PagedKv::new`](crate::PagedKv::new) if so, [`PagedKv::on_device`](crate::PagedKv::on_device) if not.
    #[must_use]
    pub fn has_kernels(self, device: &Device) -> bool {
        device.is_cpu() && self != Self::Portable
    }
}
