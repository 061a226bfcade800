//! Reads a GGUF header, within bounds.
//!
//! A sparse or merely large file could claim gigabytes of values, so each count and length is compared with what models have, and
//! nothing is allocated for a claim. Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, Read, Seek};

use candle_core::Shape;
use candle_core::quantized::gguf_file::{TensorInfo, Value};

use super::super::error::GgufError;
use super::metadata::uint;
use super::types;

/// Most metadata values, array elements included. The largest published vocabularies (262,144 tokens) need about 800,000.
const MAX_VALUES: u64 = 4_000_000;
/// Longest string; chat templates reach some tens of kilobytes.
const MAX_STRING_BYTES: u64 = 1 << 24;
/// All strings together; the largest published headers take about 20 MB.
const MAX_HEADER_BYTES: u64 = 1 << 28;
/// Most tensors; a model of 200 layers has about 2,000.
const MAX_TENSORS: u64 = 1 << 16;
/// Deepest array in array; published files have none.
const MAX_DEPTH: usize = 4;
/// `GGML_MAX_DIMS`.
const MAX_DIMENSIONS: u32 = 4;

const MAGIC: &[u8; 4] = b"GGUF";
/// Most elements of a tensor: its bytes can be counted in any type.
const MAX_ELEMENTS: usize = usize::MAX >> 6;

/// Tensor data start at a multiple of this where the file does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
const ALIGNMENT: &str = "general.alignment";
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// What a file says before its tensor data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: HashMap<String, Value>,
    /// In the order of the file. A name may come twice: `GgufFile` refuses that, for one file and for several.
    pub(super) tensors: Vec<(String, TensorInfo)>,
    /// Where the tensor data start, in bytes from the file's start.
    pub(super) data_start: u64,
}

/// Reads the header at the start of `reader`: complete, of a known version and of a sane size.
pub(super) fn read(reader: impl BufRead + Seek) -> Result<Header, GgufError> {
    Walk { reader, values: 0 }.header()
}

struct Walk<R> {
    reader: R,
    /// Metadata values read so far.
    values: u64,
}

impl<R: BufRead + Seek> Walk<R> {
    fn header(&mut self) -> Result<Header, GgufError> {
        let magic: [u8; 4] = self.bytes().map_err(|_| GgufError::NotGguf)?;
        if &magic != MAGIC {
            return Err(GgufError::NotGguf);
        }
        check_version(self.u32()?)?;
        let tensors = self.u64()?;
        let entries = self.u64()?;
        if tensors > MAX_TENSORS {
            return Err(malformed(format!("{tensors} tensors claimed, at most {MAX_TENSORS} are accepted")));
        }
        self.count(entries)?;
        let metadata = self.metadata(entries)?;
        let alignment = alignment(metadata.get(ALIGNMENT))?;
        let tensors = self.tensors(tensors)?;
        let end = self.reader.stream_position().map_err(io_error)?;
        let data_start = end.checked_next_multiple_of(alignment);
        let data_start = data_start.ok_or_else(|| malformed(format!("`{ALIGNMENT}` is {alignment}")))?;
        Ok(Header { metadata, tensors, data_start })
    }

    fn metadata(&mut self, entries: u64) -> Result<HashMap<String, Value>, GgufError> {
        let mut metadata = HashMap::new();
        for _ in 0..entries {
            let key = self.string()?;
            let value_type = self.u32()?;
            let value = self.value(value_type, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(malformed(format!("metadata `{key}` is there twice")));
            }
        }
        Ok(metadata)
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<(String, TensorInfo)>, GgufError> {
        let mut tensors = Vec::new();
        for _ in 0..count {
            let name = self.string()?;
            let shape = self.shape(&name)?;
            let dtype = types::readable(self.u32()?).map_err(|found| GgufError::UnsupportedType {
                name: name.clone(),
                found,
                supported: types::supported(),
            })?;
            let info = TensorInfo { ggml_dtype: dtype, shape, offset: self.u64()? };
            tensors.push((name, info));
        }
        Ok(tensors)
    }

    /// Rows first; files have them last.
    fn shape(&mut self, name: &str) -> Result<Shape, GgufError> {
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(malformed(format!("tensor `{name}` claims {dimensions} dimensions")));
        }
        let too_many = || malformed(format!("tensor `{name}` claims more elements than fit in memory"));
        let mut dims = Vec::new();
        // Without zeros: they would hide that the product of the other dimensions overflows in another order.
        let mut elements = 1usize;
        for _ in 0..dimensions {
            let dimension = usize::try_from(self.u64()?).map_err(|_| too_many())?;
            elements = elements.checked_mul(dimension.max(1)).filter(|n| *n <= MAX_ELEMENTS).ok_or_else(too_many)?;
            dims.push(dimension);
        }
        dims.reverse();
        Ok(dims.into())
    }

