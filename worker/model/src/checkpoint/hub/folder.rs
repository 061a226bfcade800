//! An open folder: its settings and its tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device};

use super::super::error::{HubError, WeightError};
use super::config::HubConfig;
use super::conventions::HubConventions;
use super::json::read_json;
use super::names;
use super::safetensors::SafetensorsFile;
use super::shards::{SHARD_INDEX, ShardIndex, WEIGHTS};

/// An open folder: its settings and its tensors, which are named and valued as a GGUF file would have them.
pub(crate) struct HubFolder {
    pub(crate) config: HubConfig,
    pub(crate) conventions: HubConventions,
    shards: Vec<SafetensorsFile>,
    /// Which shard holds a tensor, by the hub's name.
    shard_of: BTreeMap<String, usize>,
    /// Tensors that nobody has asked for yet.
    unread: BTreeSet<String>,
}

impl HubFolder {
    /// Opens the weights in `folder`, whose `config.json` is `config`, of an architecture with these conventions.
    pub(crate) fn open(folder: &Path, config: HubConfig, conventions: HubConventions) -> Result<Self, HubError> {
        let index: Option<ShardIndex> = read_json(folder, SHARD_INDEX)?;
        let names = match index {
            Some(index) => index.shards()?,
            None => BTreeSet::from([WEIGHTS.to_owned()]),
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
        Ok(Self { config, conventions, shards, shard_of, unread })
    }

    /// The hub's name of the tensor that GGUF files call `name`.
    fn hub_name(&self, name: &str) -> String {
        names::on_the_hub(self.conventions.own_parts, name)
    }

    /// Whether the output layer is the embedding.
    fn is_tied(&self) -> bool {
        self.config.tie_word_embeddings().unwrap_or(self.conventions.is_tied_by_default)
    }

    /// Whether the model has the tensor that GGUF files call `name`.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        match name {
            // A tied matrix may be stored twice.
            "output.weight" => !self.is_tied(),
            _ => self.shard_of.contains_key(&self.hub_name(name)),
        }
    }

    /// Checks the shape of the tensor that GGUF files call `name`, without reading it.
    pub(crate) fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), WeightError> {
        let hub_name = self.hub_name(name);
        let shard = self.shard_of.get(&hub_name).ok_or_else(|| WeightError::Missing(hub_name.clone()))?;
        self.shards[*shard].check_shape(&hub_name, shape)
    }

    /// Reads the tensor that GGUF files call `name`, in its own type onto `device`; it must have `shape`.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        let hub_name = self.hub_name(name);
        let shard = self.shard_of.get(&hub_name).ok_or_else(|| WeightError::Missing(hub_name.clone()))?;
        self.unread.remove(&hub_name);
        let tensor = self.shards[*shard].tensor(&hub_name, shape, device)?;
        if self.conventions.norms_add_one && name.ends_with("norm.weight") {
            let sum = tensor.dequantize(device).and_then(|weight| weight.affine(1.0, 1.0));
            return sum
                .and_then(|weight| QTensor::quantize(&weight, GgmlDType::F32))
                .map_err(|error| WeightError::unreadable(&hub_name, error));
        }
        Ok(tensor)
    }

    /// Name of a tensor that was never read.
    pub(crate) fn unread(&self) -> Option<&str> {
        let tied = self.is_tied();
        // Old exports store the rotary frequencies that the settings give.
        let redundant = |name: &str| (tied && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
        self.unread.iter().map(String::as_str).find(|name| !redundant(name))
    }

    /// Number of weights in the folder.
    pub(crate) fn parameters(&self) -> u64 {
        self.shards.iter().flat_map(SafetensorsFile::elements).map(|(_, elements)| elements).sum()
    }

    /// The type that most weights have.
    pub(crate) fn dominant_type(&self) -> DType {
        let mut elements = BTreeMap::<&str, (u64, DType)>::new();
        for (dtype, count) in self.shards.iter().flat_map(SafetensorsFile::elements) {
            elements.entry(dtype.as_str()).or_insert((0, dtype)).0 += count;
        }
        elements.into_values().max_by_key(|(count, _)| *count).map_or(DType::F32, |(_, dtype)| dtype)
    }
}
