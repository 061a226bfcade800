//! [`Artifact`]: what a model starts from, as bytes and back. Reading and writing files is for others.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use eoscast_log::record::{Outcome, Pits};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::kind::ModelKind;
use super::warm_start::WarmStart;
use super::weights::Weights;
use crate::calibration::Pit;
use crate::distribution::LONGEST;
use crate::features::FEATURE_VERSION;
use crate::history::LONGEST_WINDOW;

const FORMAT: &str = "eoscast-artifact/2";
/// Past outcomes alone, as one JSON object.
const FORMAT_1: &str = "eoscast-artifact/1";
/// Most bytes of an artifact.
pub const MOST_BYTES: u64 = 16 << 20;
/// Key of the [`Card`] in the file's metadata.
const CARD: &str = "eoscast";

/// What a trained artifact says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// `eoscast-artifact/2`.
    pub format: String,
    /// Which model.
    pub kind: String,
    /// [`FEATURE_VERSION`] of the rows it was trained on.
    pub feature_version: u32,
    /// Name of the generating model whose replies it was trained on.
    pub trained_for: String,
    /// Other names under which workers serve the same model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_for: Vec<String>,
    /// SHA-256 of the log it was trained on.
    pub data_hash: String,
    /// Command line that makes it again.
    pub command: String,
    /// Requests it was trained and calibrated on.
    pub requests: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Name and version of what trained it.
    pub libraries: BTreeMap<String, String>,
    /// What training measured.
    pub metrics: BTreeMap<String, f64>,
}

/// What a model starts from: past outcomes, and of a trained model its parameters.
///
/// A file is in the safetensors format, with a [`Card`] as JSON under the key `eoscast` of its metadata; or, with outcomes only,
///
/// `{"format": "eoscast-artifact/1", "kind": "prior", "feature_version": 1, "trained_for": "smollm2-135m", "window": 2000,
/// "outcomes": [[length, censored], ...]}`, oldest outcome first.
#[derive(Clone)]
pub struct Artifact {
    /// Where it was read; empty if that is not known.
    pub path: PathBuf,
    /// The model it was trained as.
    pub kind: ModelKind,
    /// What that model starts from.
    pub start: WarmStart,
    /// What it says of itself, unless it holds outcomes only.
    pub card: Option<Card>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Artifact").field("path", &self.path).field("digest", &self.start.digest).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomesFile {
    format: String,
    kind: String,
    feature_version: u32,
    trained_for: String,
    window: usize,
    outcomes: Vec<(u32, bool)>,
}

