//! Gated activations of feed-forward layers (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).

use crate::options::Activation;
use crate::{cpu, portable};
use candle_core::{Result, Tensor};

/// `activation(gate) * up`; all `[rows, n]`.
///
/// # Errors
/// Where the operands are not `f32` on one device, on the CPU with contiguous rows, or the shapes differ.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    match gate.device().is_cpu() {
        true => cpu::gated(activation, gate, up),
        false => portable::gated(activation, gate, up),
    }
}
