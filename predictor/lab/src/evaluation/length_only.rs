//! The network that sees lengths only, fitted on the requests for training: what EOS signals have to beat.

use std::num::NonZeroUsize;

use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::fitting::progress::{FitEvent, FitProgress};
use eoscast_forecast::fitting::train::{TrainingOptions, train_on};
use eoscast_forecast::models::{Artifact, ModelKind};

/// Most requests that it is fitted on, so that fitting takes a minute on two cores. Six inputs need no more.
const MOST_REQUESTS: usize = 8_000;

/// As `train --model length-only` has it by default.
const EPOCHS: u32 = 40;

/// Fits the network on the requests of `log` at the places `train`; calls `progress` after each pass over the data.
///
/// # Errors
/// There are too few requests.
pub(crate) fn fit(
    log: &Dataset,
    train: &[usize],
    split_seed: u64,
    mut progress: impl FnMut() + Send,
) -> anyhow::Result<Artifact> {
    let options = TrainingOptions {
        seed: 0,
        split_seed,
        epochs: EPOCHS,
        command: "eoscast-lab evaluate".to_owned(),
        also_for: vec![],
        threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    let stride = train.len().div_ceil(MOST_REQUESTS).max(1);
    let train: Vec<usize> = train.iter().copied().step_by(stride).collect();
    let bytes = train_on(ModelKind::LengthOnly, log, &train, &options, &mut |FitProgress { event, .. }| {
        if let FitEvent::Epoch(_) = event {
            progress();
        }
    })?;
    Artifact::parse(&bytes)
}
