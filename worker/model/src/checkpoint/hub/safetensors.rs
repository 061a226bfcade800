//! One safetensors file, read tensor by tensor: 8 bytes of header length, a JSON header, the data.
//!
//! Layout: <https://huggingface.co/docs/safetensors/index#format>. The header is checked here so that an error names the tensor,
//! and nothing is allocated by a claim: every size is compared with the file's first.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::DType;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Error};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::{HubError, WeightError};

/// Longest header: the limit of the format's own library.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open file whose header has been checked.
pub(super) struct SafetensorsFile {
    reader: File,
    tensors: BTreeMap<String, Entry>,
}

/// Where a tensor lies.
struct Entry {
    dtype: DType,
    shape: Vec<usize>,
    /// From the file's start.
    start: u64,
    bytes: usize,
}

/// A tensor's entry as the header has it.
#[derive(Deserialize)]
struct Claim {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl SafetensorsFile {
    /// Opens file `name` of `folder` and reads its header.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, HubError> {
        let io = |problem| HubError::Io { file: name.to_owned(), problem };
        let malformed = |problem: String| HubError::malformed(name, problem);
        let mut reader = File::open(folder.join(name)).map_err(io)?;
        let file_bytes = reader.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        reader.read_exact(&mut length).map_err(|_| malformed("shorter than a safetensors header".to_owned()))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > file_bytes - 8 {
            return Err(malformed(format!(
                "the header claims {header_bytes} bytes, more than the file has or {MAX_HEADER_BYTES} allow: not a \
                 safetensors file, or a truncated one"
            )));
        }
        let mut header = Vec::new();
        (&mut reader).take(header_bytes).read_to_end(&mut header).map_err(io)?;
        let header: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(&header).map_err(|error| malformed(format!("the header is not json: {error}")))?;
        let data_start = 8 + header_bytes;
        let mut tensors = BTreeMap::new();
        for (tensor, claim) in header.iter().filter(|(tensor, _)| *tensor != "__metadata__") {
            let entry =
                entry(claim, data_start).map_err(|problem| malformed(format!("tensor `{tensor}` {problem}")))?;
            tensors.insert(tensor.clone(), entry);
        }
        check_cover(&tensors, data_start, file_bytes).map_err(malformed)?;
        Ok(Self { reader, tensors })
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Type and number of elements of every tensor.
    pub(super) fn elements(&self) -> impl Iterator<Item = (DType, u64)> {
        self.tensors.values().map(|entry| (entry.dtype, (entry.bytes / entry.dtype.size_in_bytes()) as u64))
    }

    /// Checks that tensor `name` has `shape`.
    pub(super) fn check_shape(&self, name: &str, shape: &[usize]) -> Result<(), WeightError> {
        WeightError::check_shape(name, &self.entry(name)?.shape, shape)
    }

    fn entry(&self, name: &str) -> Result<&Entry, WeightError> {
        self.tensors.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))
    }

    /// Reads tensor `name`, which must have `shape`, in its own type onto `device`.
    pub(super) fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<QTensor, WeightError> {
        self.check_shape(name, shape)?;
        let entry = self.entry(name)?;
        let dtype = match entry.dtype {
            DType::F16 => GgmlDType::F16,
            DType::BF16 => GgmlDType::BF16,
            _ => GgmlDType::F32,
        };
        let read = || -> candle_core::Result<QTensor> {
            let mut data = vec![0; entry.bytes];
            let mut reader = &self.reader;
            reader.seek(SeekFrom::Start(entry.start))?;
            reader.read_exact(&mut data)?;
            QTensor::new(QStorage::from_data(data.into(), device, dtype)?, shape)
        };
        read().map_err(|error: Error| WeightError::unreadable(name, error))
    }
}

