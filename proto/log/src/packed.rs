//! Files that somebody may have packed with gzip: read unpacked, and measured.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// The first two bytes of a gzip file.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

const BUFFER_BYTES: usize = 1 << 18;

/// The content of a file from its start.
pub(crate) struct Unpacked {
    /// Unpacked, if the file is packed.
    pub(crate) input: Box<dyn BufRead + Send>,
    /// The file begins as a gzip file.
    pub(crate) is_packed: bool,
}

/// Opens the file at `path`; its first bytes say whether it is packed, not its name.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn open(path: &Path) -> io::Result<Unpacked> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let is_packed = file.fill_buf()?.starts_with(&MAGIC);
    let input: Box<dyn BufRead + Send> = if is_packed {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    Ok(Unpacked { input, is_packed })
}

/// Bytes of lines in the file at `path`. A packed file is unpacked to measure it, because the size at its end can be wrong; no further
/// than `most` bytes. A broken one counts as far as it can be unpacked.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn unpacked_bytes(path: &Path, most: u64) -> io::Result<u64> {
    let Unpacked { input, is_packed } = open(path)?;
    if !is_packed {
        return Ok(std::fs::metadata(path)?.len());
    }
    let mut input = input.take(most);
    let mut bytes = 0;
    while let Ok(read @ 1..) = input.fill_buf().map(<[u8]>::len) {
        input.consume(read);
        bytes += read as u64;
    }
    Ok(bytes)
}

/// Lines of the file at `path` that end in a line feed.
///
/// # Errors
/// When it cannot be read, or it is a broken gzip file; named with its path.
pub fn count_lines(path: &Path) -> io::Result<u64> {
    let counted = open(path).and_then(|Unpacked { input, .. }| whole_lines(input));
    let (lines, _) = counted.map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}; repair the file, or move it away", path.display()))
    })?;
    Ok(lines)
}

/// Lines that end in a line feed, and the bytes they take.
///
/// # Errors
/// When `input` cannot be read.
pub(crate) fn whole_lines(mut input: impl Read) -> io::Result<(u64, u64)> {
    let (mut lines, mut whole, mut position) = (0, 0, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            return Ok((lines, whole));
        }
        for (i, _) in buffer[..read].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            lines += 1;
            whole = position + i as u64 + 1;
        }
        position += read as u64;
    }
}

/// Packs the file at `path` in its place, as `gzip` does.
///
/// # Errors
/// When it cannot be read, or the packed one not written.
#[doc(hidden)]
pub fn pack_for_test(path: &Path) -> io::Result<()> {
    let packed = File::create(format!("{}.gz", path.display()))?;
    let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::remove_file(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    pub(crate) fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_packed_file_has_the_lines_and_bytes_of_the_file_that_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, gzip) = (folder.path().join("a.jsonl"), folder.path().join("a.jsonl.gz"));
        let text = b"{\"a\":1}\n".repeat(10_000);
        std::fs::write(&plain, &text).unwrap();
        std::fs::write(&gzip, packed(&text)).unwrap();
        for path in [&plain, &gzip] {
            assert_eq!((count_lines(path).unwrap(), unpacked_bytes(path, u64::MAX).unwrap()), (10_000, 80_000));
        }
        assert_eq!(unpacked_bytes(&gzip, 5_000).unwrap(), 5_000, "no further than asked");
    }

    #[test]
    fn a_broken_packed_file_cannot_be_counted_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.gz");
        let whole = packed(&b"{\"a\":1}\n".repeat(10_000));
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let error = count_lines(&path).unwrap_err().to_string();
        assert!(error.contains("a.jsonl.gz: ") && error.contains("move it away"), "{error}");
        assert!(unpacked_bytes(&path, u64::MAX).unwrap() < 80_000);
    }
}
