//! `estimate`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use eoscast_cli::progress::Progress;
use eoscast_log::location::Location;
use eoscast_log::reader::BadLines;
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use eoscast_proto::domain::RequestId;

use super::dataset::load;
use crate::estimate::{Written, estimate};
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::fitting::split::Split;
use eoscast_forecast::history::History;

/// Write a log anew with what a model says at each step, so that policies can be simulated with real forecasts.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eoscast-lab estimate --data data/collected --held-out --out data/estimates")]
pub(super) struct EstimateArgs {
    /// The log to read: a folder of the event log, or the file that --log-file named.
    #[arg(long, value_name = "PATH", env = "EOSCAST_DATA")]
    data: PathBuf,

    /// Folder of the log to write.
    #[arg(long, value_name = "DIR", env = "EOSCAST_OUT")]
    out: PathBuf,

    /// The model, if not the one that ships.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT")]
    artifact: Option<PathBuf>,

    /// Only the requests that training keeps for testing, so that no model is asked what it learned by heart.
    #[arg(long, env = "EOSCAST_HELD_OUT")]
    held_out: bool,

    /// Seed of the division in requests for training and test: that of train.
    #[arg(long, value_name = "N", env = "EOSCAST_SPLIT_SEED", default_value_t = 0)]
    split_seed: u64,
}

impl EstimateArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let wanted = if self.held_out { Some(self.held_out()?) } else { None };
        let (kind, chosen) = ArtifactSource::choose(None, self.artifact.as_deref())?;
        let artifact = chosen.map(|(_, artifact)| artifact);
        let mut model = kind.build(artifact.as_ref(), &History::default());
        let mut out = EventLog::open(&LogConfig {
            location: Location::Folder(self.out.clone()),
            rotation: Rotation { bytes: u64::MAX, age: Duration::MAX },
            fsync: Fsync::Never,
            retention_bytes: 0,
        })?;
        let bar = Progress::bytes("estimating", Location::parse(&self.data).bytes()?);
        let Written { requests, steps } =
            estimate(&self.data, model.as_mut(), wanted.as_ref(), &mut out, |bytes| bar.add(bytes))?;
        bar.finish();
        eprintln!("{requests} requests, {steps} steps, estimates of {}: {}", model.version(), self.out.display());
        Ok(())
    }

    fn held_out(&self) -> anyhow::Result<HashSet<RequestId>> {
        let dataset = load(&self.data, None, BadLines::Skip)?;
        let test = Split::new(&dataset.samples, self.split_seed).test;
        Ok(test.into_iter().map(|i| dataset.samples[i].request_id.clone()).collect())
    }
}
