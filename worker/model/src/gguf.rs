//! GGUF files, read with checks: metadata of the right type, tensors of the right shape, errors that name them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use thiserror::Error;

use super::error::WeightError;
use super::gguf_header;

/// Why a GGUF file cannot be used.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is something else.
    #[error("not a gguf file (it does not begin with `GGUF`)")]
    NotGguf,
    /// The header contradicts the format or claims absurd sizes.
    #[error("malformed gguf file: {0}")]
    Malformed(String),
    /// A metadata key that must be there.
    #[error("metadata `{0}` is missing")]
    MissingMetadata(String),
    /// A metadata value of another type, or out of range.
    #[error("metadata `{key}` is not {expected}")]
    InvalidMetadata {
        /// The key.
        key: String,
        /// What it should be.
        expected: String,
    },
}

impl GgufError {
    /// A metadata value that is out of range.
    pub(crate) fn invalid(key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::InvalidMetadata { key: key.into(), expected: expected.into() }
    }
}

/// An open GGUF file with its header read.
pub struct GgufFile {
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
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let mut reader = BufReader::new(File::open(path)?);
        gguf_header::check(&mut reader)?;
        reader.rewind()?;
        let content = Content::read(&mut reader).map_err(|error| GgufError::Malformed(error.to_string()))?;
        let unread = content.tensor_infos.keys().cloned().collect();
        Ok(Self { content, reader, unread })
    }

    /// The file's metadata.
    #[must_use]
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata(&self.content.metadata)
    }

    /// Whether the file has tensor `name`.
    #[must_use]
    pub fn has_tensor(&self, name: &str) -> bool {
        self.content.tensor_infos.contains_key(name)
    }

    /// Reads tensor `name`, which must have `shape` (rows first), onto `device`.
    ///
    /// # Errors
    /// The tensor is missing, truncated, of another shape or of an unsupported type.
    pub fn tensor(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        let info = (self.content.tensor_infos.get(name)).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        WeightError::check_shape(name, info.shape.dims(), shape)?;
        self.unread.remove(name);
        info.read(&mut self.reader, self.content.tensor_data_offset, device)
            .map_err(|error| WeightError::unreadable(name, error))
    }

    /// Name of a tensor that was never read.
    #[must_use]
    pub fn unread(&self) -> Option<&str> {
        self.unread.first().map(String::as_str)
    }

    /// Number of weights in the file.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.elements_by_type().values().sum()
    }

    /// The type that most weights have, as GGUF files spell it, e.g. `Q4_1`.
    #[must_use]
    pub fn dominant_type(&self) -> String {
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

/// Typed access to the metadata. Absent is `None` from the `optional_*` methods; a wrong type is always an error.
#[derive(Clone, Copy)]
pub struct Metadata<'a>(&'a HashMap<String, Value>);

impl<'a> Metadata<'a> {
    fn get<T>(
        self,
        key: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        self.0.get(key).map(|value| convert(value).ok_or_else(|| GgufError::invalid(key, expected))).transpose()
    }

    /// A string.
    ///
    /// # Errors
    /// Another type.
    pub fn optional_text(self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.get(key, "a string", text)
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub fn text(self, key: &str) -> Result<&'a str, GgufError> {
        self.optional_text(key)?.ok_or_else(|| missing(key))
    }

    /// A list of strings that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub fn texts(self, key: &str) -> Result<Vec<&'a str>, GgufError> {
        self.get(key, "a list of strings", |value| list(value, text))?.ok_or_else(|| missing(key))
    }

    /// A number that is not negative, of any integer type.
    ///
    /// # Errors
    /// Another type.
    pub fn optional_uint(self, key: &str) -> Result<Option<u64>, GgufError> {
        self.get(key, "a non-negative integer", uint)
    }

    /// A list of numbers that are not negative.
    ///
    /// # Errors
    /// Another type.
    pub fn optional_uints(self, key: &str) -> Result<Option<Vec<u64>>, GgufError> {
        self.get(key, "a list of non-negative integers", |value| list(value, uint))
    }

    /// A list of f32 numbers that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub fn f32s(self, key: &str) -> Result<Vec<f32>, GgufError> {
        let number = |value: &Value| match value {
            Value::F32(number) => Some(*number),
            _ => None,
        };
        self.get(key, "a list of f32 numbers", |value| list(value, number))?.ok_or_else(|| missing(key))
    }

    /// A finite number.
    ///
    /// # Errors
    /// Another type, infinite, or not a number.
    pub fn optional_f32(self, key: &str) -> Result<Option<f32>, GgufError> {
        self.get(key, "a finite number", |value| match value {
            Value::F32(number) => Some(*number).filter(|number| number.is_finite()),
            Value::F64(number) => Some(*number as f32).filter(|number| number.is_finite()),
            _ => None,
        })
    }

    /// A number above zero, or `default`.
    ///
    /// # Errors
    /// Another type, infinite, or not above zero.
    pub fn positive(self, key: &str, default: f32) -> Result<f32, GgufError> {
        let value = self.optional_f32(key)?.unwrap_or(default);
        if value > 0.0 { Ok(value) } else { Err(GgufError::invalid(key, "a positive number")) }
    }

    /// A truth value.
    ///
    /// # Errors
    /// Another type.
    pub fn optional_bool(self, key: &str) -> Result<Option<bool>, GgufError> {
        self.get(key, "a bool", |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// A size or count that must be there, between 1 and `u32::MAX`.
    ///
    /// # Errors
    /// Absent, another type, or out of range.
    pub fn size(self, key: &str) -> Result<usize, GgufError> {
        self.optional_size(key)?.ok_or_else(|| missing(key))
    }

    /// A size or count, between 1 and `u32::MAX`.
    ///
    /// # Errors
    /// Another type, or out of range.
    pub fn optional_size(self, key: &str) -> Result<Option<usize>, GgufError> {
        self.get(key, "an integer between 1 and 4294967295", |value| {
            let size = uint(value).filter(|size| (1..=u64::from(u32::MAX)).contains(size))?;
            usize::try_from(size).ok()
        })
    }
}

fn missing(key: &str) -> GgufError {
    GgufError::MissingMetadata(key.to_owned())
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn uint(value: &Value) -> Option<u64> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::U64(number) => Some(number),
        Value::I8(number) => number.try_into().ok(),
        Value::I16(number) => number.try_into().ok(),
        Value::I32(number) => number.try_into().ok(),
        Value::I64(number) => number.try_into().ok(),
        _ => None,
    }
}

fn list<'a, T>(value: &'a Value, convert: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(values) => values.iter().map(convert).collect(),
        _ => None,
    }
}
