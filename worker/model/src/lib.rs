//! Model architectures: trait [`CausalLm`] and the table that loads a file or folder into one.
//!
//! # Layout
//! - `llama`, `qwen2`, `qwen3`, `gemma3`: one file per architecture: which parts it is made of, and its own settings
//! - `decoder`: the stack of layers; `attention`, `feed_forward`, `rotary`: its parts; `config`: sizes that all have
//! - `checkpoint`: weights from either source; [`gguf`] files; [`hub`] folders (`config.json`, safetensors, downloads)
//! - `locate`: where a model lies; `error`: why it cannot be loaded

mod attention;
mod checkpoint;
mod config;
mod decoder;
mod error;
mod feed_forward;
mod gemma3;
pub mod gguf;
mod gguf_header;
pub mod hub;
mod llama;
mod locate;
mod qwen2;
mod qwen3;
mod rotary;
pub mod tensor_error;
pub mod text;

use std::path::PathBuf;

use candle_core::{Device, Tensor};

use checkpoint::{Checkpoint, Loader};
use decoder::Decoder;
use eoscast_kernels::{AttentionSpan, Compute, PagedKv};
use gguf::GgufFile;
use hub::{HubConfig, HubFolder};
use text::{ChatTemplate, Tokenizer};

pub use error::{FileError, ModelError, WeightError};
pub use locate::locate;

/// An architecture: its name in GGUF files (`general.architecture`) and on the hub (`model_type`), and how it is read.
struct Architecture {
    name: &'static str,
    hub_name: &'static str,
    load: fn(&mut Loader<'_>) -> Result<Decoder, FileError>,
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", hub_name: "llama", load: llama::load },
    Architecture { name: "qwen2", hub_name: "qwen2", load: qwen2::load },
    Architecture { name: "qwen3", hub_name: "qwen3", load: qwen3::load },
    Architecture { name: "gemma3", hub_name: "gemma3_text", load: gemma3::load },
];

/// The architecture whose name by `name_of` is `found`.
fn architecture(
    found: &str,
    name_of: impl Fn(&'static Architecture) -> &'static str,
) -> Result<&'static Architecture, FileError> {
    let known = || ARCHITECTURES.iter().map(&name_of);
    ARCHITECTURES.iter().find(|architecture| name_of(architecture) == found).ok_or_else(|| {
        let supported = known().collect::<Vec<_>>().join(", ");
        FileError::UnsupportedArchitecture { found: found.to_owned(), supported }
    })
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
    /// Layer, counted from 1, whose sum of residuals is wanted too.
    pub tapped_layer: Option<usize>,
}

/// What a forward pass gives for the rows wanted.
pub struct Forward {
    /// `[wanted, vocab_size]`, f32.
    pub logits: Tensor,
    /// The residual stream behind [`Rows::tapped_layer`], `[wanted, hidden_size]`, f32.
    pub tapped: Option<Tensor>,
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

    /// Numbers in a hidden state.
    fn hidden_size(&self) -> usize;

    /// Writes the rows' keys and values into `kv` (one cache a layer) and returns what is wanted.
    ///
    /// # Errors
    /// The tensor library failed.
    fn forward(&self, rows: &Rows<'_>, kv: &mut [PagedKv]) -> candle_core::Result<Forward>;
}

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file, or a folder in the hub's layout.
    pub path: PathBuf,
    /// Arithmetic of the matrix products.
    pub compute: Compute,
    /// Where weights and cache are.
    pub device: Device,
}

/// What a model's file or folder holds.
pub struct LoadedModel {
    /// Its name in [`ARCHITECTURES`].
    pub architecture: &'static str,
    /// Weights, in parameters.
    pub parameters: u64,
    /// Dominant weight type as the file states it, e.g. `Q4_1`.
    pub quantization: String,
    /// The weights, ready to compute with.
    pub model: Box<dyn CausalLm>,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Chat messages to text, if the file has a template.
    pub chat_template: Option<ChatTemplate>,
}

/// Loads a model; `progress(done, total)` is called as layers arrive.
///
/// # Errors
/// The file is missing, broken or of an unsupported kind, named with what is wrong.
pub fn load(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, ModelError> {
    load_file(options, progress).map_err(|problem| ModelError::File { path: options.path.clone(), problem })
}

fn load_file(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, FileError> {
    if options.path.is_dir() { load_folder(options, progress) } else { load_gguf(options, progress) }
}

fn load_gguf(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, FileError> {
    let file = GgufFile::open(&options.path)?;
    let metadata = file.metadata();
    let architecture = architecture(metadata.text("general.architecture")?, |architecture| architecture.name)?;
    let tokenizer = Tokenizer::from_gguf(metadata)?;
    let chat_template = metadata
        .optional_text("tokenizer.chat_template")?
        .map(|source| ChatTemplate::new(source, tokenizer.bos_token(), tokenizer.eos_token()))
        .transpose()?;
    let (parameters, quantization) = (file.parameters(), file.dominant_type());
    let mut checkpoint = Checkpoint::Gguf(file);
    let LoadOptions { compute, ref device, .. } = *options;
    let mut loader =
        Loader { checkpoint: &mut checkpoint, vocab_size: tokenizer.vocab_size(), compute, device, progress };
    let model = Box::new((architecture.load)(&mut loader)?);
    Ok(LoadedModel { architecture: architecture.name, parameters, quantization, model, tokenizer, chat_template })
}

fn load_folder(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, FileError> {
    let path = &options.path;
    let config = HubConfig::read(path)?;
    let architecture = architecture(&config.model_type, |architecture| architecture.hub_name)?;
    config.check_features()?;
    let vocab_size = config.vocab_size()?;
    let folder = HubFolder::open(path, config, architecture.name)?;
    // The vocabulary's size is only a claim until the embedding has as many rows.
    folder.check_shape("token_embd.weight", &[vocab_size, folder.config.hidden_size()?])?;
    let (tokenizer, chat_template) = text::hub::read(path, vocab_size, folder.config.eos_token_ids())?;
    let (parameters, quantization) = (folder.parameters(), format!("{:?}", folder.dominant_type()));
    let mut checkpoint = Checkpoint::Hub(Box::new(folder));
    let LoadOptions { compute, ref device, .. } = *options;
    let mut loader = Loader { checkpoint: &mut checkpoint, vocab_size, compute, device, progress };
    let model = Box::new((architecture.load)(&mut loader)?);
    Ok(LoadedModel { architecture: architecture.name, parameters, quantization, model, tokenizer, chat_template })
}
