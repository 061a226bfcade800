//! Which files of a folder hold the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::super::error::HubError;

/// The weights, where they are one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor, where they are several.
pub(super) const SHARD_INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
pub(super) struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// The files that hold the tensors.
    pub(super) fn shards(self) -> Result<BTreeSet<String>, HubError> {
        let names: BTreeSet<String> = self.weight_map.into_values().collect();
        // The index may come from anywhere: it must not name files outside the folder.
        match names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
            Some(name) => Err(HubError::malformed(SHARD_INDEX, format!("`{name}` is not a file name"))),
            None => Ok(names),
        }
    }
}
