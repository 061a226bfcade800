//! The predictor's JSONL, read back.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

/// All lines of the step log (`steps-*.jsonl`) in a folder, oldest first.
///
/// # Errors
/// When a file cannot be read or a line is not JSON; names both.
pub fn steps(folder: &Path) -> anyhow::Result<Vec<Value>> {
    lines(folder, "steps-")
}

/// All lines of the request log (`requests-*.jsonl`) in a folder, oldest first.
///
/// # Errors
/// When a file cannot be read or a line is not JSON; names both.
pub fn requests(folder: &Path) -> anyhow::Result<Vec<Value>> {
    lines(folder, "requests-")
}

fn lines(folder: &Path, prefix: &str) -> anyhow::Result<Vec<Value>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    files.sort();
    let mut values = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        for (number, line) in (1..).zip(text.lines()) {
            values.push(serde_json::from_str(line).with_context(|| format!("{}:{number}", file.display()))?);
        }
    }
    Ok(values)
}
