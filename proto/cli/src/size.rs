//! Numbers of bytes as people write them.

/// Reads `64MB`, `1.5 GiB` or `4096`: MB is 1000 * 1000 bytes, MiB 1024 * 1024.
///
/// # Errors
/// When it is not a size; says what would be one.
pub fn parse(text: &str) -> Result<u64, String> {
    let size: Result<bytesize::ByteSize, _> = text.parse();
    size.map(|size| size.as_u64()).map_err(|_| "must be a number of bytes, e.g. 64MB, 64MiB or 67108864".to_owned())
}

/// The same, for what has to be at least 1.
///
/// # Errors
/// When it is not a size, or 0.
pub fn parse_positive(text: &str) -> Result<u64, String> {
    match parse(text)? {
        0 => Err("must be at least 1 byte".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_counts_bytes() {
        for (text, bytes) in [("64MB", 64_000_000), ("64 MiB", 64 << 20), ("1.5GB", 1_500_000_000), ("7", 7), ("0", 0)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "many", "-1", "5 apples", "1e3x"] {
            assert!(parse(wrong).unwrap_err().contains("e.g. 64MB"), "{wrong}");
        }
        assert!(parse_positive("0").is_err() && parse_positive("1kB") == Ok(1_000));
    }
}
