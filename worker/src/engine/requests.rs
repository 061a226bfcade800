//! The live requests: what the scheduler knows of each, and its sequence.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use eoscast_proto::domain::{FinishReason, RequestEnded, RequestId};
use eoscast_proto::status::ServiceError;
use eoscast_sched::{
    ForecastLoad, PrefixHasher, RemainingLength, Request, RequestKey, RequestView, Scheduler, Stats, StepOutcome,
    StepPlan,
};
use tracing::error;

use super::command::Submission;
use super::config::EngineConfig;
use super::sequence::{Ending, Sequence};
use super::turns::{Changes, Turns};
use crate::bounds::RETRY_AFTER;
use crate::link::{EstimateTable, ForecastBasis};
use crate::runner::{SequenceSlice, TokenSets};

/// Requests from their arrival at the engine until their clients are notified of the end.
pub(crate) struct LiveRequests {
    scheduler: Scheduler,
    /// Which of those that wait the scheduler knows.
    turns: Turns,
    sequences: HashMap<RequestKey, Sequence>,
    keys: HashMap<RequestId, RequestKey>,
    next_key: RequestKey,
    sets: Arc<TokenSets>,
    estimate_max_age: u32,
    /// None: the prefix cache is off.
    prefix_hasher: Option<PrefixHasher>,
    /// Time zero of the scheduler's clock.
    epoch: Instant,
    /// Finished since the last [`take_finished`](Self::take_finished).
    finished: Vec<FinishedReply>,
}

/// A finished reply whose client has not been notified yet. The link gets it first, so a client that sees the end can rely on
/// it being queued for the predictor.
pub(crate) struct FinishedReply {
    pub(crate) sequence: Sequence,
    pub(crate) ending: Ending,
    pub(crate) error: Option<ServiceError>,
    /// It ended between two tokens, so that no step event carries the end.
    is_cut: bool,
}

impl FinishedReply {
    /// The predictor's notice of an end that no step event carries.
    pub(crate) fn notice(&self) -> Option<RequestEnded> {
        self.is_cut.then(|| RequestEnded {
            request_id: self.sequence.id().clone(),
            finish_reason: self.ending.0,
            output_length: self.sequence.generated(),
        })
    }
}

impl LiveRequests {
    pub(crate) fn new(config: &EngineConfig, sets: Arc<TokenSets>) -> anyhow::Result<Self> {
        let hash_states = || [RandomState::new(), RandomState::new()];
        Ok(Self {
            scheduler: Scheduler::new(config.scheduler, config.policy)?,
            turns: Turns::default(),
            sequences: HashMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            sets,
            estimate_max_age: config.estimate_max_age,
            prefix_hasher: config.prefix_cache.then(|| PrefixHasher::new(config.scheduler.block_size, hash_states())),
            epoch: Instant::now(),
            finished: Vec::new(),
        })
    }

    /// Whether none is live.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Whether none is live and no client waits to be notified.
    pub(crate) fn is_idle(&self) -> bool {
        self.sequences.is_empty() && self.finished.is_empty()
    }

    pub(crate) fn get(&self, key: RequestKey) -> Option<&Sequence> {
        self.sequences.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: RequestKey) -> Option<&mut Sequence> {
        self.sequences.get_mut(&key)
    }

    pub(crate) fn stats(&self) -> Stats {
        let stats = self.scheduler.stats();
        Stats { waiting: stats.waiting + self.turns.unseen(), ..stats }
    }

    /// Replies that ended since the last call, in the order of their ends.
    pub(crate) fn take_finished(&mut self) -> Vec<FinishedReply> {
        std::mem::take(&mut self.finished)
    }

    /// Queues a request.
    pub(crate) fn add(&mut self, submission: Submission) {
        self.next_key += 1;
        let sequence = Sequence::new(submission, Arc::clone(&self.sets));
        self.turns.add(sequence.turn(self.next_key));
        self.keys.insert(sequence.id().clone(), self.next_key);
        self.sequences.insert(self.next_key, sequence);
    }

