//! The one order in which messages of all streams are applied.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eoscast_log::record::Lines;
use eoscast_proto::domain::{LengthPrior, StepBatch, WorkerRun};
use eoscast_proto::status::{FieldViolation, ServiceError};
use tokio::sync::{mpsc, watch};

use super::stream::{Account, Answer, MOST_OF_ALL, MOST_OF_STREAM, MUCH_OF_ALL, Progress, weight};
use super::writing::{Job, Queue, Receipt};
use crate::metrics::Metrics;
use crate::tracker::{StreamId, Tracker};

/// Workers get the prior again when this share of outcomes is new, or after [`PRIOR_AGE`] if any is.
const PRIOR_GROWTH: f64 = 0.05;
const PRIOR_AGE: Duration = Duration::from_secs(1);

/// Generating models that are told of one by one.
const MOST_TOLD: usize = 16;

struct Stream {
    run: Option<WorkerRun>,
    answers: mpsc::UnboundedSender<Result<Answer, ServiceError>>,
    progress: Arc<watch::Sender<Progress>>,
    account: Arc<Account>,
    /// Weight of the messages so far.
    weight: u64,
    prior_sent: Option<(u64, Instant)>,
}

impl Stream {
    fn outstanding(&self) -> u64 {
        self.account.outstanding(self.weight)
    }

    /// The prior, if this stream is due to get it.
    fn due_prior(&mut self, tracker: &Tracker, now: Instant) -> Option<LengthPrior> {
        let outcomes = tracker.outcomes();
        let due = self.prior_sent.is_none_or(|(sent, at)| {
            let new = outcomes.saturating_sub(sent);
            new > 0 && (new as f64 >= PRIOR_GROWTH * sent as f64 || now.duration_since(at) >= PRIOR_AGE)
        });
        due.then(|| {
            self.prior_sent = Some((outcomes, now));
            tracker.length_prior()
        })
    }

    fn send_due_prior(&mut self, tracker: &Tracker, now: Instant) {
        if let Some(prior) = self.due_prior(tracker, now) {
            // The caller may have gone; its close is then on the way.
            let _ = self.answers.send(Ok(Answer { estimates: vec![], prior: Some(prior) }));
        }
    }

    /// Refuses a message that does not belong to what the stream has sent so far.
    fn check_run(&mut self, batch: &StepBatch) -> Result<(), ServiceError> {
        let run = self.run.get_or_insert_with(|| batch.run.clone());
        let changed =
            |field| Err(FieldViolation::new(field, "must not change within a stream; open another one").into());
        if run.worker_id != batch.run.worker_id {
            changed("worker_id")
        } else if run.epoch != batch.run.epoch {
            changed("epoch")
        } else {
            Ok(())
        }
    }
}

pub(super) struct Tracking {
    tracker: Tracker,
    streams: HashMap<StreamId, Stream>,
    /// At least what all streams have outstanding.
    outstanding: u64,
    jobs: Arc<Queue>,
    orphan_timeout: Duration,
    /// Outcomes that the accuracy shown rests on.
    judged: u64,
    /// Generating models of which it was told that the model does not know them.
    unknown: BTreeSet<String>,
    metrics: Arc<Metrics>,
}

impl Tracking {
    /// Has `lines` written.
    pub(super) fn new(
        tracker: Tracker,
        lines: Lines,
        jobs: Arc<Queue>,
        orphan_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let tracking = Self {
            tracker,
            streams: HashMap::new(),
            outstanding: 0,
            jobs,
            orphan_timeout,
            judged: 0,
            unknown: BTreeSet::new(),
            metrics,
        };
        tracking.write(Job { lines, receipt: None });
        tracking
    }

    pub(super) fn tracker(&mut self) -> &mut Tracker {
        &mut self.tracker
    }

    pub(super) fn open(
        &mut self,
        id: StreamId,
        answers: mpsc::UnboundedSender<Result<Answer, ServiceError>>,
        progress: Arc<watch::Sender<Progress>>,
        account: Arc<Account>,
    ) {
        let mut stream = Stream { run: None, answers, progress, account, weight: 0, prior_sent: None };
        // At once, so that the worker has something to fall back on in its first step.
        stream.send_due_prior(&self.tracker, Instant::now());
        self.streams.insert(id, stream);
        self.metrics.streams.set(self.streams.len() as i64);
    }

    /// Nothing more is written.
    pub(super) fn stop(&mut self) {
        self.jobs.close();
    }

