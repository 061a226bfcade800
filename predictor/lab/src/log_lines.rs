//! Reads the lines of a log and stops with an error at the first damaged one.

use std::path::Path;

use anyhow::{Context, bail};
use eoscast_log::reader::LineReader;
use serde::de::DeserializeOwned;

/// Hands every line of the file at `path` to `take`.
///
/// # Errors
/// The file cannot be read, a line is damaged, or `take` fails: named by file and line.
pub(crate) fn each<T: DeserializeOwned>(
    path: &Path,
    mut take: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = || format!("cannot read {}", path.display());
    let mut reader = LineReader::open(path).with_context(name)?;
    while let Some(line) = reader.read_line().with_context(name)? {
        match line {
            Ok((number, value)) => take(value).with_context(|| format!("{}:{number}", path.display()))?,
            Err(damage) => bail!("{damage}"),
        }
    }
    Ok(())
}
