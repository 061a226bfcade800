//! All that this crate reads from files: artifacts and event logs. Everything below works on bytes and lines.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use eoscast_log::location::{Location, Segment, Series};
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StepLine};
use eoscast_log::tail::NewestSteps;
use sha2::{Digest, Sha256};

use crate::fitting::dataset::{Collector, Dataset, Selection};
use crate::fitting::intake::{Intake, Trouble};
use crate::models::artifact::{Artifact, MOST_BYTES};
use crate::models::kind::ModelKind;
use crate::models::shipped;

impl Artifact {
    /// Reads the artifact at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 16 MiB, or is not an artifact this version understands.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || {
            let bytes = std::fs::metadata(path)?.len();
            ensure!(bytes <= MOST_BYTES, "it has {bytes} bytes, more than the {MOST_BYTES} an artifact may have");
            Self::parse(&std::fs::read(path)?)
        };
        let artifact = read().with_context(|| format!("artifact {} cannot be used", path.display()))?.at(path);
        tracing::info!(
            artifact = %path.display(),
            kind = artifact.kind.as_str(),
            trained_for = artifact.start.trained_for.join(", "),
            outcomes = artifact.start.outcomes.len(),
            "artifact loaded"
        );
        Ok(artifact)
    }
}

/// Where an artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// This program.
    Shipped,
    /// A file.
    File(PathBuf),
}

impl ArtifactSource {
    /// Reads the artifact.
    ///
    /// # Errors
    /// When the file cannot be read or is not an artifact this version understands.
    pub fn load(&self) -> anyhow::Result<Artifact> {
        match self {
            Self::Shipped => shipped(),
            Self::File(path) => Artifact::load(path),
        }
    }

    /// What a predictor starts with: `kind` from the artifact at `path`. Without either it is the model that ships; without
    /// `kind`, that of the artifact; a kind that needs an artifact and has none takes the one that ships.
    ///
    /// # Errors
    /// When the artifact cannot be used, or is not one of `kind`.
    pub fn choose(
        kind: Option<ModelKind>,
        path: Option<&Path>,
    ) -> anyhow::Result<(ModelKind, Option<(Self, Artifact)>)> {
        let source = match (kind, path) {
            (_, Some(path)) => Some(Self::File(path.to_owned())),
            (None, None) => Some(Self::Shipped),
            (Some(kind), None) => Some(Self::Shipped).filter(|_| kind.is_trained()),
        };
        let loaded = source.map(|source| source.load().map(|artifact| (source, artifact))).transpose()?;
        let artifact = loaded.as_ref().map(|(_, artifact)| artifact);
        let kind = kind.or(artifact.map(|artifact| artifact.kind)).unwrap_or(ModelKind::Prior);
        kind.check(artifact)?;
        Ok((kind, loaded))
    }
}

impl Dataset {
    /// Reads the log at `path`, a folder or a file as `serve` and `collect` write it; `progress` gets the bytes of each file
    /// that is done.
    ///
    /// # Errors
    /// When there is no log, a file cannot be read, requests of several models are mixed and none is chosen, or there are bad
    /// lines and these are to be refused.
    pub fn load(path: &Path, selection: &Selection<'_>, mut progress: impl FnMut(u64)) -> anyhow::Result<Self> {
        let location = Location::parse(path);
        let name = || path.display().to_string();
        let (requests, _) = location.newest(Series::Requests, selection.bytes).with_context(name)?;
        let NewestSteps { segments: steps, since } = NewestSteps::of(&location, selection.bytes).with_context(name)?;
        ensure!(
            !requests.is_empty() && !steps.is_empty(),
            "{}: has no event log; give the folder that collect or serve writes",
            path.display()
        );
        let mut intake = Intake::default();
        let mut collector = Collector::default();
        let mut hash = Sha256::new();
        for Segment { path, .. } in &requests {
            each(
                path,
                &mut intake,
                |line: RequestLine, _| {
                    if line.started_at < since { None } else { collector.request(&line) }
                },
            )?;
            progress(hash_file(path, &mut hash)?);
        }
        let model = collector.choose(selection.model)?;
        for Segment { path, .. } in &steps {
            each(path, &mut intake, |line: StepLine, intake| collector.step(&line, intake))?;
            progress(hash_file(path, &mut hash)?);
        }
        intake.check(selection.bad_lines).with_context(|| path.display().to_string())?;
        let samples = collector.finish(&mut intake)?;
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { model, samples, intake, hash })
    }
}

/// Hands each line of `file` to `apply`, which says what is wrong with it, if anything.
fn each<T: serde::de::DeserializeOwned>(
    file: &Path,
    intake: &mut Intake,
    mut apply: impl FnMut(T, &mut Intake) -> Option<Trouble>,
) -> anyhow::Result<()> {
    let name = || file.display().to_string();
    let mut reader = LineReader::open(file).with_context(name)?;
    while let Some(line) = reader.read_line().with_context(name)? {
        match line {
            Ok((_, line)) => {
                if let Some(trouble) = apply(line, intake) {
                    intake.push(trouble, |reason| reader.damage(reason));
                }
            }
            Err(damage) => intake.damages.push(damage),
        }
    }
    Ok(())
}

fn hash_file(file: &Path, hash: &mut Sha256) -> anyhow::Result<u64> {
    struct Hasher<'a>(&'a mut Sha256);
    impl io::Write for Hasher<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let name = || file.display().to_string();
    io::copy(&mut File::open(file).with_context(name)?, &mut Hasher(hash)).with_context(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_flags_the_shipped_model_serves() {
        let (kind, chosen) = ArtifactSource::choose(None, None).unwrap();
        let (source, artifact) = chosen.unwrap();
        assert_eq!((kind, source), (artifact.kind, ArtifactSource::Shipped));
    }

    #[test]
    fn a_model_named_is_the_one_that_serves() {
        assert!(matches!(ArtifactSource::choose(Some(ModelKind::Prior), None), Ok((ModelKind::Prior, None))));
        assert_eq!(ArtifactSource::choose(Some(ModelKind::Survival), None).unwrap().0, ModelKind::Survival);
        let error = format!("{:#}", ArtifactSource::choose(Some(ModelKind::Forest), None).unwrap_err());
        assert!(error.contains("model forest") && error.contains("kind survival"), "{error}");
    }

    #[test]
    fn an_error_names_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{").unwrap();
        for path in [file.path(), Path::new("/nowhere/x")] {
            let error = format!("{:#}", Artifact::load(path).unwrap_err());
            assert!(error.starts_with(&format!("artifact {} cannot be used", path.display())), "{error}");
        }
    }
}
