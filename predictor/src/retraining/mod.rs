//! Refits models from the event log while the predictor serves, and swaps in what has become better.
//!
//! - [`trial`]: refits and judges
//! - [`decision`]: what came of it, and the file beside the log that tells so
//! - here: the thread that does so every so many outcomes
//!
//! An artifact that is swapped in lies beside the log first, so that a restart goes on with it and a replay finds it.

pub(crate) mod decision;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use eoscast_log::location::Location;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::pipeline::Pipeline;
use decision::Decision;
use eoscast_forecast::fitting::train::TrainingOptions;
use eoscast_forecast::models::Artifact;
use trial::{Incumbent, Trial, trial};

/// How often the number of outcomes is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// What names of artifacts begin with.
const PREFIX: &str = "retrained-";

/// The artifacts that were swapped in and lie beside the log, as far as they can be read.
///
/// # Errors
/// When the decisions cannot be read.
pub(crate) fn artifacts(location: &Location) -> std::io::Result<Vec<Artifact>> {
    let names = Decision::all(location)?.into_iter().filter_map(|decision| decision.artifact);
    Ok(names.filter_map(|name| Artifact::load(&location.beside(&name)).ok()).collect())
}

/// Retrains every so many outcomes.
pub(crate) struct Retrainer {
    /// The log.
    pub(crate) location: Location,
    /// Outcomes between two retrainings, at least 1.
    pub(crate) every: u64,
    /// The model that the predictor was started with: its version without the outcomes.
    pub(crate) started_with: String,
    /// Where the last decision is told.
    pub(crate) decisions: watch::Sender<Option<Decision>>,
    /// Where decisions are counted.
    pub(crate) metrics: Arc<Metrics>,
}

impl Retrainer {
    /// Starts the thread, which ends soon after `stop`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(self, pipeline: Arc<Pipeline>, stop: CancellationToken) -> std::io::Result<()> {
        // Not one of the runtime's: these are waited for at shutdown.
        std::thread::Builder::new().name("retraining".into()).spawn(move || {
            let mut done = pipeline.ask(|tracker| tracker.outcomes());
            while !stop.is_cancelled() {
                std::thread::sleep(LOOK);
                let outcomes = pipeline.ask(|tracker| tracker.outcomes());
                if outcomes / self.every > done / self.every {
                    done = outcomes;
                    self.retrain(&pipeline, &stop);
                }
            }
        })?;
        Ok(())
    }

    fn retrain(&self, pipeline: &Pipeline, stop: &CancellationToken) {
        // The log is read, and its thread may be far behind on a busy machine.
        pipeline.wait_for_log(stop);
        let ((kind, artifact, history), serving) = pipeline.ask(|tracker| (tracker.serving(), tracker.model_family()));
        let options = TrainingOptions {
            seed: history.seen,
            split_seed: history.seen,
            epochs: 1,
            command: format!("eoscast-predictor serve --retrain-every {}", self.every),
            also_for: vec![],
            // The other cores serve.
            threads: 1,
        };
        let outcomes = history.seen;
        let tried = trial(&self.location, &Incumbent { kind, artifact, history }, &options);
        if stop.is_cancelled() {
            return;
        }
        let (decision, artifact) = self.decide(outcomes, serving, tried);
        if let Some(artifact) = artifact {
            pipeline.ask(|tracker| tracker.swap(artifact));
        }
        self.metrics.count_retraining(&decision);
        // Before the log line: whoever reads that may ask for the decision.
        self.decisions.send_replace(Some(decision.clone()));
        tracing::info!(
            candidate = decision.candidate,
            candidate_mae = decision.candidate_mae,
            serving = decision.serving,
            serving_mae = decision.serving_mae,
            standard_error = decision.standard_error,
            requests = decision.requests,
            outcomes,
            swapped = decision.swapped,
            reason = decision.reason,
            "retrained"
        );
    }

    /// What to do after a trial, and the artifact to swap in, which is written by then; so is the decision.
    fn decide(&self, outcomes: u64, serving: String, tried: anyhow::Result<Trial>) -> (Decision, Option<Artifact>) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut decision = Decision {
            timestamp: since_1970.as_micros() as f64 / 1e6,
            outcomes,
            model: String::new(),
            started_with: self.started_with.clone(),
            serving,
            candidate: String::new(),
            artifact: None,
            requests: 0,
            candidate_mae: 0.0,
            serving_mae: 0.0,
            standard_error: 0.0,
            swapped: false,
            reason: String::new(),
        };
        let mut better = None;
        match tried {
            Err(error) => decision.reason = format!("{error:#}"),
            Ok(trial) => {
                decision.model = trial.model.clone();
                decision.serving = trial.serving.clone();
                decision.candidate = trial.artifact.kind.as_str().to_owned();
                decision.requests = u32::try_from(trial.requests).unwrap_or(u32::MAX);
                decision.candidate_mae = trial.candidate_mae;
                decision.serving_mae = trial.serving_mae;
                decision.standard_error = trial.standard_error;
                if trial.is_better() {
                    match self.keep(&trial) {
                        Ok((name, artifact)) => {
                            (decision.artifact, decision.swapped, better) = (Some(name), true, Some(artifact));
                        }
                        Err(error) => decision.reason = format!("{error:#}"),
                    }
                } else {
                    decision.reason = "it is not better by more than chance".to_owned();
                }
            }
        }
        if let Err(error) = decision.append(&self.location) {
            // Then a restart would not know of it, and neither shall this run.
            (decision.artifact, decision.swapped, better) = (None, false, None);
            decision.reason = format!("the decision cannot be written beside the log: {error}");
        }
        (decision, better)
    }

    /// Writes the artifact beside the log, whole or not at all.
    fn keep(&self, trial: &Trial) -> anyhow::Result<(String, Artifact)> {
        let name = format!("{PREFIX}{}-{}.safetensors", trial.artifact.kind.as_str(), trial.artifact.start.digest);
        let path = self.location.beside(&name);
        let part = path.with_extension("part");
        std::fs::write(&part, &trial.bytes)
            .and_then(|()| std::fs::rename(&part, &path))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        let artifact = Artifact::load(&path)?;
        Ok((name, artifact))
    }
}
