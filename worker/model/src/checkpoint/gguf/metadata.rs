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

    /// A place in a list of `length` entries.
    ///
    /// # Errors
    /// Another type, or not in the list; says what there is.
    pub(crate) fn place(self, key: &str, length: usize) -> Result<Option<u32>, String> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        let place = uint(value).filter(|place| *place < length as u64).and_then(|place| u32::try_from(place).ok());
        place.map(Some).ok_or_else(|| {
            let found = match (uint(value), number(value)) {
                (Some(place), _) => place.to_string(),
                (None, Some(number)) => number.to_string(),
                (None, None) => format!("of type {:?}", value.value_type()).to_lowercase(),
            };
            format!("`{key}` is {found}, outside the vocabulary of {length}")
        })
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

    /// A list whose entries are `None` where they are not a number or negative.
    ///
    /// # Errors
    /// Another type.
    pub(crate) fn optional_uints(self, key: &str) -> Result<Option<Vec<Option<u64>>>, GgufError> {
        self.get(key, "a list", |value| list(value, |entry| Some(uint(entry))))
    }

    /// A list of numbers that must be there.
    ///
    /// # Errors
    /// Absent, or another type.
    pub(crate) fn f32s(self, key: &str) -> Result<Vec<f32>, GgufError> {
        self.get(key, "a list of numbers", |value| list(value, number))?.ok_or_else(|| missing(key))
    }

    /// A finite number.
    ///
    /// # Errors
    /// Another type, infinite, or not a number.
    pub(crate) fn optional_f32(self, key: &str) -> Result<Option<f32>, GgufError> {
        self.get(key, "a finite number", |value| number(value).filter(|number| number.is_finite()))
    }

    /// A number above zero, or `default`.
    ///
    /// # Errors
    /// Another type, infinite, or not above zero.
    pub(crate) fn positive(self, key: &str, default: f32) -> Result<f32, GgufError> {
        let value = self.optional_f32(key)?.unwrap_or(default);
        if value > 0.0 { Ok(value) } else { Err(GgufError::invalid(key, "a positive number")) }
    }

    /// A truth value; some files write 0 and 1.
    ///
    /// # Errors
    /// Another type.
    pub(crate) fn optional_bool(self, key: &str) -> Result<Option<bool>, GgufError> {
        self.get(key, "a bool", |value| match (value, uint(value)) {
            (Value::Bool(truth), _) => Some(*truth),
            (_, Some(0)) => Some(false),
            (_, Some(1)) => Some(true),
            _ => None,
        })
    }

    /// A size or count that must be there, between 1 and `u32::MAX`. Where it may differ from layer to layer, the same for all.
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
            let size = same_for_all(value).filter(|size| (1..=u64::from(u32::MAX)).contains(size))?;
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

/// A number that is not negative, of any integer type.
pub(super) fn uint(value: &Value) -> Option<u64> {
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

/// A floating-point number, or an integer where somebody wrote one.
fn number(value: &Value) -> Option<f32> {
    match *value {
        Value::F32(number) => Some(number),
        Value::F64(number) => Some(number as f32),
        Value::I8(number) => Some(number.into()),
        Value::I16(number) => Some(number.into()),
        Value::I32(number) => Some(number as f32),
        Value::I64(number) => Some(number as f32),
        _ => uint(value).map(|number| number as f32),
    }
}

/// A number, or the one that all of a list are.
fn same_for_all(value: &Value) -> Option<u64> {
    match value {
        Value::Array(values) => {
            let numbers: Vec<u64> = values.iter().map(uint).collect::<Option<_>>()?;
            numbers.first().copied().filter(|first| numbers.iter().all(|number| number == first))
        }
        _ => uint(value),
    }
}

fn list<'a, T>(value: &'a Value, convert: impl Fn(&'a Value) -> Option<T>) -> Option<Vec<T>> {
    match value {
        Value::Array(values) => values.iter().map(convert).collect(),
        _ => None,
    }
}