/// Checks what a tensor's entry says of itself.
fn entry(claim: &RawValue, data_start: u64) -> Result<Entry, String> {
    let claim: Claim = serde_json::from_str(claim.get()).map_err(|error| format!("is described wrongly: {error}"))?;
    let dtype = match claim.dtype.as_str() {
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        other => return Err(format!("has type {other} (supported: F32, F16, BF16)")),
    };
    let size = dtype.size_in_bytes() as u64;
    let claimed = claim.shape.iter().try_fold(size, |bytes, dimension| bytes.checked_mul(*dimension));
    let [begin, end] = claim.data_offsets;
    let (Some(bytes), Some(start)) = (end.checked_sub(begin), data_start.checked_add(begin)) else {
        return Err(format!("has offsets {begin} to {end}"));
    };
    if claimed != Some(bytes) || bytes == 0 {
        return Err(format!("takes {bytes} bytes, which is not {dtype:?} of shape {:?}", claim.shape));
    }
    // Each dimension is at most `bytes`, which `check_cover` compares with the file; 32-bit machines have no larger files.
    let shape = claim.shape.iter().map(|dimension| usize::try_from(*dimension)).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| format!("has shape {:?}", claim.shape))?;
    let bytes = usize::try_from(bytes).map_err(|_| format!("takes {bytes} bytes"))?;
    Ok(Entry { dtype, shape, start, bytes })
}

/// Checks that the tensors follow each other without gap or overlap up to the file's end.
fn check_cover(tensors: &BTreeMap<String, Entry>, data_start: u64, file_bytes: u64) -> Result<(), String> {
    let mut in_order: Vec<_> = tensors.iter().collect();
    in_order.sort_by_key(|(_, entry)| entry.start);
    let mut end = data_start;
    for (name, entry) in in_order {
        if entry.start != end {
            return Err(format!("tensor `{name}` begins at byte {}, where byte {end} was expected", entry.start));
        }
        end = entry.start.saturating_add(entry.bytes as u64);
        if end > file_bytes {
            return Err(format!("tensor `{name}` ends at byte {end} of {file_bytes}: the file is truncated"));
        }
    }
    if end < file_bytes {
        return Err(format!("{} bytes at the end belong to no tensor", file_bytes - end));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn open(bytes: &[u8]) -> Result<SafetensorsFile, HubError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.safetensors"), bytes).unwrap();
        SafetensorsFile::open(folder.path(), "m.safetensors")
    }

    fn message(bytes: &[u8]) -> String {
        open(bytes).err().expect("must be refused").to_string()
    }

    #[test]
    fn a_tensor_comes_back_in_its_own_type() {
        let header = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let file = open(&file(header, &[0, 0, 0x80, 0x3f, 0x80, 0x3f, 0, 0x40])).unwrap();
        let b = file.tensor("b", &[1, 2], &Device::Cpu).unwrap();
        assert_eq!(b.dtype(), GgmlDType::BF16);
        assert_eq!(b.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap(), [[1.0, 2.0]]);
        let error = |name, shape| file.tensor(name, &[shape], &Device::Cpu).err().unwrap();
        assert!(error("a", 2).to_string().contains("`a` has shape [1], expected [2]"));
        assert!(matches!(error("c", 1), WeightError::Missing(name) if name == "c"));
    }

    #[test]
    fn hostile_headers_are_refused_by_name() {
        assert!(message(b"abc").contains("m.safetensors: shorter"));
        assert!(message(&u64::MAX.to_le_bytes()).contains("claims 18446744073709551615 bytes"));
        assert!(message(&file("{", b"")).contains("not json"));
        for (tensor, expected) in [
            (r#""dtype":"F9","shape":[1],"data_offsets":[0,4]"#, "type F9 (supported: F32, F16, BF16)"),
            (r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#, "takes 4 bytes, which is not F32 of shape [2]"),
            (r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]"#, "takes 4 bytes"),
            (r#""dtype":"F32","shape":[0],"data_offsets":[0,0]"#, "takes 0 bytes"),
            (r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#, "offsets 4 to 0"),
            (r#""dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]"#, "offsets"),
            (r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#, "begins at byte"),
            (r#""dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]"#, "truncated"),
            (r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#, "described wrongly"),
            (r#""shape":[1],"data_offsets":[0,4]"#, "missing field `dtype`"),
        ] {
            let error = message(&file(&format!(r#"{{"evil":{{{tensor}}}}}"#), &[0; 4]));
            assert!(error.contains("tensor `evil`") && error.contains(expected), "{error}");
        }
        let overlap = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"F16","shape":[2],"data_offsets":[2,6]}}"#;
        assert!(message(&file(overlap, &[0; 6])).contains("tensor `b` begins"));
        assert!(message(&file("{}", &[0; 6])).contains("6 bytes at the end"));
    }

    proptest! {
        #[test]
        fn any_bytes_behind_a_plausible_length_are_refused_or_opened(header: String, data: Vec<u8>) {
            let _ = open(&file(&header, &data));
        }
    }
}
