//! The gated feed-forward layer (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).

use candle_core::{Result, Tensor};

use super::config::Config;
use super::loader::LayerLoader;
use crate::checkpoint::CheckpointError;
use eoscast_kernels::{Activation, Linear, gated};

/// `down(activation(gate x) * up x)`.
pub(super) struct FeedForward {
    /// Gate and up: one matrix, so that the two products share a pass.
    gate_up: Linear,
    down: Linear,
    width: usize,
    activation: Activation,
}

impl FeedForward {
    pub(super) fn load(
        layer: &mut LayerLoader<'_>,
        config: &Config,
        activation: Activation,
    ) -> std::result::Result<Self, CheckpointError> {
        let width = config.feed_forward;
        Ok(Self {
            gate_up: layer.linear(&[("ffn_gate", width), ("ffn_up", width)], config.hidden)?,
            down: layer.linear(&[("ffn_down", config.hidden)], width)?,
            width,
            activation,
        })
    }

    /// `[rows, hidden]` to the same.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.gate_up.forward(x)?;
        let (gate, up) = (x.narrow(1, 0, self.width)?, x.narrow(1, self.width, self.width)?);
        self.down.forward(&gated(self.activation, &gate, &up)?)
    }
}
