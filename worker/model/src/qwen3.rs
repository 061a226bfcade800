//! Qwen3: as Llama, with norms of each query head and each key head.
//!
//! Source: Yang et al. 2025, "Qwen3 Technical Report", <https://arxiv.org/abs/2505.09388>.

use super::attention::Attention;
use super::checkpoint::{Checkpoint, Loader};
use super::config::Config;
use super::decoder::{Block, Decoder};
use super::error::FileError;

pub(super) fn load(loader: &mut Loader<'_>) -> Result<Decoder, FileError> {
    let config = Config::read(loader.checkpoint)?;
    if let Checkpoint::Hub(folder) = loader.checkpoint {
        folder.config.check_activation(&["silu"])?;
    }
    Decoder::load(loader, &config, vec![config.inverse_frequencies()], |_, layer| {
        let attention = Attention::load(layer, &config)?.with_head_norms(layer, &config)?;
        Block::pre_norm(layer, &config, attention)
    })
}
