//! Qwen3: as Llama, with norms of each query head and each key head.
//!
//! Source: Yang et al. 2025, "Qwen3 Technical Report", <https://arxiv.org/abs/2505.09388>.

use super::attention::Attention;
use super::config::Config;
use super::decoder::{Block, Decoder};
use super::definition::Architecture;
use super::loader::Loader;
use crate::checkpoint::{Checkpoint, CheckpointError, HubConventions};

pub(super) const QWEN3: Architecture =
    Architecture { name: "qwen3", hub_name: "qwen3", hub_conventions: HubConventions::LLAMA, load };

fn load(loader: &mut Loader<'_>) -> Result<Decoder, CheckpointError> {
    let config = Config::read(loader.checkpoint)?;
    if let Checkpoint::Hub(folder) = loader.checkpoint {
        folder.config.check_activation(&["silu"])?;
    }
    Decoder::load(loader, &config, vec![config.inverse_frequencies()], |_, layer| {
        let attention = Attention::load(layer, &config)?.with_head_norms(layer, &config)?;
        Block::pre_norm(layer, &config, attention)
    })
}