    /// Lets the scheduler know those whose turn it is. It sees them as new arrivals, so a request hidden earlier does not overtake those
    /// shown meanwhile.
    fn deal_turns(&mut self, now: Instant) {
        let Changes { shown, hidden } = self.turns.deal();
        for key in hidden {
            if let Some(sequence) = self.sequences.get_mut(&key) {
                sequence.block_hashes = self.scheduler.block_hashes(key).to_vec();
            }
            self.scheduler.abort(key);
        }
        for (key, priority) in shown {
            let Some(sequence) = self.sequences.get_mut(&key) else { continue };
            let request = &sequence.request;
            let at = |instant: Instant| instant.saturating_duration_since(self.epoch).as_secs_f64();
            let refused = self.scheduler.add(Request {
                key,
                // Checked against the context length by the preparer.
                prompt_tokens: request.prompt.len() as u32,
                max_tokens: request.max_tokens,
                priority,
                arrival: at(now),
                deadline: request.deadline.map(at),
            });
            match refused {
                Ok(()) => {
                    self.scheduler.extend_hashes(key, std::mem::take(&mut sequence.block_hashes));
                    self.extend_hashes(key);
                }
                Err(refused) => {
                    error!(request_id = %sequence.id(), %refused, "a prepared request was refused");
                    self.cut(key, Some(ServiceError::Internal(refused.to_string())));
                }
            }
        }
    }

    /// Gives the scheduler the hashes of the blocks that the request's tokens have filled, so that others can share them.
    fn extend_hashes(&mut self, key: RequestKey) {
        let sequence = self.sequences.get(&key).filter(|sequence| !sequence.reports_prompt());
        if let (Some(hasher), Some(sequence)) = (&self.prefix_hasher, sequence) {
            let further = hasher.further(self.scheduler.block_hashes(key), &sequence.tokens);
            self.scheduler.extend_hashes(key, further);
        }
    }

    /// Ends a request that its client aborted. Does nothing if it is not live.
    pub(crate) fn abort(&mut self, id: &RequestId) {
        if let Some(key) = self.keys.get(id) {
            self.cut(*key, None);
        }
    }

