//! The Llama family: the plain decoder, with RMSNorm, rotary positions, grouped-query attention and SwiGLU.
//!
//! Sources: Touvron et al. 2023, "LLaMA", <https://arxiv.org/abs/2302.13971>; Grattafiori et al. 2024, "The Llama 3 Herd of
//! Models", <https://arxiv.org/abs/2407.21783>.

use candle_core::Device;

use super::attention::Attention;
use super::config::Config;
use super::decoder::{Block, Decoder};
use super::definition::Architecture;
use super::loader::Loader;
use crate::checkpoint::{Checkpoint, CheckpointError, HubConventions};
use eoscast_kernels::RopeLayout;

pub(super) const LLAMA: Architecture =
    Architecture { name: "llama", hub_name: "llama", hub_conventions: HubConventions::LLAMA, load };

fn load(loader: &mut Loader<'_>) -> Result<Decoder, CheckpointError> {
    let config = Config::read(loader.checkpoint)?;
    let mut frequencies = config.inverse_frequencies();
    let rope_layout = match loader.checkpoint {
        // GGUF files store query and key permuted so that rotary pairs are adjacent.
        Checkpoint::Gguf(_) => RopeLayout::Interleaved,
        Checkpoint::Hub(folder) => {
            folder.config.check_activation(&["silu"])?;
            RopeLayout::Half
        }
    };
    // GGUF files hold the stretch of Llama 3.1 as factors.
    if loader.checkpoint.has_tensor("rope_freqs.weight") {
        let factors =
            loader.checkpoint.vector("rope_freqs.weight", frequencies.len(), &Device::Cpu)?.to_vec1::<f32>()?;
        for (frequency, factor) in frequencies.iter_mut().zip(factors) {
            *frequency /= factor;
        }
    }
    Decoder::load(loader, &config, vec![frequencies], |_, layer| {
        let mut attention = Attention::load(layer, &config)?;
        attention.rope_layout = rope_layout;
        Block::pre_norm(layer, &config, attention)
    })
}
