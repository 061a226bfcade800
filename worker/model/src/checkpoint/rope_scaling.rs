//! How models stretch rotary positions to longer contexts.

use super::error::CheckpointError;

/// How the angles of a longer context come from those of the trained one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RopeScaling {
    /// As trained.
    None,
    /// All positions are divided by this (Chen et al. 2023, <https://arxiv.org/abs/2306.15595>).
    Linear(f32),
    /// Llama 3.1: long waves are stretched, short ones kept, and those between interpolated.
    Llama3 {
        /// Divides the frequencies of long waves.
        factor: f32,
        /// Waves longer than `original_context / low_frequency` are long.
        low_frequency: f32,
        /// Waves shorter than `original_context / high_frequency` are short.
        high_frequency: f32,
        /// Positions before the stretch.
        original_context: f32,
    },
}

impl RopeScaling {
    /// The refusal of a kind of scaling that `field` asks for.
    pub(crate) fn unsupported(kind: &str, field: &str) -> CheckpointError {
        CheckpointError::UnsupportedFeature(format!(
            "rope scaling `{kind}` (`{field}`; supported: linear, llama3, none)"
        ))
    }
}
