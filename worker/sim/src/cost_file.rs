//! The cost model as JSON, as `bench --fit-cost` writes and `simulate --cost` takes it.

use std::path::Path;

use crate::CostModel;
use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Prices in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostFile {
    step_s: f64,
    decode_s: f64,
    decode_context_s: f64,
    prefill_token_s: f64,
    prefill_pair_s: f64,
}

impl From<CostModel> for CostFile {
    fn from(cost: CostModel) -> Self {
        Self {
            step_s: cost.step,
            decode_s: cost.decode,
            decode_context_s: cost.decode_context,
            prefill_token_s: cost.prefill_token,
            prefill_pair_s: cost.prefill_pair,
        }
    }
}

impl From<CostFile> for CostModel {
    fn from(file: CostFile) -> Self {
        Self {
            step: file.step_s,
            decode: file.decode_s,
            decode_context: file.decode_context_s,
            prefill_token: file.prefill_token_s,
            prefill_pair: file.prefill_pair_s,
        }
    }
}

/// Reads a cost model.
///
/// # Errors
/// The file cannot be read, a field is missing, unknown, or no price: named by file, line and column.
pub fn read_cost(path: &Path) -> anyhow::Result<CostModel> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot open {}", path.display()))?;
    let file: CostFile = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let cost = CostModel::from(file);
    cost.check().with_context(|| path.display().to_string())?;
    Ok(cost)
}

/// Writes a cost model.
///
/// # Errors
/// The file cannot be written.
pub fn write_cost(path: &Path, cost: CostModel) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&CostFile::from(cost))? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_model_survives_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_cost(file.path(), CostModel::H100).unwrap();
        assert_eq!(read_cost(file.path()).unwrap(), CostModel::H100);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let good = serde_json::to_string(&CostFile::from(CostModel::H100)).unwrap();
        for (text, reason) in [
            (good.replace("step_s", "stop_s"), "unknown field `stop_s`"),
            (good.replace("0.035", "-0.035"), "step is -0.035"),
            ("{}".to_owned(), "missing field `step_s`"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = format!("{:#}", read_cost(file.path()).unwrap_err());
            assert!(error.contains(reason) && error.contains(&file.path().display().to_string()), "{error}");
        }
    }
}