impl Artifact {
    /// What a file with these bytes holds.
    ///
    /// # Errors
    /// When they are not an artifact this version understands.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let digest: String = Sha256::digest(bytes).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        // A safetensors file begins with the length of its header, which is a multiple of 8 and therefore no brace.
        if bytes.first() == Some(&b'{') {
            return Self::of_outcomes(digest, bytes);
        }
        let (_, header) = SafeTensors::read_metadata(bytes).context("it is no safetensors file")?;
        let card = header.metadata().as_ref().and_then(|metadata| metadata.get(CARD));
        let card = card.with_context(|| format!("its metadata has no entry {CARD}; it was not made by eoscast"))?;
        let card: Card = serde_json::from_str(card).with_context(|| format!("metadata {CARD}"))?;
        ensure!(card.format == FORMAT, "format: must be {FORMAT}, got {:?}", card.format);
        let kind = ModelKind::parse(&card.kind)
            .with_context(|| format!("kind: this predictor has no model {:?}; train another one", card.kind))?;
        ensure!(
            card.feature_version == FEATURE_VERSION,
            "feature_version: this predictor has version {FEATURE_VERSION}, got {}; train it again",
            card.feature_version
        );
        let weights = Weights::of_file(&SafeTensors::deserialize(bytes).context("it is no safetensors file")?);
        let outcomes = pairs(&weights, "outcomes")?;
        let is_whole = |length: f32| length.fract() == 0.0 && (0.0..=LONGEST as f32).contains(&length);
        if let Some((length, _)) = outcomes.iter().find(|(length, _)| !is_whole(*length)) {
            bail!("tensor outcomes: lengths must be whole numbers from 0 to {LONGEST}, has {length}");
        }
        let outcomes = newest(outcomes.into_iter().map(|(length, censored)| (length as u32, censored)).collect());
        let mut pits = [const { vec![] }; Pits::AGES];
        for (age, pits) in pits.iter_mut().enumerate() {
            let name = format!("pits.{age}");
            for (value, cut) in pairs(&weights, &name)? {
                ensure!((0.0..=1.0).contains(&value), "tensor {name}: must hold values of 0 to 1, has {value}");
                pits.push(Pit { value, cut });
            }
        }
        Ok(Self {
            path: PathBuf::new(),
            kind,
            start: WarmStart {
                digest,
                trained_for: std::iter::once(&card.trained_for).chain(&card.also_for).cloned().collect(),
                window: outcomes.len().clamp(1, LONGEST_WINDOW),
                outcomes,
                pits,
                forecaster: kind.read(&weights)?,
            },
            card: Some(card),
        })
    }

    fn of_outcomes(digest: String, text: &[u8]) -> anyhow::Result<Self> {
        let file: OutcomesFile = serde_json::from_slice(text)?;
        ensure!(file.format == FORMAT_1, "format: must be {FORMAT_1}, got {:?}", file.format);
        ensure!(file.kind == "prior", "kind: must be prior, got {:?}", file.kind);
        ensure!(file.feature_version == 1, "feature_version: must be 1, got {}", file.feature_version);
        ensure!(
            (1..=LONGEST_WINDOW).contains(&file.window),
            "window: must be 1 to {LONGEST_WINDOW}, got {}",
            file.window
        );
        let longest = file.outcomes.iter().map(|(length, _)| *length).max().unwrap_or_default();
        ensure!(longest <= LONGEST, "outcomes: no reply has more than {LONGEST} tokens, got {longest}");
        Ok(Self {
            path: PathBuf::new(),
            kind: ModelKind::Prior,
            start: WarmStart {
                digest,
                trained_for: vec![file.trained_for],
                window: file.window,
                outcomes: newest(file.outcomes),
                pits: [const { vec![] }; Pits::AGES],
                forecaster: None,
            },
            card: None,
        })
    }

    /// Says where it was read.
    #[must_use]
    pub fn at(self, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Whether it was trained for the generating model `name`.
    pub fn is_for(&self, name: &str) -> bool {
        self.start.trained_for.iter().any(|known| known == name)
    }

    /// Whether `command` with this version made it of the log with the SHA-256 `data_hash`, and so would make the same again.
    pub fn is_made_by(&self, command: &str, data_hash: &str) -> bool {
        self.card.as_ref().is_some_and(|card| {
            is_same_command(&card.command, command) && card.data_hash == data_hash && card.libraries == libraries()
        })
    }
}

/// The outcomes that a model may look back on.
fn newest(mut outcomes: Vec<(u32, bool)>) -> Vec<Outcome> {
    outcomes.drain(..outcomes.len().saturating_sub(LONGEST_WINDOW));
    outcomes.into_iter().map(|(length, censored)| Outcome::new(length, censored)).collect()
}

/// Whether a card's command is `command`. Older cards have the name that the tool had before.
fn is_same_command(on_card: &str, command: &str) -> bool {
    on_card == command
        || on_card
            .strip_prefix("eoscast-predictor train ")
            .is_some_and(|options| command.strip_prefix("eoscast-lab train ") == Some(options))
}

