//! An open GGUF file: tensors of the right shape, errors that name them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QTensor};

use super::super::error::{GgufError, WeightError};
use super::header;
use super::metadata::Metadata;

/// An open GGUF file with its header read.
pub(crate) struct GgufFile {
    content: Content,
    reader: BufReader<File>,
    /// Tensors that nobody has asked for yet.
    unread: BTreeSet<String>,
}

impl GgufFile {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// The file is missing, not a GGUF, truncated, or claims absurd sizes.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let mut reader = BufReader::new(File::open(path)?);
        header::check(&mut reader)?;
        reader.rewind()?;
        let content = Content::read(&mut reader).map_err(|error| GgufError::Malformed(error.to_string()))?;
        let unread = content.tensor_infos.keys().cloned().collect();
        Ok(Self { content, reader, unread })
    }

    /// The file's metadata.
    pub(crate) fn metadata(&self) -> Metadata<'_> {
        Metadata::new(&self.content.metadata)
    }

    /// Whether the file has tensor `name`.
    pub(crate) fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Reads tensor `name`, which must have `shape` (rows first), onto `device`.
    ///
    /// # Errors
    /// The tensor is missing, truncated, of another shape or of an unsupported type.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        let info = (self.content.tensor_infos.get(name)).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        WeightError::check_shape(name, info.shape.dims(), shape)?;
        self.unread.remove(name);
        info.read(&mut self.reader, self.content.tensor_data_offset, device)
            .map_err(|error| WeightError::unreadable(name, error))
    }

    /// Name of a tensor that was never read.
    pub(crate) fn unread(&self) -> Option<&str> {
        self.unread.first().map(String::as_str)
    }

    /// Number of weights in the file.
    pub(crate) fn parameters(&self) -> u64 {
        self.elements_by_type().values().sum()
    }

    /// The type that most weights have, as GGUF files spell it, e.g. `Q4_1`.
    pub(crate) fn dominant_type(&self) -> String {
        let elements = self.elements_by_type();
        let dominant = elements.into_iter().max_by_key(|(_, count)| *count);
        dominant.map_or_else(|| "none".to_owned(), |(name, _)| name)
    }

    fn elements_by_type(&self) -> BTreeMap<String, u64> {
        let mut elements = BTreeMap::<String, u64>::new();
        for info in self.content.tensor_infos.values() {
            let count = elements.entry(type_name(info.ggml_dtype)).or_default();
            *count = count.saturating_add(info.shape.elem_count() as u64);
        }
        elements
    }
}

/// candle writes `Q4K` where GGUF writes `Q4_K`.
fn type_name(dtype: GgmlDType) -> String {
    let name = format!("{dtype:?}");
    match name.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => name,
    }
}