    /// Ends requests that nobody waits for, or not any longer; all of them if `all`.
    pub(crate) fn cull(&mut self, now: Instant, all: bool) {
        let over = |sequence: &Sequence| {
            all || sequence.is_abandoned() || sequence.is_expired(now) || sequence.has_lost_its_place()
        };
        let mut keys: Vec<RequestKey> =
            self.sequences.iter().filter(|(_, sequence)| over(sequence)).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            let error = self.sequences.get(&key).and_then(|sequence| {
                if sequence.is_expired(now) {
                    Some(ServiceError::DeadlineExceeded("the deadline passed before the reply ended".into()))
                } else {
                    sequence.has_lost_its_place().then(lost_its_place)
                }
            });
            self.cut(key, error);
        }
    }

    /// Ids of live requests, for the log.
    pub(crate) fn ids(&self, keys: &[RequestKey]) -> String {
        let ids = keys.iter().filter_map(|key| Some(self.sequences.get(key)?.id().as_str()));
        ids.collect::<Vec<_>>().join(" ")
    }

    /// Ends requests by a failure of the worker.
    pub(crate) fn fail(&mut self, keys: impl IntoIterator<Item = RequestKey>, message: &str) {
        for key in keys {
            self.cut(key, Some(ServiceError::Internal(message.to_owned())));
        }
    }

    /// Ends a request between two tokens, by the client's wish if there is no error.
    pub(crate) fn cut(&mut self, key: RequestKey, error: Option<ServiceError>) {
        self.scheduler.abort(key);
        let reason =
            if matches!(error, Some(ServiceError::Internal(_))) { FinishReason::Error } else { FinishReason::Abort };
        self.retire(key, (reason, None), error, true);
    }

    fn retire(&mut self, key: RequestKey, ending: Ending, error: Option<ServiceError>, is_cut: bool) {
        let Some(sequence) = self.sequences.remove(&key) else { return };
        self.turns.end(sequence.turn(key));
        self.keys.remove(sequence.id());
        self.finished.push(FinishedReply { sequence, ending, error, is_cut });
    }

    /// Plans the next step; beside the plan the worst basis of the forecasts of those in it.
    pub(crate) fn schedule(&mut self, estimates: &EstimateTable) -> (StepPlan, Option<ForecastBasis>) {
        let now = Instant::now();
        self.deal_turns(now);
        let (sequences, max_age) = (&self.sequences, self.estimate_max_age);
        let seconds = (now - self.epoch).as_secs_f64();
        let plan = self.scheduler.schedule(seconds, &mut forecasts(sequences, estimates, max_age));
        let in_step = plan.work.iter().filter_map(|work| sequences.get(&work.key));
        let basis = in_step.map(|sequence| estimates.basis(sequence.id(), sequence.generated(), max_age)).max();
        for work in &plan.work {
            if let Some(sequence) = self.sequences.get_mut(&work.key)
                && sequence.on_scheduled(now, work.start)
            {
                self.turns.admit(sequence.turn(work.key));
            }
        }
        for key in &plan.preempted {
            if let Some(sequence) = self.sequences.get_mut(key) {
                sequence.on_preempted();
            }
        }
        (plan, basis)
    }

    /// What the live requests will need, by the same forecasts as the plan's.
    pub(crate) fn forecast_load(&self, estimates: &EstimateTable) -> ForecastLoad {
        let unseen = self.turns.unseen();
        let unseen_tokens = if unseen == 0 { 0 } else { self.unseen_tokens() };
        let forecast = &mut forecasts(&self.sequences, estimates, self.estimate_max_age);
        self.scheduler.forecast_load_with(unseen, unseen_tokens, forecast)
    }

    /// Of requests that wait and that the scheduler does not see.
    fn unseen_tokens(&self) -> u64 {
        let unseen = self.sequences.iter().filter(|(key, _)| self.scheduler.view(**key).is_none());
        unseen.map(|(_, sequence)| sequence.tokens.len() as u64).sum()
    }

    /// The batch of a plan.
    pub(crate) fn batch(&self, plan: &StepPlan) -> Vec<SequenceSlice<'_>> {
        let slices = plan.work.iter().filter_map(|work| {
            let start = work.start as usize;
            let sequence = self.sequences.get(&work.key)?;
            Some(SequenceSlice {
                tokens: sequence.tokens.get(start..start + work.tokens as usize)?,
                start,
                block_table: self.scheduler.block_table(work.key),
                logits: sequence.logit_rows(start, work.samples),
            })
        });
        slices.collect()
    }

    /// Tells the scheduler what a step brought, and ends the requests that the step finished.
    pub(crate) fn apply(&mut self, plan: &StepPlan, outcome: &StepOutcome, endings: Vec<(RequestKey, Ending)>) {
        self.scheduler.apply(outcome);
        for (key, ending) in endings {
            self.retire(key, ending, None, false);
        }
        for work in plan.work.iter().filter(|work| work.samples) {
            self.extend_hashes(work.key);
        }
    }
}

/// How the scheduler asks what remains of a request.
fn forecasts(
    sequences: &HashMap<RequestKey, Sequence>,
    estimates: &EstimateTable,
    max_age: u32,
) -> impl FnMut(&RequestView) -> Option<RemainingLength> {
    move |view| estimates.forecast(sequences.get(&view.request.key)?.id(), view.generated, max_age)
}

fn lost_its_place() -> ServiceError {
    let message = "the queue is full, and the request's place went to a client with fewer requests: try again later";
    ServiceError::ResourceExhausted { message: message.to_owned(), retry_after: RETRY_AFTER }
}