    pub(super) fn steps(&mut self, id: StreamId, batch: &StepBatch, received: Instant) {
        // A stream that was ended may still have messages on the way.
        if !self.has_room(id, weight(batch)) {
            return;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let applied = stream.check_run(batch).and_then(|()| self.tracker.apply(batch, id));
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => return self.close(id, Some(error)),
        };
        let prior = stream.due_prior(&self.tracker, received);
        for started in &batch.started {
            if !self.tracker.serves(&started.model)
                && self.unknown.len() < MOST_TOLD
                && self.unknown.insert(started.model.clone())
            {
                let model = self.tracker.model_family();
                tracing::warn!(
                    generating_model = started.model,
                    model,
                    "the model was trained for another language model; the prior answers"
                );
            }
        }
        if !applied.estimates.is_empty() || prior.is_some() {
            self.metrics.estimates.inc_by(applied.estimates.len() as u64);
            // The stream's caller may have gone; its close is then on the way.
            let _ = stream.answers.send(Ok(Answer { estimates: applied.estimates, prior }));
            self.metrics.estimate_seconds.observe(received.elapsed().as_secs_f64());
        }
        let receipt =
            Receipt { progress: stream.progress.clone(), acknowledged: applied.acknowledged, weight: stream.weight };
        self.metrics.observe(batch, &applied.tally);
        self.write(Job { lines: applied.lines, receipt: Some(receipt) });
        if let Some(old) = applied.superseded {
            let message = format!("a newer stream of worker {} has taken over", batch.run.worker_id);
            self.end(old, Some(ServiceError::EpochOver { message, next_epoch: batch.run.epoch.saturating_add(1) }));
        }
    }