    fn value(&mut self, value_type: u32, depth: usize) -> Result<Value, GgufError> {
        Ok(match value_type {
            0 => Value::U8(u8::from_le_bytes(self.bytes()?)),
            1 => Value::I8(i8::from_le_bytes(self.bytes()?)),
            2 => Value::U16(u16::from_le_bytes(self.bytes()?)),
            3 => Value::I16(i16::from_le_bytes(self.bytes()?)),
            4 => Value::U32(self.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.bytes()?)),
            6 => Value::F32(f32::from_le_bytes(self.bytes()?)),
            7 => Value::Bool(u8::from_le_bytes(self.bytes()?) != 0),
            STRING => Value::String(self.string()?),
            ARRAY => Value::Array(self.array(depth)?),
            10 => Value::U64(self.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.bytes()?)),
            12 => Value::F64(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(malformed(format!("unknown metadata value type {value_type}"))),
        })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, GgufError> {
        if depth == MAX_DEPTH {
            return Err(malformed("arrays are nested too deep".to_owned()));
        }
        let value_type = self.u32()?;
        let length = self.u64()?;
        self.count(length)?;
        // Grows with the values found, not with those claimed.
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(self.value(value_type, depth + 1)?);
        }
        Ok(values)
    }

    fn count(&mut self, values: u64) -> Result<(), GgufError> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(malformed(format!("more than {MAX_VALUES} metadata values claimed")));
        }
        Ok(())
    }

    /// A text. Some files end them with zeros, and some have bytes that are not UTF-8.
    fn string(&mut self) -> Result<String, GgufError> {
        let length = self.u64()?;
        if length > MAX_STRING_BYTES {
            return Err(malformed(format!("a string claims {length} bytes")));
        }
        let mut text = Vec::new();
        // `take` grows the buffer by what is really there, not by what is claimed.
        let read = (&mut self.reader).take(length).read_to_end(&mut text).map_err(io_error)?;
        if (read as u64) < length {
            return Err(truncated());
        }
        if self.reader.stream_position().map_err(io_error)? > MAX_HEADER_BYTES {
            return Err(malformed(format!("the header is longer than {MAX_HEADER_BYTES} bytes")));
        }
        Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(io_error)?;
        Ok(bytes)
    }
}

fn check_version(version: u32) -> Result<(), GgufError> {
    match version {
        2 | 3 => Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => Err(malformed(
            "it is big-endian; supported: little-endian (convert it with `gguf_convert_endian.py` of llama.cpp)"
                .to_owned(),
        )),
        1 => Err(malformed(
            "version 1 is not supported (supported: 2, 3): download or convert the model again".to_owned(),
        )),
        _ => Err(malformed(format!("version {version} is not supported (supported: 2, 3)"))),
    }
}

/// Of any integer type.
fn alignment(value: Option<&Value>) -> Result<u64, GgufError> {
    let alignment = match value {
        None => Some(DEFAULT_ALIGNMENT),
        Some(value) => uint(value),
    };
    alignment
        .filter(|alignment| alignment.is_power_of_two())
        .ok_or_else(|| malformed(format!("`{ALIGNMENT}` is not a power of two")))
}

fn malformed(reason: String) -> GgufError {
    GgufError::Malformed(reason)
}

fn truncated() -> GgufError {
    malformed("the header is truncated: download or copy the file again".to_owned())
}

