//! Qwen2 and Qwen2.5: as Llama, with biases of query, key and value.
//!
//! Source: Yang et al. 2024, "Qwen2 Technical Report", <https://arxiv.org/abs/2407.10671>.

use super::attention::Attention;
use super::config::Config;
use super::decoder::{Block, Decoder};
use super::definition::Architecture;
use super::loader::Loader;
use crate::checkpoint::{Checkpoint, CheckpointError, HubConventions};

pub(super) const QWEN2: Architecture = Architecture {
    name: "qwen2",
    hub_name: "qwen2",
    hub_conventions: HubConventions { has_attention_bias: true, ..HubConventions::LLAMA },
    load,
};

fn load(loader: &mut Loader<'_>) -> Result<Decoder, CheckpointError> {
    let config = Config::read(loader.checkpoint)?;
    if let Checkpoint::Hub(folder) = loader.checkpoint {
        folder.config.check_activation(&["silu"])?;
    }
    Decoder::load(loader, &config, vec![config.inverse_frequencies()], |_, layer| {
        let attention = Attention::load(layer, &config)?.with_bias(layer, &config)?;
        Block::pre_norm(layer, &config, attention)
    })
}