    /// Adds a message of `weight` to what the stream has outstanding. A stream that has too much by then is ended, and while all
    /// together have too much, so is the one that has most. Whether this one is still there.
    fn has_room(&mut self, id: StreamId, weight: u64) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        stream.weight += weight;
        self.outstanding += weight;
        if stream.outstanding() > MOST_OF_STREAM {
            self.cut(id, MOST_OF_STREAM);
        }
        while self.outstanding > MOST_OF_ALL {
            self.sum_outstanding();
            let sizes = self.streams.iter().map(|(id, stream)| (*id, stream.outstanding()));
            let largest = sizes.max_by_key(|(_, size)| *size);
            if let Some((largest, size)) = largest.filter(|_| self.outstanding > MOST_OF_ALL) {
                self.cut(largest, size);
            }
        }
        self.streams.contains_key(&id)
    }

    /// Whether the next message of the stream may be read: all streams together do not have much outstanding, or this one has no more
    /// than its share of it.
    pub(super) fn may_read(&mut self, id: StreamId) -> bool {
        if self.outstanding <= MUCH_OF_ALL {
            return true;
        }
        self.sum_outstanding();
        let share = MUCH_OF_ALL / self.streams.len().max(1) as u64;
        self.outstanding <= MUCH_OF_ALL || self.streams.get(&id).is_none_or(|stream| stream.outstanding() <= share)
    }

    fn sum_outstanding(&mut self) {
        self.outstanding = self.streams.values().map(Stream::outstanding).sum();
    }

    fn cut(&mut self, id: StreamId, bytes: u64) {
        if let Some(stream) = self.streams.remove(&id) {
            self.outstanding = self.outstanding.saturating_sub(stream.outstanding());
            let message = format!(
                "the stream has {} MiB without a taken acknowledgement; read what is sent, and send less ahead",
                bytes >> 20
            );
            let worker = stream.run.as_ref().map_or("", |run| run.worker_id.as_str());
            tracing::warn!(worker, bytes, "ended a stream whose worker does not read its acknowledgements");
            let error = ServiceError::ResourceExhausted { message, retry_after: Duration::from_secs(5) };
            self.metrics.count_stream_error(&error);
            stream.account.cut(error);
        }
        self.tracker.disconnect(id, Instant::now());
        self.metrics.streams.set(self.streams.len() as i64);
    }

    pub(super) fn close(&mut self, id: StreamId, error: Option<ServiceError>) {
        self.end(id, error);
        self.tracker.disconnect(id, Instant::now());
    }

    fn end(&mut self, id: StreamId, error: Option<ServiceError>) {
        if let Some(stream) = self.streams.remove(&id) {
            self.outstanding = self.outstanding.saturating_sub(stream.outstanding());
            if let Some(error) = error {
                self.metrics.count_stream_error(&error);
                let _ = stream.answers.send(Err(error));
            }
        }
        self.metrics.streams.set(self.streams.len() as i64);
    }

    /// Changes once everything that was applied so far is in the log, or cannot be.
    pub(super) fn writing(&self) -> watch::Receiver<Progress> {
        let (progress, written) = watch::channel(Progress::default());
        let receipt = Receipt { progress: Arc::new(progress), acknowledged: 0, weight: 0 };
        self.write(Job { lines: Lines::default(), receipt: Some(receipt) });
        written
    }

    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let lines = self.tracker.expire(now, self.orphan_timeout, since_1970.as_micros() as f64 / 1e6);
        self.write(Job { lines, receipt: None });
        for stream in self.streams.values_mut() {
            stream.send_due_prior(&self.tracker, now);
        }
        self.metrics.live_requests.set(self.tracker.live_requests() as i64);
        let judged = self.tracker.judged_outcomes();
        if judged != self.judged {
            self.judged = judged;
            self.metrics.accuracy.set(self.tracker.accuracy());
        }
    }

    fn write(&self, job: Job) {
        self.metrics.count_outcomes(&job.lines);
        if job.receipt.is_some() || !job.lines.is_empty() {
            self.jobs.push(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::{RequestStarted, StepEvent};

    use super::*;
    use crate::recovery::Recovered;
    use eoscast_forecast::models::ModelKind;

    fn arrival(sequence_number: u64) -> StepBatch {
        let started = RequestStarted::for_test(&format!("r{sequence_number}"));
        StepBatch { sequence_number, started: vec![started], ..StepBatch::for_test("w") }
    }

    #[test]
    fn a_disk_that_stalls_delays_acknowledgements_and_not_estimates() {
        const MESSAGES: u64 = 2_000;
        let (tracker, lines) = Tracker::new(ModelKind::Prior, None, Recovered::default(), Instant::now());
        // Nobody takes the jobs: a disk that never answers.
        let jobs = Arc::new(Queue::default());
        #[expect(clippy::disallowed_methods, reason = "the test sends a fixed number")]
        let (answers, mut answered) = mpsc::unbounded_channel();
        let (progress, written) = watch::channel(Progress::default());
        let mut tracking = Tracking::new(tracker, lines, jobs.clone(), Duration::MAX, Arc::default());
        tracking.open(1, answers, Arc::new(progress), Arc::default());
        for sequence_number in 1..=MESSAGES {
            tracking.steps(1, &arrival(sequence_number), Instant::now());
        }

        let estimates = std::iter::from_fn(|| answered.try_recv().ok())
            .filter(|answer| !answer.as_ref().unwrap().estimates.is_empty());
        assert_eq!(estimates.count() as u64, MESSAGES);
        assert_eq!(*written.borrow(), Progress::default(), "nothing is acknowledged before it is written");
        let receipts: Vec<_> = jobs.take().unwrap().into_iter().filter_map(|job| job.receipt).collect();
        assert_eq!(receipts.last().map(|receipt| receipt.acknowledged), Some(MESSAGES));
    }

    /// The streams of so many workers, which nobody reads from and whose lines nobody writes.
    fn stalled(streams: u64) -> (Tracking, Vec<Arc<Account>>) {
        let (tracker, lines) = Tracker::new(ModelKind::Prior, None, Recovered::default(), Instant::now());
        let mut tracking = Tracking::new(tracker, lines, Arc::default(), Duration::MAX, Arc::default());
        let accounts: Vec<Arc<Account>> = (0..streams).map(|_| Arc::default()).collect();
        for (id, account) in accounts.iter().enumerate() {
            #[expect(clippy::disallowed_methods, reason = "the test sends a fixed number")]
            let (answers, _) = mpsc::unbounded_channel();
            tracking.open(id as u64, answers, Arc::new(watch::channel(Progress::default()).0), account.clone());
        }
        (tracking, accounts)
    }

    /// A message of many steps, none of a live request.
    fn steps(worker: u64, sequence_number: u64) -> StepBatch {
        let events = vec![StepEvent::for_test("r"); 1_000];
        StepBatch { sequence_number, events, ..StepBatch::for_test(&format!("w{worker}")) }
    }

    #[test]
    fn a_log_that_is_behind_pauses_the_streams_of_many_workers_and_ends_none() {
        const WORKERS: u64 = 64;
        let (mut tracking, accounts) = stalled(WORKERS);
        let mut paused = BTreeSet::new();
        for sequence_number in 1.. {
            for worker in (0..WORKERS).filter(|worker| !paused.contains(worker)).collect::<Vec<_>>() {
                tracking.steps(worker, &steps(worker, sequence_number), Instant::now());
                if !tracking.may_read(worker) {
                    paused.insert(worker);
                }
            }
            if paused.len() as u64 == WORKERS {
                break;
            }
        }
        assert!(accounts.iter().all(|account| account.error().is_none()), "a stream was ended");
        assert!((MUCH_OF_ALL..MOST_OF_ALL).contains(&tracking.outstanding), "{}", tracking.outstanding);

        // The log goes on, and the first worker takes its acknowledgement.
        accounts[0].release(u64::MAX);
        assert!(tracking.may_read(0));
    }

    #[test]
    fn a_worker_with_little_outstanding_is_read_whatever_others_have() {
        let (mut tracking, _) = stalled(3);
        for sequence_number in 1..=90 {
            (0..2).for_each(|greedy| tracking.steps(greedy, &steps(greedy, sequence_number), Instant::now()));
        }
        assert!(tracking.outstanding > MUCH_OF_ALL, "{}", tracking.outstanding);
        tracking.steps(2, &arrival(1), Instant::now());
        assert_eq!([0, 1, 2].map(|stream| tracking.may_read(stream)), [false, false, true]);
    }
}
