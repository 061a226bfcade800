//! Model folders as the Hugging Face hub has them: `config.json`, safetensors, `tokenizer.json`.

mod config;
pub mod download;
mod names;
mod safetensors;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::error::WeightError;
pub(crate) use config::TokenIds;
pub(super) use config::{HubConfig, positive};
use safetensors::SafetensorsFile;

/// Longest JSON or template file; the largest published tokenizers take about 35 MB.
const MAX_TEXT_BYTES: u64 = 1 << 28;

/// Why a hub folder cannot be used.
#[derive(Debug, Error)]
pub enum HubError {
    /// A file that cannot be read.
    #[error("{file}: {problem}")]
    Io {
        /// Name in the folder.
        file: String,
        /// What the system says.
        problem: std::io::Error,
    },
    /// A file that contradicts its format, or what we make of it.
    #[error("{file}: {problem}")]
    Malformed {
        /// Name in the folder.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
}

impl HubError {
    pub(crate) fn malformed(file: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), problem: problem.into() }
    }
}

/// Reads file `name` of `folder`; `None` if there is none.
pub(crate) fn read_text(folder: &Path, name: &str) -> Result<Option<String>, HubError> {
    let io = |problem| HubError::Io { file: name.to_owned(), problem };
    let file = match File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = String::new();
    // `take` grows the buffer by what is really there.
    file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(HubError::malformed(name, format!("longer than {MAX_TEXT_BYTES} bytes")));
    }
    Ok(Some(text))
}

/// Parses the content of file `name`; an error says which field.
pub(crate) fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, HubError> {
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| HubError::malformed(name, error.to_string()))
}

/// Reads and parses file `name` of `folder`; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>, HubError> {
    read_text(folder, name)?.map(|text| parse_json(name, &text)).transpose()
}

/// An open folder: its settings and its tensors, which are named and valued as a GGUF file would have them.
pub(super) struct HubFolder {
    pub(super) config: HubConfig,
    architecture: &'static str,
    shards: Vec<SafetensorsFile>,
    /// Which shard holds a tensor, by the hub's name.
    shard_of: BTreeMap<String, usize>,
    /// Tensors that nobody has asked for yet.
    unread: BTreeSet<String>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The files that hold the tensors.
    fn shards(self) -> Result<BTreeSet<String>, HubError> {
        let names: BTreeSet<String> = self.weight_map.into_values().collect();
        // The index may come from anywhere: it must not name files outside the folder.
        match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
            Some(name) => Err(HubError::malformed(download::SHARD_INDEX, format!("`{name}` is not a file name"))),
            None => Ok(names),
        }
    }
}

impl HubFolder {
    /// Opens the weights in `folder`, whose `config.json` is `config`, of one of our architectures.
    pub(super) fn open(folder: &Path, config: HubConfig, architecture: &'static str) -> Result<Self, HubError> {
        let index: Option<ShardIndex> = read_json(folder, download::SHARD_INDEX)?;
        let names = match index {
            Some(index) => index.shards()?,
            None => BTreeSet::from([download::WEIGHTS.to_owned()]),
        };
        let mut shards = Vec::new();
        let mut shard_of = BTreeMap::new();
        for name in names {
            let shard = SafetensorsFile::open(folder, &name)?;
            for tensor in shard.names() {
                if shard_of.insert(tensor.to_owned(), shards.len()).is_some() {
                    return Err(HubError::malformed(&name, format!("tensor `{tensor}` is in another shard too")));
                }
            }
            shards.push(shard);
        }
        let unread = shard_of.keys().cloned().collect();
        Ok(Self { config, architecture, shards, shard_of, unread })
    }

    /// Whether the model has the tensor that GGUF files call `name`.
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        match name {
            // A tied matrix may be stored twice.
            "output.weight" => !self.config.tie_word_embeddings(),
            _ => self.shard_of.contains_key(&names::on_the_hub(self.architecture, name)),
        }
    }

    /// Checks the shape of the tensor that GGUF files call `name`, without reading it.
    pub(super) fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), WeightError> {
        let hub_name = names::on_the_hub(self.architecture, name);
        let shard = self.shard_of.get(&hub_name).ok_or_else(|| WeightError::Missing(hub_name.clone()))?;
        self.shards[*shard].check_shape(&hub_name, shape)
    }

    /// Reads the tensor that GGUF files call `name`, in its own type onto `device`; it must have `shape`.
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        let hub_name = names::on_the_hub(self.architecture, name);
        let shard = self.shard_of.get(&hub_name).ok_or_else(|| WeightError::Missing(hub_name.clone()))?;
        self.unread.remove(&hub_name);
        let tensor = self.shards[*shard].tensor(&hub_name, shape, device)?;
        // Gemma's norms multiply by 1 + w; GGUF files hold that sum.
        if self.architecture == "gemma3" && name.ends_with("norm.weight") {
            let sum = tensor.dequantize(device).and_then(|weight| weight.affine(1.0, 1.0));
            return sum
                .and_then(|weight| QTensor::quantize(&weight, GgmlDType::F32))
                .map_err(|error| WeightError::unreadable(&hub_name, error));
        }
        Ok(tensor)
    }

    /// Name of a tensor that was never read.
    pub(super) fn unread(&self) -> Option<&str> {
        let tied = self.config.tie_word_embeddings();
        // Old exports store the rotary frequencies that the settings give.
        let redundant = |name: &str| (tied && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
        self.unread.iter().map(String::as_str).find(|name| !redundant(name))
    }

    /// Number of weights in the folder.
    pub(super) fn parameters(&self) -> u64 {
        self.shards.iter().flat_map(SafetensorsFile::elements).map(|(_, elements)| elements).sum()
    }

    /// The type that most weights have.
    pub(super) fn dominant_type(&self) -> DType {
        let mut elements = BTreeMap::<&str, (u64, DType)>::new();
        for (dtype, count) in self.shards.iter().flat_map(SafetensorsFile::elements) {
            elements.entry(dtype.as_str()).or_insert((0, dtype)).0 += count;
        }
        elements.into_values().max_by_key(|(count, _)| *count).map_or(DType::F32, |(_, dtype)| dtype)
    }
}
