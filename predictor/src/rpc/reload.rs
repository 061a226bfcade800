//! `ReloadModel`: models by the name of a file in one folder, which the operator chooses.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::models::Artifact;
use eoscast_proto::status::ServiceError;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::common::invalid;

/// Longest name of a file.
const NAME_BYTES: usize = 255;

/// Reads the artifact that a call of `ReloadModel` names. The caller learns only whether that worked. The reason for a failure is in
/// the log, so that a stranger cannot explore the machine's files.
#[derive(Clone)]
pub(super) struct Reloads {
    /// Where artifacts are; without it nothing is reloaded.
    folder: Option<PathBuf>,
    /// The artifact that the predictor was started with. It is loaded when a call names none.
    started_with: Option<ArtifactSource>,
    /// One at a time.
    turn: Arc<Semaphore>,
}

impl Reloads {
    pub(super) fn new(folder: Option<PathBuf>, started_with: Option<ArtifactSource>) -> Self {
        Self { folder, started_with, turn: Arc::new(Semaphore::new(1)) }
    }

    /// The artifact called `name` in the folder, or the one of the start if `name` is empty.
    ///
    /// # Errors
    /// When reloading is off, another reload runs, `name` is no name of a file, or there is no artifact under it.
    pub(super) async fn load(&self, name: String) -> Result<Artifact, ServiceError> {
        let Some(folder) = self.folder.clone() else {
            return Err(ServiceError::FailedPrecondition(
                "reloading is off; start the predictor with --artifact-dir (EOSCAST_ARTIFACT_DIR), the folder that artifacts \
                 are in"
                    .into(),
            ));
        };
        let turn = self.turn.clone().try_acquire_owned().map_err(|_| ServiceError::ResourceExhausted {
            message: "another model is being reloaded; try again when that is done".into(),
            retry_after: std::time::Duration::from_secs(1),
        })?;
        if !name.is_empty() && !is_file_name(&name) {
            return Err(invalid(
                "artifact",
                "must be the name of a file in the folder of --artifact-dir, without a path",
            ));
        }
        let started_with = self.started_with.clone();
        if name.is_empty() && started_with.is_none() {
            return Err(invalid(
                "artifact",
                "must be the name of a file, as the predictor was started without an artifact",
            ));
        }
        let loaded = tokio::task::spawn_blocking(move || {
            // Held for as long as the work goes on, though the caller may have gone.
            let _turn = turn;
            match started_with.filter(|_| name.is_empty()) {
                Some(source) => source.load(),
                None => load_beneath(&folder, &name).map(|artifact| artifact.at(folder.join(&name))),
            }
        });
        loaded.await.map_err(|error| ServiceError::Internal(error.to_string()))?.map_err(|error| {
            tracing::warn!(reason = format!("{error:#}"), "no model was reloaded");
            invalid("artifact", "there is no usable artifact of this name; the log of the predictor says why")
        })
    }
}

fn is_file_name(name: &str) -> bool {
    name.len() <= NAME_BYTES && !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}

/// Reads the regular file `name`, without leaving the folder by a link and without waiting for anything.
fn load_beneath(folder: &Path, name: &str) -> anyhow::Result<Artifact> {
    let directory = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("folder {} of --artifact-dir", folder.display()))?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&directory, name, flags, Mode::empty(), resolve) {
        // Older kernels: no links at all.
        Err(Errno::NOSYS | Errno::PERM) => openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty()),
        opened => opened,
    };
    let file = File::from(file.with_context(|| format!("artifact {name}"))?);
    let is_file = file.metadata().with_context(|| format!("artifact {name}"))?.is_file();
    ensure!(is_file, "artifact {name}: is no regular file");
    Artifact::read(file).with_context(|| format!("artifact {name} cannot be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"format":"eoscast-artifact/1","kind":"prior","feature_version":1,"trained_for":"m",
        "window":100,"outcomes":[[50,false],[80,true]]}"#;

    /// The error of a call with this name.
    async fn refused(reloads: &Reloads, name: &str) -> ServiceError {
        let within = std::time::Duration::from_secs(5);
        tokio::time::timeout(within, reloads.load(name.to_owned())).await.expect("no waiting").unwrap_err()
    }

    #[tokio::test]
    async fn files_of_the_folder_are_read_and_links_within_it_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("now")).unwrap();
        std::fs::write(folder.path().join("now/prior.json"), GOOD).unwrap();
        std::os::unix::fs::symlink("now/prior.json", folder.path().join("prior.json")).unwrap();
        let reloads = Reloads::new(Some(folder.path().to_owned()), None);
        let artifact = reloads.load("prior.json".to_owned()).await.unwrap();
        assert_eq!(artifact.path, folder.path().join("prior.json"));
    }

    #[tokio::test]
    async fn whatever_else_a_name_stands_for_is_refused_at_once_with_one_and_the_same_error() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("artifacts");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(parent.path().join("outside.json"), GOOD).unwrap();
        std::os::unix::fs::symlink("../outside.json", folder.join("outward.json")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("endless")).unwrap();
        std::fs::write(folder.join("secret.json"), r#"{"password":"hunter2"}"#).unwrap();
        std::fs::create_dir(folder.join("folder")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(folder.join("fifo")).status().unwrap();
        assert!(fifo.success());
        let large = File::create(folder.join("large.bin")).unwrap();
        large.set_len(1 << 30).unwrap();
        let reloads = Reloads::new(Some(folder), None);
        let missing = refused(&reloads, "missing").await;
        for name in ["outward.json", "endless", "secret.json", "folder", "fifo", "large.bin"] {
            assert_eq!(refused(&reloads, name).await, missing, "{name}");
        }
        let path = refused(&reloads, "/etc/passwd").await;
        for name in ["../outside.json", "..", ".", "a\0b", &"x".repeat(100_000)] {
            assert_eq!(refused(&reloads, name).await, path, "{name:.20}");
        }
    }

    #[tokio::test]
    async fn without_a_folder_nothing_is_reloaded() {
        let reloads = Reloads::new(None, Some(ArtifactSource::Shipped));
        for name in ["", "prior.json"] {
            let error = refused(&reloads, name).await;
            assert!(
                matches!(&error, ServiceError::FailedPrecondition(text) if text.contains("--artifact-dir")),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn one_model_is_reloaded_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let reloads = Reloads::new(Some(folder.path().to_owned()), Some(ArtifactSource::Shipped));
        let turn = reloads.turn.clone().try_acquire_owned().unwrap();
        assert!(matches!(refused(&reloads, "").await, ServiceError::ResourceExhausted { .. }));
        drop(turn);
        assert!(reloads.load(String::new()).await.is_ok());
    }
}
