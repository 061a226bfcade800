//! An open GGUF model, in one file or several: tensors of the right shape, errors that name them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{TensorInfo, Value};

use super::super::error::{GgufError, WeightError};
use super::header::{self, Header};
use super::metadata::Metadata;
use super::{shards, types};

/// An open GGUF model with its headers read.
pub(crate) struct GgufFile {
    /// Of the first file.
    metadata: HashMap<String, Value>,
    shards: Vec<Shard>,
    tensors: HashMap<String, Place>,
    /// Tensors that nobody has asked for yet.
    unread: BTreeSet<String>,
}

/// One file of the model.
struct Shard {
    reader: BufReader<File>,
    data_start: u64,
}

/// Where a tensor lies.
struct Place {
    shard: usize,
    info: TensorInfo,
}

impl GgufFile {
    /// Opens `path`, and the other files of a model that is split, and reads their headers.
    ///
    /// # Errors
    /// A file is missing, not a GGUF, truncated, claims absurd sizes, or has a tensor of a type that is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let files = shards::files(path)?;
        let mut opened =
            Self { metadata: HashMap::new(), shards: Vec::new(), tensors: HashMap::new(), unread: BTreeSet::new() };
        for (index, file) in files.iter().enumerate() {
            opened.add(file, index, files.len()).map_err(|problem| match files.len() {
                1 => problem,
                _ => GgufError::Shard { file: file.display().to_string(), problem: Box::new(problem) },
            })?;
        }
        shards::check_tensors(opened.metadata(), opened.tensors.len())?;
        opened.unread = opened.tensors.keys().cloned().collect();
        Ok(opened)
    }

    /// Reads the header of the file at `index` of `count`.
    fn add(&mut self, path: &Path, index: usize, count: usize) -> Result<(), GgufError> {
        let mut reader = BufReader::new(File::open(path)?);
        let Header { metadata, tensors, data_start } = header::read(&mut reader)?;
        shards::check_place(Metadata::new(&metadata), index, count)?;
        for (name, info) in tensors {
            match self.tensors.entry(name) {
                Entry::Occupied(other) if other.get().shard == index => {
                    return Err(GgufError::Malformed(format!("tensor `{}` is there twice", other.key())));
                }
                Entry::Occupied(other) => {
                    return Err(GgufError::Split(format!("tensor `{}` is in another file, too", other.key())));
                }
                Entry::Vacant(vacant) => vacant.insert(Place { shard: index, info }),
            };
        }
        if index == 0 {
            self.metadata = metadata;
        }
        self.shards.push(Shard { reader, data_start });
        Ok(())
    }

    /// The model's metadata.
    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata::new(&self.metadata)
    }

    /// Whether the model has tensor `name`.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Reads tensor `name`, which must have `shape` (rows first), onto `device`.
    ///
    /// # Errors
    /// The tensor is missing, truncated or of another shape.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        let Place { shard, info } = self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        WeightError::check_shape(name, info.shape.dims(), shape)?;
        self.unread.remove(name);
        let Shard { reader, data_start } = &mut self.shards[*shard];
        info.read(reader, *data_start, device).map_err(|error| WeightError::unreadable(name, error))
    }

    /// Name of a tensor that was never read.
    pub(crate) fn unread(&self) -> Option<&str> {
        self.unread.first().map(String::as_str)
    }

    /// Number of weights in the model.
    pub(crate) fn parameters(&self) -> u64 {
        self.elements_by_type().values().sum()
    }

    /// The type that most weights have, as GGUF files spell it, e.g. `Q4_1`.
    pub(crate) fn dominant_type(&self) -> String {
        let elements = self.elements_by_type();
        let dominant = elements.into_iter().max_by_key(|(_, count)| *count);
        dominant.map_or_else(|| "none".to_owned(), |(name, _)| name.to_owned())
    }

    fn elements_by_type(&self) -> BTreeMap<&'static str, u64> {
        let mut elements = BTreeMap::<&'static str, u64>::new();
        for Place { info, .. } in self.tensors.values() {
            let count = elements.entry(types::name(info.ggml_dtype)).or_default();
            *count = count.saturating_add(info.shape.elem_count() as u64);
        }
        elements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with these tensors, of one F32 element each and without data.
    fn open(names: &[&str]) -> Result<GgufFile, GgufError> {
        let tensor =
            |name: &&str| [&(name.len() as u64).to_le_bytes(), name.as_bytes(), &[0; 4], &[0; 4], &[0; 8]].concat();
        let start = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &(names.len() as u64).to_le_bytes(), &[0; 8]].concat();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, [start, names.iter().map(tensor).collect::<Vec<_>>().concat()].concat()).unwrap();
        GgufFile::open(&path)
    }

    #[test]
    fn a_tensor_that_is_there_twice_is_named() {
        assert!(open(&["a", "b"]).unwrap().has_tensor("b"));
        let error = open(&["a", "b", "a"]).err().unwrap().to_string();
        assert!(error.contains("tensor `a` is there twice"), "{error}");
    }
}
