//! From a model's file or folder to a runner with a KV cache.

use std::path::PathBuf;

use candle_core::Device;
use eoscast_kernels::Compute;
use eoscast_model::TensorError;
use eoscast_model::text::{ChatTemplate, Tokenizer};
use eoscast_model::{LoadOptions, LoadedModel, ModelError};
use thiserror::Error;

use super::{CandleRunner, ModelSpec};

/// Which model to run, and with which cache.
#[derive(Debug, Clone)]
pub struct RunnerOptions {
    /// A GGUF file (any one of a split model), or a folder in the hub's layout.
    pub path: PathBuf,
    /// Name under which the model is served and logged.
    pub name: String,
    /// Arithmetic of the matrix products.
    pub compute: Compute,
    /// Where weights and cache are.
    pub device: Device,
    /// Tokens per KV block.
    pub block_size: usize,
    /// KV budget in tokens; rounded down to whole blocks.
    pub kv_tokens: usize,
}

/// A model ready to run, and its texts.
pub struct LoadedRunner {
    /// Runs batches.
    pub runner: CandleRunner,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Chat messages to text, if the file has a template; it may be faulty.
    pub chat_template: Option<ChatTemplate>,
    /// What is odd in the file, but not needed.
    pub warnings: Vec<String>,
}

/// Why there is no runner.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A cache of this size or shape cannot be had.
    #[error("{0}")]
    InvalidOption(String),
}

/// Loads a model and adds its cache; `progress(done, total)` is called as layers arrive.
///
/// # Errors
/// The model cannot be loaded, or the cache is out of range or cannot be allocated.
pub fn load(options: &RunnerOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedRunner, LoadError> {
    let RunnerOptions { block_size, kv_tokens, compute, ref device, .. } = *options;
    if block_size == 0 || kv_tokens < block_size {
        return Err(LoadError::InvalidOption(format!(
            "kv budget of {kv_tokens} tokens is less than one block of {block_size}: raise the budget"
        )));
    }
    let num_blocks = kv_tokens / block_size;
    if u32::try_from(num_blocks).is_err() {
        return Err(LoadError::InvalidOption(format!(
            "kv budget of {num_blocks} blocks is too large: lower the budget"
        )));
    }
    let source = LoadOptions { path: options.path.clone(), compute, device: device.clone() };
    let LoadedModel { architecture, parameters, quantization, model, tokenizer, chat_template, warnings } =
        eoscast_model::load(&source, progress)?;
    let spec = ModelSpec {
        name: options.name.clone(),
        architecture: architecture.to_owned(),
        vocab_size: tokenizer.vocab_size(),
        context_length: model.context_length(),
        eos_token_ids: tokenizer.eos_token_ids().to_vec(),
        parameters,
        quantization,
        block_size,
        num_blocks,
    };
    let runner = CandleRunner::new(spec, model, compute, device)
        .map_err(|error| LoadError::InvalidOption(TensorError::from(error).to_string()))?;
    Ok(LoadedRunner { runner, tokenizer, chat_template, warnings })
}
