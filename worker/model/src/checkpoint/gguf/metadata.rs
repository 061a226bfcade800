//! The metadata of a GGUF file, each value of the type that is asked for.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use super::super::error::GgufError;

/// Typed access to the metadata. Absent is `None` from the `optional_*` methods; a wrong type is always an error.
#[derive(Clone, Copy)]
pub(crate) struct Metadata<'a>(&'a HashMap<String, Value>);

impl<'a> Metadata<'a> {
    pub(super) fn new(entries: &'a HashMap<String, Value>) -> Self {
        Self(entries)
    }

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
    pub(crate) fn optional_text(self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.get(key, "a string", text)
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub(crate) fn text(self, key: &str) -> Result<&'a str, GgufError> {
        self.optional_text(key)?.ok_or_else(|| missing(key))
    }

    /// A list of strings that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub(crate) fn texts(self, key: &str) -> Result<Vec<&'a str>, GgufError> {
        self.get(key, "a list of strings", |value| list(value, text))?.ok_or_else(|| missing(key))
    }

    /// A number that is not negative, of any integer type.
    ///
    /// # Errors
    /// Another type.
    pub(crate) fn optional_uint(self, key: &str) -> Result<Option<u64>, GgufError> {
        self.get(key, "a non-negative integer", uint)
    }

    /// A list of numbers that are not negative.
    ///
    /// # Errors
    /// Another type.
    pub(crate) fn optional_uints(self, key: &str) -> Result<Option<Vec<u64>>, GgufError> {
        self.get(key, "a list of non-negative integers", |value| list(value, uint))
    }

    /// A list of f32 numbers that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub(crate) fn f32s(self, key: &str) -> Result<Vec<f32>, GgufError> {
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
    pub(crate) fn optional_f32(self, key: &str) -> Result<Option<f32>, GgufError> {
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
    pub(crate) fn positive(self, key: &str, default: f32) -> Result<f32, GgufError> {
        let value = self.optional_f32(key)?.unwrap_or(default);
        if value > 0.0 { Ok(value) } else { Err(GgufError::invalid(key, "a positive number")) }
    }

    /// A truth value.
    ///
    /// # Errors
    /// Another type.
    pub(crate) fn optional_bool(self, key: &str) -> Result<Option<bool>, GgufError> {
        self.get(key, "a bool", |value| match value {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        })
    }

    /// A size or count that must be there, between 1 and `u32::MAX`.
    ///
    /// # Errors
    /// Absent, another type, or out of range.
    pub(crate) fn size(self, key: &str) -> Result<usize, GgufError> {
        self.optional_size(key)?.ok_or_else(|| missing(key))
    }

    /// A size or count, between 1 and `u32::MAX`.
    ///
    /// # Errors
    /// Another type, or out of range.
    pub(crate) fn optional_size(self, key: &str) -> Result<Option<usize>, GgufError> {
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
