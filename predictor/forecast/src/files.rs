//! All that this crate reads from files: artifacts and event logs. Everything below works on bytes and lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use eoscast_log::foreign;
use eoscast_log::foreign::files::LogFiles;
use eoscast_log::intake::Intake;
use eoscast_log::location::{Location, Segment, Series};
use eoscast_log::reader::parse_json;
use eoscast_log::record::RequestLine;
use eoscast_log::tail::NewestSteps;
use sha2::{Digest, Sha256};

use crate::fitting::dataset::{Collector, Dataset, Selection};
use crate::fitting::left_out::OLDER;
use crate::fitting::step_log::StepLog;
use crate::models::artifact::{Artifact, MOST_BYTES};
use crate::models::kind::ModelKind;
use crate::models::shipped;

impl Artifact {
    /// Reads the artifact at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 16 MiB, or is not an artifact this version understands.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let read = || Self::read(File::open(path)?);
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

    /// Reads an artifact, and no more bytes than one may have.
    ///
    /// # Errors
    /// When it cannot be read, has more than 16 MiB, or is not an artifact this version understands.
    pub fn read(file: impl Read) -> anyhow::Result<Self> {
        let mut bytes = vec![];
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= MOST_BYTES, "it has more than the {MOST_BYTES} bytes an artifact may have");
        Self::parse(&bytes)
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

/// The files that a dataset is made of, oldest first.
struct DatasetFiles {
    /// None where the log has steps only.
    requests: Vec<PathBuf>,
    steps: Vec<PathBuf>,
    /// Requests that began before may lack steps: seconds since 1970.
    since: f64,
}

impl DatasetFiles {
    fn of(path: &Path, bytes: u64) -> anyhow::Result<Self> {
        let find = || {
            let location = Location::parse(path);
            let paths = |segments: Vec<Segment>| segments.into_iter().map(|segment| segment.path).collect();
            let (requests, _) = location.newest(Series::Requests, bytes)?;
            if requests.is_empty() {
                let steps = LogFiles::of(path)?.files;
                return Ok(Self { requests: vec![], steps, since: f64::NEG_INFINITY });
            }
            let NewestSteps { segments, since } = NewestSteps::of(&location, bytes)?;
            Ok(Self { requests: paths(requests), steps: paths(segments), since })
        };
        let files = find().map_err(|error: io::Error| anyhow::anyhow!("{}: {error}", path.display()))?;
        ensure!(
            !files.steps.is_empty(),
            "{}: has no event log; give the folder that collect or serve writes, or one with .jsonl files of steps",
            path.display()
        );
        Ok(files)
    }
}

impl Dataset {
    /// Bytes of the files that [`load`](Self::load) reads, as they lie on the disk.
    ///
    /// # Errors
    /// When there is no log, or a file cannot be read.
    pub fn bytes(path: &Path, selection: &Selection<'_>) -> anyhow::Result<u64> {
        let DatasetFiles { requests, steps, .. } = DatasetFiles::of(path, selection.bytes)?;
        let bytes = |file: &PathBuf| std::fs::metadata(file).with_context(|| file.display().to_string());
        requests.iter().chain(&steps).map(|file| bytes(file).map(|metadata| metadata.len())).sum()
    }

    /// Reads the log at `path`: a folder or a file as `serve` and `collect` write it, or lines of steps alone, as other engines write
    /// them; `progress` gets the bytes of each file that is done.
    ///
    /// # Errors
    /// When there is no log, a file cannot be read, requests of several models are mixed and none is chosen, or there are bad
    /// lines and these are to be refused.
    pub fn load(path: &Path, selection: &Selection<'_>, progress: impl FnMut(u64)) -> anyhow::Result<Self> {
        let files = DatasetFiles::of(path, selection.bytes)?;
        let loaded = if files.requests.is_empty() {
            Self::load_steps(&files, selection, progress)
        } else {
            Self::load_own(&files, selection, progress)
        };
        loaded.with_context(|| path.display().to_string())
    }

    /// Reads a log with lines of requests and of steps.
    fn load_own(
        files: &DatasetFiles,
        selection: &Selection<'_>,
        mut progress: impl FnMut(u64),
    ) -> anyhow::Result<Self> {
        let mut intake = Intake::default();
        let mut collector = Collector::default();
        let mut hash = Sha256::new();
        for file in &files.requests {
            let read = intake.each_line(file, parse_json::<RequestLine>, |line, reader, intake| {
                if line.started_at < files.since {
                    *intake.left_out.entry(OLDER).or_default() += 1;
                } else if let Some(trouble) = collector.request(&line) {
                    intake.push(trouble, reader);
                }
            });
            read.with_context(|| file.display().to_string())?;
            progress(hash_file(file, &mut hash)?);
        }
        // Before the choice: it can fail because all lines are bad.
        intake.check(selection.bad_lines)?;
        let model = collector.choose(selection.model, &mut intake)?;
        for file in &files.steps {
            let read = intake.each_line(file, foreign::parse, |read, reader, intake| {
                intake.step(read, reader, |step, intake| collector.step(step, intake));
            });
            read.with_context(|| file.display().to_string())?;
            progress(hash_file(file, &mut hash)?);
        }
        intake.check(selection.bad_lines)?;
        let samples = collector.finish(&mut intake)?;
        Ok(Self { model, samples, intake, hash: in_hex(hash) })
    }

    /// Reads a log of steps alone.
    fn load_steps(
        files: &DatasetFiles,
        selection: &Selection<'_>,
        mut progress: impl FnMut(u64),
    ) -> anyhow::Result<Self> {
        let mut log = StepLog::default();
        let mut hash = Sha256::new();
        for file in &files.steps {
            log.file(file).with_context(|| file.display().to_string())?;
            progress(hash_file(file, &mut hash)?);
        }
        log.intake().check(selection.bad_lines)?;
        let (model, samples, intake) = Self::of_steps(log, selection.model)?;
        // Once more, with the gaps.
        intake.check(selection.bad_lines)?;
        Ok(Self { model, samples, intake, hash: in_hex(hash) })
    }
}

fn in_hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
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
