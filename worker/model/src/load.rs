//! From a path to a model, its tokenizer and its chat template.

use std::path::PathBuf;

use candle_core::Device;
use eoscast_kernels::Compute;

use crate::architecture::{ARCHITECTURES, Architecture, CausalLm, Loader};
use crate::checkpoint::{Checkpoint, CheckpointError, GgufFile, HubConfig, HubFolder};
use crate::error::{FileError, ModelError};
use crate::text::{self, ChatTemplate, Tokenizer};

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file (any one of a split model), or a folder in the hub's layout.
    pub path: PathBuf,
    /// Arithmetic of the matrix products.
    pub compute: Compute,
    /// Where weights and cache are.
    pub device: Device,
}

/// What a model's file or folder holds.
pub struct LoadedModel {
    /// Its name in GGUF files.
    pub architecture: &'static str,
    /// Weights, in parameters.
    pub parameters: u64,
    /// Dominant weight type as the file states it, e.g. `Q4_1`.
    pub quantization: String,
    /// The weights, ready to compute with.
    pub model: Box<dyn CausalLm>,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Chat messages to text, if the file has a template; it may be faulty.
    pub chat_template: Option<ChatTemplate>,
    /// What is odd in the file, but not needed.
    pub warnings: Vec<String>,
}

/// Loads a model; `progress(done, total)` is called as layers arrive.
///
/// # Errors
/// The file is missing, broken or of an unsupported kind, named with what is wrong.
pub fn load(options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, ModelError> {
    let source = if options.path.is_dir() { open_folder(options) } else { open_gguf(options) };
    let loaded = source.and_then(|source| source.load(options, progress));
    loaded.map_err(|problem| ModelError { path: options.path.clone(), problem })
}

/// What is read before the weights.
struct Source {
    architecture: &'static Architecture,
    parameters: u64,
    quantization: String,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    chat_template: Option<ChatTemplate>,
    warnings: Vec<String>,
}

impl Source {
    fn load(mut self, options: &LoadOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<LoadedModel, FileError> {
        let LoadOptions { compute, ref device, .. } = *options;
        let vocab_size = self.tokenizer.vocab_size();
        let mut loader = Loader { checkpoint: &mut self.checkpoint, vocab_size, compute, device, progress };
        let model = Box::new((self.architecture.load)(&mut loader)?);
        let Self { parameters, quantization, tokenizer, chat_template, warnings, .. } = self;
        let architecture = self.architecture.name;
        Ok(LoadedModel { architecture, parameters, quantization, model, tokenizer, chat_template, warnings })
    }
}

fn open_gguf(options: &LoadOptions) -> Result<Source, FileError> {
    let file = GgufFile::open(&options.path).map_err(CheckpointError::from)?;
    let metadata = file.metadata();
    let name = metadata.text("general.architecture").map_err(CheckpointError::from)?;
    let architecture = find(name, |architecture| architecture.name)?;
    let mut warnings = Vec::new();
    let (tokenizer, chat_template) = text::gguf::read(metadata, &mut warnings)?;
    let (parameters, quantization) = (file.parameters(), file.dominant_type());
    let checkpoint = Checkpoint::Gguf(file);
    Ok(Source { architecture, parameters, quantization, checkpoint, tokenizer, chat_template, warnings })
}

fn open_folder(options: &LoadOptions) -> Result<Source, FileError> {
    let path = &options.path;
    let config = HubConfig::read(path).map_err(CheckpointError::from)?;
    let architecture = find(&config.model_type, |architecture| architecture.hub_name)?;
    config.check_features(&architecture.hub_conventions)?;
    let vocab_size = config.vocab_size()?;
    let folder = HubFolder::open(path, config, architecture.hub_conventions).map_err(CheckpointError::from)?;
    // The vocabulary's size is only a claim until the embedding has as many rows.
    let embedding = [vocab_size, folder.config.hidden_size()?];
    folder.check_shape("token_embd.weight", &embedding).map_err(CheckpointError::from)?;
    let (tokenizer, chat_template) = text::hub::read(path, vocab_size, folder.config.eos_token_ids())?;
    let (parameters, quantization) = (folder.parameters(), format!("{:?}", folder.dominant_type()));
    let checkpoint = Checkpoint::Hub(Box::new(folder));
    let warnings = Vec::new();
    Ok(Source { architecture, parameters, quantization, checkpoint, tokenizer, chat_template, warnings })
}

/// The architecture whose name by `name_of` is `found`.
fn find(
    found: &str,
    name_of: impl Fn(&'static Architecture) -> &'static str,
) -> Result<&'static Architecture, FileError> {
    let known = || ARCHITECTURES.iter().map(&name_of);
    ARCHITECTURES.iter().find(|architecture| name_of(architecture) == found).ok_or_else(|| {
        let supported = known().collect::<Vec<_>>().join(", ");
        FileError::UnsupportedArchitecture { found: found.to_owned(), supported }
    })
}