/// The bytes of a file with this card, these parameters, outcomes (oldest first) and PITs by age.
///
/// # Errors
/// When they are more than an artifact may have.
pub fn to_bytes(
    card: &Card,
    mut weights: Weights,
    outcomes: &[Outcome],
    pits: &[Vec<Pit>; Pits::AGES],
) -> anyhow::Result<Vec<u8>> {
    let mut put = |name: String, pairs: Vec<[f32; 2]>| weights.put(name, &[pairs.len(), 2], pairs.as_flattened());
    let flag = |set: bool| f32::from(u8::from(set));
    put("outcomes".to_owned(), outcomes.iter().map(|o| [o.length as f32, flag(o.censored)]).collect());
    for (age, pits) in pits.iter().enumerate() {
        put(format!("pits.{age}"), pits.iter().map(|pit| [pit.value, flag(pit.cut)]).collect());
    }
    let metadata = HashMap::from([(CARD.to_owned(), serde_json::to_string(card)?)]);
    let bytes = safetensors::serialize(weights.views()?, Some(metadata))?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("the artifact has {} bytes, more than the {MOST_BYTES} it may have; make the model smaller", bytes.len());
    }
    Ok(bytes)
}

/// A card without metrics for an artifact of this version.
pub fn card(kind: ModelKind, trained_for: &str) -> Card {
    Card {
        format: FORMAT.to_owned(),
        kind: kind.as_str().to_owned(),
        feature_version: FEATURE_VERSION,
        trained_for: trained_for.to_owned(),
        also_for: vec![],
        data_hash: String::new(),
        command: String::new(),
        requests: 0,
        tokens: 0,
        libraries: libraries(),
        metrics: BTreeMap::new(),
    }
}

/// What trains here.
fn libraries() -> BTreeMap<String, String> {
    [("eoscast-predictor", env!("CARGO_PKG_VERSION")), ("candle", "0.11"), ("smartcore", "0.7")]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
}

/// Numbers with a flag beside each.
fn pairs(weights: &Weights, name: &str) -> anyhow::Result<Vec<(f32, bool)>> {
    let (shape, values) = weights.get(name)?;
    ensure!(matches!(shape, [_, 2]), "tensor {name}: must have two columns, has the shape {shape:?}");
    Ok(values.as_chunks().0.iter().map(|[value, flag]| (*value, *flag > 0.0)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    const GOOD: &str = r#"{"format":"eoscast-artifact/1","kind":"prior","feature_version":1,"trained_for":"m",
        "window":100,"outcomes":[[50,false],[80,true],[50,false]]}"#;

    #[test]
    fn an_artifact_warms_the_prior_and_shows_in_its_version() {
        let artifact = Artifact::parse(GOOD.as_bytes()).unwrap();
        let warm = ModelKind::Prior.build(Some(&artifact), &History::default());
        let cold = ModelKind::Prior.build(None, &History::default());
        assert!(warm.prior().length_prior().mean < cold.prior().length_prior().mean);
        assert_eq!(*warm.version(), format!("prior/1+{}:0", artifact.start.digest));
    }

    #[test]
    fn the_name_that_the_tool_had_before_is_that_of_the_same_command() {
        let before = "eoscast-predictor train --data DIR --seed 0";
        let now = "eoscast-lab train --data DIR --seed 0";
        assert!(is_same_command(before, now) && is_same_command(now, now) && is_same_command(before, before));
        assert!(!is_same_command(before, "eoscast-lab train --data DIR --seed 1"));
        assert!(!is_same_command(now, before), "no card of today is made by the old tool");
    }

    #[test]
    fn a_file_that_is_no_artifact_is_refused_with_the_reason() {
        for (from, to, reason) in [
            ("eoscast-artifact/1", "eoscast-artifact/9", "format: must be"),
            ("\"prior\"", "\"forest\"", "kind: must be prior"),
            ("\"feature_version\":1", "\"feature_version\":7", "feature_version: must be 1"),
            ("\"window\":100", "\"window\":0", "window: must be 1"),
            ("\"window\":100", "\"window\":\"x\"", "invalid type"),
            ("[50,false]", "[-50,false]", "invalid value"),
            ("[50,false]", "[4294967295,false]", "outcomes: no reply has more than 1048576 tokens"),
            ("}", "", "EOF"),
        ] {
            let error = format!("{:#}", Artifact::parse(GOOD.replacen(from, to, 1).as_bytes()).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }
}
