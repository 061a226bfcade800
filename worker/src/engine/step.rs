//! The loop: schedule, execute, apply.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eoscast_proto::domain::{EngineLoad, LengthEstimate, StepEvent};
use eoscast_proto::status::ServiceError;
use eoscast_sched::{ForecastLoad, RequestKey, StepOutcome, StepPlan, WorkDone};
use tokio::sync::mpsc;
use tracing::{error, info};

use super::command::Command;
use super::config::EngineConfig;
use super::finish_line::FinishLine;
use super::requests::{FinishedReply, LiveRequests};
use super::sequence::{Draw, Ending, NextToken};
use crate::link::PredictorLink;
use crate::link::outbox::StepReport;
use crate::metrics::{Metrics, Phase, PhaseClock};
use crate::runner::{LogitRows, ModelRunner, Output, RunnerError, SequenceSlice, TokenSets};
use eoscast_kernels::Pool;
use eoscast_model::text::Vocabulary;

/// Shortest time from one forecast of the load to the next.
const FORECAST_INTERVAL: Duration = Duration::from_millis(100);

thread_local! {
    /// Of the sampler.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The engine thread's state.
pub(crate) struct Engine {
    runner: Box<dyn ModelRunner>,
    vocabulary: Arc<dyn Vocabulary>,
    requests: LiveRequests,
    estimate_max_age: u32,
    commands: mpsc::UnboundedReceiver<Command>,
    drain_until: Option<Instant>,
    link: PredictorLink,
    metrics: Arc<Metrics>,
    /// When the load was forecast last. None if nothing has been live since.
    forecast_at: Option<Instant>,
    output: Output,
    /// Of the step under way.
    events: Vec<StepEvent>,
}

/// A sequence's draw from its row of logits; `None` if the logits are no distribution.
struct Drawn {
    key: RequestKey,
    /// For the client, if it asked and there is one.
    estimate: Option<LengthEstimate>,
    draw: Option<Draw>,
}

/// What a step's logits brought.
#[derive(Default)]
struct Sampled {
    outcome: StepOutcome,
    endings: Vec<(RequestKey, Ending)>,
    /// Requests whose logits were no distribution.
    broken: Vec<RequestKey>,
    /// Requests whose clients leave too much unread.
    unread: Vec<(RequestKey, ServiceError)>,
}

impl Engine {
    pub(crate) fn new(
        runner: Box<dyn ModelRunner>,
        vocabulary: Arc<dyn Vocabulary>,
        config: &EngineConfig,
        link: PredictorLink,
        metrics: Arc<Metrics>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> anyhow::Result<Self> {
        let spec = runner.spec();
        let sets = match config.token_classes {
            true => TokenSets::of_vocabulary(&spec.eos_token_ids, &*vocabulary, spec.vocab_size),
            false => TokenSets::of_eos(&spec.eos_token_ids),
        };
        let engine = Self {
            runner,
            vocabulary,
            requests: LiveRequests::new(config, Arc::new(sets))?,
            estimate_max_age: config.estimate_max_age,
            commands,
            drain_until: None,
            link,
            metrics,
            forecast_at: None,
            output: Output::default(),
            events: Vec::new(),
        };
        engine.publish_load();
        Ok(engine)
    }

    /// Steps while there is work, sleeps while there is none.
    pub(crate) fn run(mut self) {
        while self.receive() {
            self.step();
        }
    }

    /// One step of the model for all that is scheduled.
    fn step(&mut self) {
        let mut clock = PhaseClock::start();
        let plan = self.schedule();
        self.forecast_load();
        clock.end(Phase::Schedule, &self.metrics);
        let executed = self.execute(&plan);
        clock.end(Phase::Forward, &self.metrics);
        self.apply(&plan, executed);
        clock.end(Phase::Sample, &self.metrics);
        self.publish();
        clock.end(Phase::Events, &self.metrics);
    }

    /// Plans the step, without the requests that nobody waits for any longer.
    fn schedule(&mut self) -> StepPlan {
        let now = Instant::now();
        self.requests.cull(now, self.drain_until.is_some_and(|deadline| deadline <= now));
        let (plan, basis) = self.requests.schedule(&self.link.estimates());
        self.metrics.on_scheduled(plan.work.iter().map(|work| work.tokens).sum(), basis);
        plan
    }

    /// Publishes what the live requests will need, if the last time is long enough ago. After the plan, which has shown the
    /// scheduler who came, and before the model runs, which may take longer than balancers should wait.
    fn forecast_load(&mut self) {
        let now = Instant::now();
        if self.forecast_at.is_none_or(|at| now - at >= FORECAST_INTERVAL) {
            self.forecast_at = Some(now);
            let load = self.requests.forecast_load(&self.link.estimates());
            self.metrics.on_forecast_load(load);
        }
    }

    /// Runs the model over the plan's batch; says which rows of its output each part of the plan has.
    fn execute(&mut self, plan: &StepPlan) -> Result<Vec<Range<usize>>, RunnerError> {
        let batch = self.requests.batch(plan);
        if !batch.is_empty() {
            self.runner.forward(&batch, &mut self.output)?;
        }
        Ok(row_ranges(&batch))
    }

    /// Brings what was computed to clients and scheduler.
    fn apply(&mut self, plan: &StepPlan, executed: Result<Vec<Range<usize>>, RunnerError>) {
        let ranges = match executed {
            Ok(ranges) => ranges,
            Err(failure) => {
                let keys: Vec<_> = plan.work.iter().map(|work| work.key).collect();
                error!(%failure, request_ids = %self.requests.ids(&keys), "a step failed");
                return self.requests.fail(keys, &failure.to_string());
            }
        };
        let Sampled { outcome, endings, broken, unread } = self.sample(plan, &ranges);
        self.requests.apply(plan, &outcome, endings);
        for (key, error) in unread {
            self.metrics.on_unread_reply();
            self.requests.cut(key, Some(error));
        }
        if !broken.is_empty() {
            let failure = RunnerError::NoDistribution;
            error!(%failure, request_ids = %self.requests.ids(&broken), "no token could be drawn");
            self.requests.fail(broken, &failure.to_string());
        }
    }

    /// Sends predictor, metrics and clients what the step did. The predictor's part is queued before a client sees an end.
    fn publish(&mut self) {
        let load = self.publish_load();
        let finished = self.requests.take_finished();
        let events = std::mem::take(&mut self.events);
        let ended: Vec<_> = finished.iter().filter_map(FinishedReply::notice).collect();
        if !(events.is_empty() && ended.is_empty()) {
            self.link.report(StepReport { started: Vec::new(), events, ended, load });
        }
        if self.requests.is_empty() {
            self.forecast_at = None;
            self.metrics.on_forecast_load(ForecastLoad::default());
            if self.drain_until.is_some() {
                info!("all requests are done");
            }
        }
        self.notify_clients(finished);
    }

    /// Takes the commands since the last step. False when there is nothing left to do, ever.
    fn receive(&mut self) -> bool {
        while self.requests.is_idle() {
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
            Command::Submit(submission) => self.requests.add(*submission),
            Command::Abort(id) => self.requests.abort(&id),
            Command::Drain(deadline) => self.drain_until = Some(deadline),
        }
    }

    /// Draws a token for each sequence whose logits were computed, and shows it to the client.
    fn sample(&mut self, plan: &StepPlan, ranges: &[Range<usize>]) -> Sampled {
        let now = Instant::now();
        let mut sampled = Sampled { broken: self.score_prompts(plan, ranges), ..Sampled::default() };
        let prefilled = plan.work.iter().filter(|work| !work.samples);
        sampled.outcome.work.extend(prefilled.map(|work| WorkDone { key: work.key, appended: 0, finished: false }));
        // Chunks go out when all rows are read: each sent during the reading would wake a thread of the network, which takes a
        // core from the others.
        let drawn = self.draw(plan, ranges);
        if ranges.iter().any(|range| range.len() > 1) {
            // The rows of a prompt would keep their room for good: hundreds of times that of a usual step.
            self.output = Output::default();
        }
        for Drawn { key, estimate, draw } in drawn {
            let Some(sequence) = self.requests.get_mut(key) else { continue };
            if sampled.broken.contains(&key) {
                continue;
            }
            let Some(draw) = draw else {
                sampled.broken.push(key);
                continue;
            };
            match sequence.last_token {
                None => self.metrics.on_first_token(sequence.prompt_tokens(), sequence.age(now)),
                Some(last) => self.metrics.on_next_token(now - last),
            }
            let NextToken { mut event, ending, chunk } = sequence.advance(draw, estimate, &*self.vocabulary, now);
            let shown = sequence.show(chunk);
            if shown.is_err() {
                // It is cut: a notice of its own tells the end.
                event.finish_reason = None;
            }
            self.events.push(event);
            sampled.outcome.work.push(WorkDone { key, appended: 1, finished: ending.is_some() && shown.is_ok() });
            match shown {
                Ok(()) => sampled.endings.extend(ending.map(|ending| (key, ending))),
                Err(error) => sampled.unread.push((key, error)),
            }
        }
        sampled
    }

    /// Ranks the tokens of prompts that are reported. Returns the requests with a row of logits that is not a distribution.
    fn score_prompts(&mut self, plan: &StepPlan, ranges: &[Range<usize>]) -> Vec<RequestKey> {
        let mut broken = Vec::new();
        for (work, range) in plan.work.iter().zip(ranges) {
            let sequence = self.requests.get_mut(work.key).filter(|sequence| sequence.scores_prompt());
            let Some(sequence) = sequence else { continue };
            let rows = self.output.rows(self.runner.spec().vocab_size).skip(range.start).take(range.len());
            let rows: Vec<&[f32]> = rows.map(|row| row.logits).collect();
            if !sequence.score_prompt(work.start as usize, &rows) {
                broken.push(work.key);
            }
        }
        broken
    }

    /// Draws from the rows of logits. Reading a row takes long enough to share the rows among threads; a draw depends on nothing
    /// but the row and its sequence. Estimates are read now because the forward pass gave them time to arrive.
    fn draw(&self, plan: &StepPlan, ranges: &[Range<usize>]) -> Vec<Drawn> {
        let rows: Vec<_> = self.output.rows(self.runner.spec().vocab_size).collect();
        let estimates = self.link.estimates();
        let sampling = plan.work.iter().zip(ranges).filter(|(work, _)| work.samples);
        let inputs: Vec<_> = sampling
            .filter_map(|(work, range)| {
                let row = *rows.get(range.clone())?.last()?;
                let sequence = self.requests.get(work.key)?;
                Some((work.key, sequence, row, sequence.current_forecast(&estimates, self.estimate_max_age)))
            })
            .collect();
        drop(estimates);
        let draws = Pool::global().map(inputs.len(), |index| {
            let (_, sequence, row, forecast) = &inputs[index];
            SCRATCH.with_borrow_mut(|scratch| sequence.draw(*row, scratch, forecast.remaining.as_ref()))
        });
        let drawn = inputs.into_iter().zip(draws);
        drawn.map(|((key, _, _, forecast), draw)| Drawn { key, estimate: forecast.estimate, draw }).collect()
    }

    /// Notifies the clients of finished replies.
    fn notify_clients(&self, finished: Vec<FinishedReply>) {
        let now = Instant::now();
        let model = &self.runner.spec().name;
        // Writing a line may take long; clients come first.
        let lines: Vec<_> = finished
            .into_iter()
            .map(|finished| {
                let FinishedReply { sequence, ending, error, .. } = finished;
                let first_estimate = self.link.estimates().remove(sequence.id());
                let summary = sequence.finished(ending.0, now);
                self.metrics.on_finished(&summary);
                let line = FinishLine::new(&sequence.request, summary, first_estimate.as_ref(), error.as_ref());
                match error {
                    Some(error) => sequence.fail(error),
                    None => sequence.complete(ending, first_estimate, &line.finished),
                }
                line
            })
            .collect();
        lines.iter().for_each(|line| line.log(model));
    }

    fn publish_load(&self) -> EngineLoad {
        let stats = self.requests.stats();
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

/// Which of the step's rows each slice of a batch has.
fn row_ranges(batch: &[SequenceSlice<'_>]) -> Vec<Range<usize>> {
    let mut end = 0;
    let range = |slice: &SequenceSlice<'_>| {
        let first = end;
        end += match slice.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => slice.tokens.len(),
        };
        first..end
    };
    batch.iter().map(range).collect()
}
