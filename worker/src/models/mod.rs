//! Model architectures: trait [`CausalLm`] and the table that loads a file into one.

pub mod gguf;
mod gguf_header;
mod llama;
mod locate;

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use thiserror::Error;

use crate::kernels::{AttentionSpan, Compute, PagedKv};
use crate::runner::{CandleRunner, ModelSpec};
use crate::tensor_error::TensorError;
use crate::text::{ChatTemplate, ChatTemplateError, Tokenizer, TokenizerError};
use gguf::{GgufError, GgufFile};

pub use locate::locate;

/// Reads the weights of one architecture; `vocab_size` is the tokenizer's, and `progress(done, total)` counts layers.
type Loader = fn(&mut GgufFile, usize, Compute, &mut dyn FnMut(usize, usize)) -> Result<Box<dyn CausalLm>, FileError>;

/// Loader of each `general.architecture`.
const ARCHITECTURES: &[(&str, Loader)] = &[("llama", llama::load)];

/// Why a model cannot be loaded.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A known name whose file lies nowhere.
    #[error("model `{name}` not found (looked for {looked_in}): run `make setup`, or pass the path of a gguf file")]
    NotFound {
        /// The name.
        name: String,
        /// Files tried.
        looked_in: String,
    },
    /// Neither a file nor a known name.
    #[error("model `{name}` is neither a file nor a known name (known: {known})")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// Names known.
        known: String,
    },
    /// The file is unusable.
    #[error("model file {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: FileError,
    },
    /// A load option out of range.
    #[error("{0}")]
    InvalidOption(String),
}

/// What is wrong with a model file.
#[derive(Debug, Error)]
pub enum FileError {
    /// The container.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    ChatTemplate(#[from] ChatTemplateError),
    /// A model of another kind.
    #[error("architecture `{0}` is not supported (supported: {supported})", supported = supported())]
    UnsupportedArchitecture(String),
    /// A variant of a supported architecture.
    #[error("{0} is not supported")]
    UnsupportedFeature(String),
    /// The tensor library failed.
    #[error("weights cannot be prepared: {0}")]
    Tensor(TensorError),
}

impl From<candle_core::Error> for FileError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.into())
    }
}

/// The rows of one forward pass: sequences one after the other.
pub struct Rows<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Position of each row in its sequence.
    pub positions: &'a [u32],
    /// Which rows belong to which sequence.
    pub spans: &'a [AttentionSpan<'a>],
    /// Rows whose logits are wanted, ascending.
    pub wanted: &'a [u32],
}

/// Shape of the keys (and of the values) of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers, each with its own cache.
    pub layers: usize,
    /// Key/value heads.
    pub heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
}

/// A decoder-only language model with its weights.
pub trait CausalLm: Send {
    /// Shape of the cache that [`Self::forward`] needs.
    fn kv_shape(&self) -> KvShape;

    /// Longest sequence the model was trained for, in tokens.
    fn context_length(&self) -> usize;

    /// Writes the rows' keys and values into `kv` (one cache a layer) and returns logits `[wanted, vocab_size]` in f32.
    ///
    /// # Errors
    /// The tensor library failed.
    fn forward(&self, rows: &Rows<'_>, kv: &mut [PagedKv]) -> candle_core::Result<Tensor>;
}

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file.
    pub path: PathBuf,
    /// Name under which the model is served and logged.
    pub name: String,
    /// Arithmetic of the matrix products.
    pub compute: Compute,
    /// Tokens per KV block.
    pub block_size: usize,
    /// KV budget in tokens; rounded down to whole blocks.
    pub kv_tokens: usize,
}

/// A model ready to run, and its texts.
pub struct LoadedModel {
    /// Runs batches.
    pub runner: CandleRunner,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Chat messages to text, if the file has a template.
    pub chat_template: Option<ChatTemplate>,
}

/// Loads a model; `progress(done, total)` is called as layers arrive.
///
/// # Errors
/// The file is missing, broken or of an unsupported kind (named with what is wrong), or an option is out of range.
pub fn load(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, ModelError> {
    if options.block_size == 0 || options.kv_tokens < options.block_size {
        return Err(ModelError::InvalidOption(format!(
            "kv budget of {} tokens is less than one block of {}: raise the budget",
            options.kv_tokens, options.block_size
        )));
    }
    let num_blocks = options.kv_tokens / options.block_size;
    if u32::try_from(num_blocks).is_err() {
        return Err(ModelError::InvalidOption(format!(
            "kv budget of {num_blocks} blocks is too large: lower the budget"
        )));
    }
    let parts = load_file(&options.path, options.compute, progress)
        .map_err(|problem| ModelError::File { path: options.path.clone(), problem })?;
    let spec = ModelSpec {
        name: options.name.clone(),
        architecture: parts.architecture,
        vocab_size: parts.tokenizer.vocab_size(),
        context_length: parts.model.context_length(),
        eos_token_ids: parts.tokenizer.eos_token_ids().to_vec(),
        parameters: parts.parameters,
        quantization: parts.quantization,
        block_size: options.block_size,
        num_blocks,
    };
    let runner = CandleRunner::new(spec, parts.model, options.compute.kv_type())
        .map_err(|error| ModelError::InvalidOption(TensorError::from(error).to_string()))?;
    Ok(LoadedModel { runner, tokenizer: parts.tokenizer, chat_template: parts.chat_template })
}

/// What a model file holds, before a cache is added.
struct FileParts {
    architecture: String,
    parameters: u64,
    quantization: String,
    model: Box<dyn CausalLm>,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
}

fn load_file(path: &Path, compute: Compute, progress: &mut dyn FnMut(usize, usize)) -> Result<FileParts, FileError> {
    let mut file = GgufFile::open(path)?;
    let metadata = file.metadata();
    let architecture = metadata.text("general.architecture")?.to_owned();
    let (_, load_weights) = ARCHITECTURES
        .iter()
        .find(|(name, _)| *name == architecture)
        .ok_or_else(|| FileError::UnsupportedArchitecture(architecture.clone()))?;
    let tokenizer = Tokenizer::from_gguf(metadata)?;
    let chat_template = metadata
        .optional_text("tokenizer.chat_template")?
        .map(|source| ChatTemplate::new(source, tokenizer.bos_token(), tokenizer.eos_token()))
        .transpose()?;
    Ok(FileParts {
        parameters: file.parameters(),
        quantization: file.dominant_type(),
        model: load_weights(&mut file, tokenizer.vocab_size(), compute, progress)?,
        architecture,
        tokenizer,
        chat_template,
    })
}

fn supported() -> String {
    ARCHITECTURES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
