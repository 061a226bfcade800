//! Artifacts: files that a model starts from.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use eoscast_log::record::Outcome;

use super::LONGEST_WINDOW;
use crate::features::FEATURE_VERSION;

const FORMAT: &str = "eoscast-artifact/1";
const MOST_BYTES: u64 = 16 << 20;

/// Past outcomes that start the prior warm, from a JSON file:
///
/// `{"format": "eoscast-artifact/1", "kind": "prior", "feature_version": 1, "trained_for": "smollm2-135m", "window": 2000,
/// "outcomes": [[length, censored], ...]}`, oldest outcome first.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Where it was read.
    pub path: PathBuf,
    /// First 8 hex digits of the file's SHA-256.
    pub digest: String,
    /// Name of the generating model whose replies it describes.
    pub trained_for: String,
    /// Outcomes the prior keeps.
    pub window: usize,
    /// Oldest first.
    pub outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactFile {
    format: String,
    kind: String,
    feature_version: u32,
    trained_for: String,
    window: usize,
    outcomes: Vec<(u32, bool)>,
}

impl Artifact {
    /// Reads the artifact at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 16 MiB, or is not an artifact this version understands.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        Self::read(path).with_context(|| format!("artifact {} cannot be used", path.display()))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = std::fs::metadata(path)?.len();
        ensure!(bytes <= MOST_BYTES, "it has {bytes} bytes, more than the {MOST_BYTES} an artifact may have");
        let text = std::fs::read(path)?;
        let file: ArtifactFile = serde_json::from_slice(&text)?;
        ensure!(file.format == FORMAT, "format: must be {FORMAT}, got {:?}", file.format);
        ensure!(file.kind == "prior", "kind: must be prior, got {:?}", file.kind);
        ensure!(
            file.feature_version == FEATURE_VERSION,
            "feature_version: this predictor has version {FEATURE_VERSION}, got {}; train it again",
            file.feature_version
        );
        ensure!(
            (1..=LONGEST_WINDOW).contains(&file.window),
            "window: must be 1 to {LONGEST_WINDOW}, got {}",
            file.window
        );
        let digest: String = Sha256::digest(&text).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let outcomes: Vec<_> =
            file.outcomes.into_iter().map(|(length, censored)| Outcome { length, censored }).collect();
        tracing::info!(
            artifact = %path.display(),
            trained_for = file.trained_for,
            outcomes = outcomes.len(),
            "artifact loaded"
        );
        Ok(Self { path: path.to_owned(), digest, trained_for: file.trained_for, window: file.window, outcomes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{History, ModelKind};

    const GOOD: &str = r#"{"format":"eoscast-artifact/1","kind":"prior","feature_version":1,"trained_for":"m",
        "window":100,"outcomes":[[50,false],[80,true],[50,false]]}"#;

    fn load(text: &str) -> anyhow::Result<Artifact> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        Artifact::load(file.path())
    }

    #[test]
    fn an_artifact_warms_the_prior_and_shows_in_its_version() {
        let artifact = load(GOOD).unwrap();
        let warm = ModelKind::Prior.build(Some(&artifact), &History::default());
        let cold = ModelKind::Prior.build(None, &History::default());
        assert!(warm.prior().length_prior().mean < cold.prior().length_prior().mean);
        assert_eq!(*warm.version(), format!("prior/1+{}:0", artifact.digest));
    }

    #[test]
    fn a_file_that_is_no_artifact_is_refused_with_the_reason() {
        for (from, to, reason) in [
            ("eoscast-artifact/1", "eoscast-artifact/9", "format: must be"),
            ("\"prior\"", "\"forest\"", "kind: must be prior"),
            ("\"feature_version\":1", "\"feature_version\":7", "feature_version: this predictor"),
            ("\"window\":100", "\"window\":0", "window: must be 1"),
            ("\"window\":100", "\"window\":\"x\"", "invalid type"),
            ("[50,false]", "[-50,false]", "invalid value"),
            ("}", "", "EOF"),
        ] {
            let error = format!("{:#}", load(&GOOD.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(reason) && error.starts_with("artifact /"), "{error}");
        }
        assert!(format!("{:#}", Artifact::load(Path::new("/nowhere/x")).unwrap_err()).contains("/nowhere/x"));
    }
}
