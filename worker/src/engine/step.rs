//! The loop: schedule, execute, apply.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use eoscast_proto::domain::{EngineLoad, FinishReason, RequestEnded, RequestId};
use eoscast_proto::status::ServiceError;
use eoscast_sched::{
    Policy, PrefixHasher, Request, RequestKey, Scheduler, SchedulerConfig, StepOutcome, StepPlan, WorkDone,
};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::handle::Command;
use super::sequence::{Ending, NextToken, Outlook, Sequence, Submission};
use crate::link::PredictorLink;
use crate::link::outbox::StepReport;
use crate::metrics::{Metrics, Phase};
use crate::runner::{LogitRows, ModelRunner, Output, RunnerError, SequenceSlice, TokenSets};
use eoscast_kernels::Pool;
use eoscast_model::text::Vocabulary;

thread_local! {
    /// Of the sampler.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// How the engine runs.
#[derive(Debug, Clone, Copy)]
pub struct EngineConfig {
    /// Limits of a step and of the cache.
    pub scheduler: SchedulerConfig,
    /// Order, admission and victim.
    pub policy: Policy,
    /// Places in the queue.
    pub max_waiting: usize,
    /// Tokens after which an estimate is stale.
    pub estimate_max_age: u32,
    /// Whether requests with a common prefix share its KV blocks.
    pub prefix_cache: bool,
    /// Whether the predictor is told the text of prompts.
    pub prompt_text: bool,
    /// Whether step events tell how likely sentence ends and line breaks are.
    pub token_classes: bool,
}

/// The engine thread's state.
pub(crate) struct Engine {
    runner: Box<dyn ModelRunner>,
    vocabulary: Arc<dyn Vocabulary>,
    sets: Arc<TokenSets>,
    scheduler: Scheduler,
    sequences: HashMap<RequestKey, Sequence>,
    keys: HashMap<RequestId, RequestKey>,
    next_key: RequestKey,
    estimate_max_age: u32,
    /// None: the prefix cache is off.
    prefix_hasher: Option<PrefixHasher>,
    commands: mpsc::UnboundedReceiver<Command>,
    drain_until: Option<Instant>,
    link: PredictorLink,
    metrics: Arc<Metrics>,
    /// Time zero of the scheduler's clock.
    epoch: Instant,
    output: Output,
    report: StepReport,
    /// Replies that have ended, not told yet.
    ended: Vec<EndedReply>,
}

/// A reply whose client hears of its end once the predictor has been told: who sees a reply end finds it in the link.
struct EndedReply {
    sequence: Sequence,
    ending: Ending,
    error: Option<ServiceError>,
}

/// What a step's logits brought.
#[derive(Default)]
struct Drawn {
    outcome: StepOutcome,
    endings: Vec<(RequestKey, Ending)>,
    /// Requests whose logits were no distribution.
    broken: Vec<RequestKey>,
}

impl Engine {
    pub(crate) fn new(
        runner: Box<dyn ModelRunner>,
        vocabulary: Arc<dyn Vocabulary>,
        config: EngineConfig,
        link: PredictorLink,
        metrics: Arc<Metrics>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> anyhow::Result<Self> {
        let spec = runner.spec();
        let sets = match config.token_classes {
            true => TokenSets::of_vocabulary(&spec.eos_token_ids, &*vocabulary, spec.vocab_size),
            false => TokenSets::of_eos(&spec.eos_token_ids),
        };
        let mut engine = Self {
            sets: Arc::new(sets),
            runner,
            vocabulary,
            scheduler: Scheduler::new(config.scheduler, config.policy)?,
            sequences: HashMap::new(),
            keys: HashMap::new(),
            next_key: 0,
            estimate_max_age: config.estimate_max_age,
            prefix_hasher: config
                .prefix_cache
                .then(|| PrefixHasher::new(config.scheduler.block_size, [RandomState::new(), RandomState::new()])),
            commands,
            drain_until: None,
            link,
            metrics,
            epoch: Instant::now(),
            output: Output::default(),
            report: StepReport::default(),
            ended: Vec::new(),
        };
        engine.publish_load();
        Ok(engine)
    }

    /// Steps while there is work, sleeps while there is none.
    pub(crate) fn run(mut self) {
        while self.receive() {
            let mut clock = PhaseClock::start();
            self.cull();
            let plan = self.schedule();
            clock.end(Phase::Schedule, &self.metrics);
            let executed = self.execute(&plan);
            clock.end(Phase::Forward, &self.metrics);
            self.apply(&plan, executed);
            clock.end(Phase::Sample, &self.metrics);
            self.publish();
            self.say_goodbye();
            clock.end(Phase::Events, &self.metrics);
        }
    }

    /// Takes what was commanded since the last step. False when there is nothing left to do, ever.
    fn receive(&mut self) -> bool {
        while self.sequences.is_empty() && self.ended.is_empty() {
            if self.drain_until.is_some() {
                return false;
            }
            match self.commands.blocking_recv() {
                Some(command) => self.obey(command),
                None => return false,
            }
        }
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        true
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.admit_to_queue(*submission),
            Command::Abort(id) => {
                if let Some(key) = self.keys.get(&id) {
                    self.cut(*key, None);
                }
            }
            Command::Drain(deadline) => self.drain_until = Some(deadline),
        }
    }

    fn admit_to_queue(&mut self, submission: Submission) {
        self.next_key += 1;
        let key = self.next_key;
        let at = |instant: Instant| instant.saturating_duration_since(self.epoch).as_secs_f64();
        let request = Request {
            key,
            // Checked against the context length by the preparer.
            prompt_tokens: submission.request.prompt.len() as u32,
            max_tokens: submission.request.max_tokens,
            priority: submission.request.priority,
            arrival: at(submission.submitted),
            deadline: submission.request.deadline.map(at),
        };
        let sequence = Sequence::new(submission, Arc::clone(&self.sets));
        match self.scheduler.add(request) {
            Ok(()) => {
                self.keys.insert(sequence.id().clone(), key);
                self.sequences.insert(key, sequence);
                self.tell_hashes(key);
            }
            Err(refused) => {
                error!(request_id = %sequence.id(), %refused, "a prepared request was refused");
                let error = Some(ServiceError::Internal(refused.to_string()));
                self.report.ended.push(ended(&sequence, FinishReason::Error));
                self.ended.push(EndedReply { sequence, ending: (FinishReason::Error, None), error });
            }
        }
    }

    /// Tells the scheduler what blocks the request's tokens have filled, so that others can share them.
    fn tell_hashes(&mut self, key: RequestKey) {
        if let (Some(hasher), Some(sequence)) = (&self.prefix_hasher, self.sequences.get(&key)) {
            let further = hasher.further(self.scheduler.block_hashes(key), &sequence.tokens);
            self.scheduler.extend_hashes(key, further);
        }
    }

    /// Frees the slots of requests that nobody waits for, or not any longer.
    fn cull(&mut self) {
        let now = Instant::now();
        let drained = self.drain_until.is_some_and(|deadline| deadline <= now);
        let over = |sequence: &Sequence| drained || sequence.is_abandoned() || sequence.is_expired(now);
        let mut keys: Vec<RequestKey> =
            self.sequences.iter().filter(|(_, sequence)| over(sequence)).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        for key in keys {
            let expired = self.sequences.get(&key).is_some_and(|sequence| sequence.is_expired(now));
            let error = ServiceError::DeadlineExceeded("the deadline passed before the reply ended".into());
            self.cut(key, expired.then_some(error));
        }
    }

    /// Ends a request between steps.
    fn cut(&mut self, key: RequestKey, error: Option<ServiceError>) {
        self.scheduler.abort(key);
        let Some(sequence) = self.sequences.get(&key) else { return };
        let reason =
            if matches!(error, Some(ServiceError::Internal(_))) { FinishReason::Error } else { FinishReason::Abort };
        self.report.ended.push(ended(sequence, reason));
        self.retire(key, (reason, None), error);
    }

    /// The same for several, by a failure of ours.
    fn fail(&mut self, keys: impl IntoIterator<Item = RequestKey>, message: &str) {
        for key in keys {
            self.cut(key, Some(ServiceError::Internal(message.to_owned())));
        }
    }

    fn schedule(&mut self) -> StepPlan {
        let now = Instant::now();
        let (sequences, max_age) = (&self.sequences, self.estimate_max_age);
        let estimates = self.link.estimates();
        let plan = self.scheduler.schedule((now - self.epoch).as_secs_f64(), &mut |view| {
            let sequence = sequences.get(&view.request.key)?;
            estimates.forecast(sequence.id(), view.generated, max_age)
        });
        let in_step = plan.work.iter().filter_map(|work| sequences.get(&work.key));
        let basis = in_step.map(|sequence| estimates.basis(sequence.id(), sequence.generated(), max_age)).max();
        drop(estimates);
        self.metrics.on_scheduled(basis);
        for work in &plan.work {
            if let Some(sequence) = self.sequences.get_mut(&work.key) {
                sequence.on_scheduled(now, work.start);
            }
        }
        for key in &plan.preempted {
            if let Some(sequence) = self.sequences.get_mut(key) {
                sequence.on_preempted();
            }
        }
        plan
    }

    fn execute(&mut self, plan: &StepPlan) -> Result<(), RunnerError> {
        let slices: Vec<SequenceSlice<'_>> = plan
            .work
            .iter()
            .filter_map(|work| {
                let start = work.start as usize;
                Some(SequenceSlice {
                    tokens: self.sequences.get(&work.key)?.tokens.get(start..start + work.tokens as usize)?,
                    start,
                    block_table: self.scheduler.block_table(work.key),
                    logits: if work.samples { LogitRows::Last } else { LogitRows::None },
                })
            })
            .collect();
        if slices.is_empty() { Ok(()) } else { self.runner.forward(&slices, &mut self.output) }
    }

    /// Brings what was computed to clients and scheduler.
    fn apply(&mut self, plan: &StepPlan, executed: Result<(), RunnerError>) {
        if let Err(failure) = executed {
            error!(%failure, requests = plan.work.len(), "a step failed");
            return self.fail(plan.work.iter().map(|work| work.key), &failure.to_string());
        }
        let drawn = self.sample(plan);
        self.scheduler.apply(&drawn.outcome);
        for (key, ending) in drawn.endings {
            self.retire(key, ending, None);
        }
        for work in plan.work.iter().filter(|work| work.samples) {
            self.tell_hashes(work.key);
        }
        if !drawn.broken.is_empty() {
            let failure = RunnerError::NoDistribution;
            error!(requests = ?drawn.broken, %failure);
            self.fail(drawn.broken, &failure.to_string());
        }
    }

    /// Draws a token for each sequence whose logits were computed, and shows it to the client. Reading a row of logits takes long
    /// enough to share the rows among threads; what a row brings depends on nothing but the row and its sequence.
    fn sample(&mut self, plan: &StepPlan) -> Drawn {
        let now = Instant::now();
        let outlooks = self.outlooks(plan);
        let mut rows = self.output.rows(self.runner.spec().vocab_size);
        let mut drawn = Drawn::default();
        let mut drawing = Vec::new();
        for (work, outlook) in plan.work.iter().zip(outlooks) {
            let row = if work.samples { rows.next() } else { None };
            match row.and_then(|row| Some((self.sequences.remove(&work.key)?, row, outlook))) {
                Some(draw) => drawing.push((work.key, Mutex::new(draw))),
                None => drawn.outcome.work.push(WorkDone { key: work.key, appended: 0, finished: false }),
            }
        }
        let vocabulary = &*self.vocabulary;
        let advanced = Pool::global().map(drawing.len(), |index| {
            let mut draw = drawing[index].1.lock().unwrap_or_else(PoisonError::into_inner);
            let (sequence, row, outlook) = &mut *draw;
            let since_last = sequence.last_token.map(|last| now - last);
            let outlook = std::mem::take(outlook);
            let advanced = SCRATCH.with_borrow_mut(|scratch| sequence.advance(*row, scratch, vocabulary, outlook, now));
            (since_last, advanced)
        });
        // All at once, and not as they are drawn: each would wake a thread of the network, where now the first does.
        for ((key, draw), (since_last, next)) in drawing.into_iter().zip(advanced) {
            let (sequence, ..) = draw.into_inner().unwrap_or_else(PoisonError::into_inner);
            match next {
                Some(NextToken { event, ending, chunk }) => {
                    sequence.show(chunk);
                    self.metrics.on_token(since_last);
                    self.report.events.push(event);
                    drawn.outcome.work.push(WorkDone { key, appended: 1, finished: ending.is_some() });
                    drawn.endings.extend(ending.map(|ending| (key, ending)));
                }
                None => drawn.broken.push(key),
            }
            self.sequences.insert(key, sequence);
        }
        drawn
    }

    /// What is known of the length of each reply in the plan, read now because the forward pass gave it time to arrive.
    fn outlooks(&self, plan: &StepPlan) -> Vec<Outlook> {
        let estimates = self.link.estimates();
        let of = |key| self.sequences.get(key).map(|sequence| sequence.outlook(&estimates, self.estimate_max_age));
        plan.work.iter().map(|work| of(&work.key).unwrap_or_default()).collect()
    }

    /// Takes a request that has ended out of the engine.
    fn retire(&mut self, key: RequestKey, ending: Ending, error: Option<ServiceError>) {
        let Some(sequence) = self.sequences.remove(&key) else { return };
        self.keys.remove(sequence.id());
        self.ended.push(EndedReply { sequence, ending, error });
    }

    /// Tells predictor and metrics what the step did.
    fn publish(&mut self) {
        let load = self.publish_load();
        let report = StepReport { load, ..std::mem::take(&mut self.report) };
        if !(report.events.is_empty() && report.ended.is_empty()) {
            self.link.report(report);
        }
        if self.sequences.is_empty() && self.drain_until.is_some() {
            info!("all requests are done");
        }
    }

    /// Tells the clients of ended replies.
    fn say_goodbye(&mut self) {
        let now = Instant::now();
        for EndedReply { sequence, ending, error } in std::mem::take(&mut self.ended) {
            let first_estimate = self.link.estimates().remove(sequence.id());
            let (first_token, total) = sequence.latencies(now);
            self.metrics.on_finished(ending.0, sequence.request.prompt.len(), first_token, total);
            match error {
                Some(error) => sequence.fail(error),
                None => sequence.complete(ending, first_estimate, now),
            }
        }
    }

    fn publish_load(&mut self) -> EngineLoad {
        let stats = self.scheduler.stats();
        let load = EngineLoad {
            running_requests: stats.running as u32,
            waiting_requests: stats.waiting as u32,
            kv_blocks_used: stats.blocks_used,
            kv_blocks_total: stats.blocks_total,
            preemptions: stats.preemptions_total,
            generated_tokens: self.metrics.generated_tokens(),
        };
        self.metrics.on_load(load);
        self.metrics.on_prefix_cache(stats.prefix_queries_total, stats.prefix_hits_total);
        load
    }
}

/// Measures the phases of a step, one after the other.
struct PhaseClock(Instant);

impl PhaseClock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn end(&mut self, phase: Phase, metrics: &Metrics) {
        let now = Instant::now();
        metrics.on_phase(phase, now - self.0);
        self.0 = now;
    }
}

fn ended(sequence: &Sequence, finish_reason: FinishReason) -> RequestEnded {
    RequestEnded { request_id: sequence.id().clone(), finish_reason, output_length: sequence.generated() }
}
