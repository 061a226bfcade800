//! A bounded walk over a GGUF header, before a reader that trusts it more.
//!
//! candle's reader bounds each length by the file's size; a sparse or merely large file could still make it build gigabytes of
//! values, and an alignment of zero makes it panic. Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::io::{BufRead, ErrorKind, Read, Seek};

use super::super::error::GgufError;

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
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Checks that the header at the start of `reader` is complete, of a known version and of a sane size.
pub(super) fn check(reader: impl BufRead + Seek) -> Result<(), GgufError> {
    Walk { reader, values: 0 }.header()
}

struct Walk<R> {
    reader: R,
    /// Metadata values passed so far.
    values: u64,
}

impl<R: BufRead + Seek> Walk<R> {
    fn header(&mut self) -> Result<(), GgufError> {
        let mut magic = [0; 4];
        self.reader.read_exact(&mut magic).map_err(|_| GgufError::NotGguf)?;
        if &magic != MAGIC {
            return Err(GgufError::NotGguf);
        }
        let version = self.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(malformed(format!("version {version} is not supported (supported: 2, 3, little-endian)")));
        }
        let tensors = self.u64()?;
        let entries = self.u64()?;
        if tensors > MAX_TENSORS {
            return Err(malformed(format!("{tensors} tensors claimed, at most {MAX_TENSORS} are accepted")));
        }
        self.count(entries)?;
        for _ in 0..entries {
            let key = self.string()?;
            let value_type = self.u32()?;
            if key == b"general.alignment" {
                self.alignment(value_type)?;
            } else {
                self.value(value_type, 0)?;
            }
        }
        for _ in 0..tensors {
            self.string()?;
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err(malformed(format!("a tensor claims {dimensions} dimensions")));
            }
            let mut elements = 1u64;
            for _ in 0..dimensions {
                elements = elements
                    .checked_mul(self.u64()?)
                    .ok_or_else(|| malformed("a tensor claims more elements than fit in 64 bits".to_owned()))?;
            }
            self.u32()?;
            self.u64()?;
        }
        Ok(())
    }

    fn alignment(&mut self, value_type: u32) -> Result<(), GgufError> {
        const U32: u32 = 4;
        let alignment = if value_type == U32 { self.u32()? } else { 0 };
        if alignment.is_power_of_two() {
            return Ok(());
        }
        Err(malformed("`general.alignment` is not a power of two (uint32)".to_owned()))
    }

    fn value(&mut self, value_type: u32, depth: usize) -> Result<(), GgufError> {
        match value_type {
            STRING => self.string().map(drop),
            ARRAY => self.array(depth),
            _ => self.skip(scalar_size(value_type)?),
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), GgufError> {
        if depth == MAX_DEPTH {
            return Err(malformed("arrays are nested too deep".to_owned()));
        }
        let value_type = self.u32()?;
        let length = self.u64()?;
        self.count(length)?;
        if value_type == STRING || value_type == ARRAY {
            return (0..length).try_for_each(|_| self.value(value_type, depth + 1));
        }
        // Cannot overflow: `count` bounds the length.
        self.skip(length * scalar_size(value_type)?)
    }

    fn count(&mut self, values: u64) -> Result<(), GgufError> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(malformed(format!("more than {MAX_VALUES} metadata values claimed")));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Vec<u8>, GgufError> {
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
        Ok(text)
    }

    /// Passes over bytes that must exist.
    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        let copied = std::io::copy(&mut (&mut self.reader).take(bytes), &mut std::io::sink()).map_err(io_error)?;
        if copied == bytes { Ok(()) } else { Err(truncated()) }
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes).map_err(io_error)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        let mut bytes = [0; 8];
        self.reader.read_exact(&mut bytes).map_err(io_error)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

fn scalar_size(value_type: u32) -> Result<u64, GgufError> {
    match value_type {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(malformed(format!("unknown metadata value type {value_type}"))),
    }
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
        check(Cursor::new(file)).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_but_complete_header_passes() {
        assert!(check(Cursor::new(header(0, 0, &[]))).is_ok());
    }

    #[test]
    fn other_files_are_not_gguf() {
        for file in [b"".as_slice(), b"GG", b"\x7fELF....", b"<html>"] {
            assert!(matches!(check(Cursor::new(file)), Err(GgufError::NotGguf)));
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
        let dimensions = [text(b"t"), 2u32.to_le_bytes().into(), huge.into(), huge.into()].concat();
        assert!(message(&header(1, 0, &dimensions)).contains("more elements than fit"));
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
    fn arrays_nested_beyond_reason_are_refused() {
        let level = [ARRAY.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        let entry = [text(b"k"), ARRAY.to_le_bytes().into(), level.repeat(100)].concat();
        assert!(message(&header(0, 1, &entry)).contains("nested too deep"));
    }

    proptest! {
        #[test]
        fn random_bytes_behind_a_valid_start_never_panic(tensors in 0u64..4, entries in 0u64..4, rest: Vec<u8>) {
            let _ = check(Cursor::new(header(tensors, entries, &rest)));
        }
    }
}