fn io_error(error: std::io::Error) -> GgufError {
    if error.kind() == ErrorKind::UnexpectedEof { truncated() } else { GgufError::Io(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A header's first fields, then `rest`.
    fn header(tensors: u64, entries: u64, rest: &[u8]) -> Vec<u8> {
        [MAGIC.as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes(), rest].concat()
    }

    fn text(content: &[u8]) -> Vec<u8> {
        [(content.len() as u64).to_le_bytes().as_slice(), content].concat()
    }

    fn message(file: &[u8]) -> String {
        read(Cursor::new(file)).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_but_complete_header_passes() {
        assert!(read(Cursor::new(header(0, 0, &[]))).is_ok());
    }

    #[test]
    fn other_files_are_not_gguf() {
        for file in [b"".as_slice(), b"GG", b"\x7fELF....", b"<html>"] {
            assert!(matches!(read(Cursor::new(file)), Err(GgufError::NotGguf)));
        }
    }

    #[test]
    fn absurd_counts_and_lengths_are_refused_without_allocating() {
        let huge = u64::MAX.to_le_bytes();
        assert!(message(&header(u64::MAX, 0, &[])).contains("tensors claimed"));
        assert!(message(&header(0, u64::MAX, &[])).contains("metadata values claimed"));
        assert!(message(&header(0, 1, &huge)).contains("string claims"));
        assert!(message(&header(1, 0, &huge)).contains("string claims"));
        let array =
            |kind: u32| [text(b"k"), ARRAY.to_le_bytes().into(), kind.to_le_bytes().into(), huge.into()].concat();
        for kind in [0, STRING, ARRAY] {
            assert!(message(&header(0, 1, &array(kind))).contains("metadata values claimed"));
        }
    }

    #[test]
    fn a_tensor_with_more_elements_than_fit_is_named_even_if_one_dimension_is_zero() {
        for dims in [[u64::MAX; 3], [1 << 40; 3], [0, 1 << 40, 1 << 40], [1 << 40, 0, 1 << 40], [1 << 40, 1 << 40, 0]] {
            let tensor = [text(b"blk.0.w"), 3u32.to_le_bytes().into(), dims.map(u64::to_le_bytes).concat()].concat();
            let error = message(&header(1, 0, &tensor));
            assert!(error.contains("`blk.0.w`") && error.contains("more elements than fit"), "{dims:?}: {error}");
        }
    }

    #[test]
    fn a_string_longer_than_the_file_is_truncated() {
        assert!(message(&header(0, 1, &(1u64 << 20).to_le_bytes())).contains("truncated"));
    }

    #[test]
    fn alignment_zero_is_refused() {
        let entry = [text(b"general.alignment"), 4u32.to_le_bytes().into(), 0u32.to_le_bytes().into()].concat();
        assert!(message(&header(0, 1, &entry)).contains("general.alignment"));
    }

    #[test]
    fn tensor_data_start_where_the_alignment_says_whatever_its_integer_type() {
        let start =
            |entry: &[u8]| read(Cursor::new(header(0, u64::from(!entry.is_empty()), entry))).unwrap().data_start;
        let alignment =
            |kind: u32, value: &[u8]| [text(ALIGNMENT.as_bytes()).as_slice(), &kind.to_le_bytes(), value].concat();
        assert_eq!(start(&[]), 32);
        assert_eq!(start(&alignment(4, &1u32.to_le_bytes())), 57);
        assert_eq!(start(&alignment(4, &256u32.to_le_bytes())), 256);
        assert_eq!(start(&alignment(10, &4096u64.to_le_bytes())), 4096);
    }

    #[test]
    fn other_versions_and_byte_orders_are_refused_by_name() {
        let version = |bytes: [u8; 4]| message(&[MAGIC.as_slice(), &bytes, &[0; 16]].concat());
        assert!(version([1, 0, 0, 0]).contains("version 1"));
        assert!(version([0, 0, 0, 3]).contains("big-endian"));
        assert!(version([9, 0, 0, 0]).contains("version 9"));
        let two = [MAGIC.as_slice(), &2u32.to_le_bytes(), &[0; 16]].concat();
        assert!(read(Cursor::new(two)).is_ok());
    }

    #[test]
    fn metadata_that_is_there_twice_is_named() {
        let entry = [text(b"k"), 7u32.to_le_bytes().into(), vec![1]].concat();
        assert!(message(&header(0, 2, &entry.repeat(2))).contains("metadata `k` is there twice"));
    }

    #[test]
    fn arrays_nested_beyond_reason_are_refused() {
        let level = [ARRAY.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        let entry = [text(b"k"), ARRAY.to_le_bytes().into(), level.repeat(100)].concat();
        assert!(message(&header(0, 1, &entry)).contains("nested too deep"));
    }

    proptest! {
        #[test]
        fn random_bytes_behind_a_valid_start_never_panic(tensors in 0u64..4, entries in 0u64..4, rest: Vec<u8>) {
            let _ = read(Cursor::new(header(tensors, entries, &rest)));
        }
    }
}
