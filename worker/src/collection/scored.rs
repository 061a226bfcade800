//! The event log of replies that are given, not generated.

use std::path::Path;

use eoscast_proto::domain::{FinishReason, RequestStarted, StepBatch, StepEvent, WorkerRun};

use super::folder::{self, Folder};
use crate::link::now_micros;
use crate::runner::sketch;
use crate::scoring::Scores;

/// Writes scored replies as if the engine had generated them.
pub(crate) struct ScoredLog {
    folder: Folder,
    run: WorkerRun,
    sequence_number: u64,
}

impl ScoredLog {
    /// Begins a log in the folder `path`.
    ///
    /// # Errors
    /// The folder cannot be written, or holds a log.
    pub(crate) fn open(path: &Path, run: WorkerRun) -> anyhow::Result<Self> {
        Ok(Self { folder: folder::open(path)?, run, sequence_number: 0 })
    }

    /// Adds a reply. One that does not end with an EOS token counts as cut.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn append(&mut self, started: RequestStarted, reply: &[u32], scores: &Scores) -> anyhow::Result<()> {
        self.sequence_number += 1;
        let ending = match reply.last() {
            Some(token) if started.eos_token_ids.contains(token) => FinishReason::Stop,
            _ => FinishReason::Length,
        };
        let measures = reply.iter().zip(&scores.signals).zip(&scores.sketches);
        let events = (1..).zip(measures).map(|(step, ((token_id, signals), sketch))| StepEvent {
            request_id: started.request_id.clone(),
            step,
            token_id: *token_id,
            signals: *signals,
            finish_reason: (step as usize == reply.len()).then_some(ending),
            eos_bias: 0.0,
            sketch: if sketch::is_sent(step) { sketch.clone() } else { [].into() },
        });
        let batch = StepBatch {
            run: self.run.clone(),
            sequence_number: self.sequence_number,
            timestamp_micros: now_micros(),
            events: events.collect(),
            started: vec![started],
            ended: Vec::new(),
            load: Default::default(),
        };
        self.folder.take_in(batch)?;
        Ok(())
    }
}
