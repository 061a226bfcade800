//! Requests whose lengths follow a known law, for tests: a topic sets how long replies are, and shows in the prompt, in the
//! sketch and faintly in the EOS probability, which rises towards the end.

use std::path::Path;
use std::time::Duration;

use eoscast_log::location::Location;
use eoscast_log::record::Lines;
use eoscast_log::request::LoggedRequest;
use eoscast_log::segment::Rotation;
use eoscast_log::{EventLog, Fsync, LogConfig};
use eoscast_proto::domain::{FinishReason, RequestStarted, StepEvent, StepSignals, WorkerRun};

use super::dataset::{Dataset, Selection};
use super::sample::Sample;

/// Replies are cut here.
pub const MAX_TOKENS: u32 = 200;
/// Name of the generating model.
pub const MODEL: &str = "synthetic";

const TOPICS: [(f64, &str); 4] = [
    (6.0, "Who wrote it? Answer in one word."),
    (25.0, "Summarise the text in two sentences:"),
    (70.0, "List 8 ideas for a party."),
    (160.0, "Write a detailed essay of 500 words."),
];

fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// The lines of one request. In shifted traffic, topics with long replies have short ones and the other way round.
fn request(number: usize, shifted: bool, random: &mut fastrand::Rng) -> Lines {
    let topic = random.usize(..TOPICS.len());
    let (_, prompt) = TOPICS[topic];
    let (typical, _) = TOPICS[if shifted { TOPICS.len() - 1 - topic } else { topic }];
    let begun = 1e3 * number as f64;
    let natural = (typical * (0.35 * normal(random)).exp()).round().max(1.0) as u32;
    let length = natural.min(MAX_TOKENS);
    let id = |text: String| text.try_into().unwrap();
    let started = RequestStarted {
        request_id: id(format!("r{number}")),
        model: MODEL.to_owned(),
        eos_token_ids: vec![2],
        prompt_length: 10 + random.u32(..30),
        max_tokens: MAX_TOKENS,
        temperature: 0.8,
        task: None,
        output_length: 0,
        ignore_eos: false,
        target_tokens: None,
        prompt: Some(format!("{prompt} {}", "so ".repeat(random.usize(..9)))),
    };
    let run = WorkerRun { worker_id: "w".to_owned().try_into().unwrap(), epoch: 1 };
    let mut logged = LoggedRequest::new(started, run, begun);
    let mut lines = Lines::default();
    lines.starts.push(logged.start_line(1, None));
    let mut last = None;
    for step in 1..=length {
        let left = f64::from(natural - step);
        let eos_logprob = (-0.5 - 2.0 * (1.0 + left).ln() + normal(random)).min(-0.01) as f32;
        let finish_reason =
            (step == length).then_some(if natural > length { FinishReason::Length } else { FinishReason::Stop });
        let mut sketch = [0.0; 6];
        sketch[topic] = 1.0;
        sketch[5] = ((1.0 + left).ln() + 0.8 * normal(random)) as f32;
        let event = StepEvent {
            request_id: id(format!("r{number}")),
            step,
            token_id: random.u32(..50),
            signals: StepSignals {
                eos_logprob,
                eos_logprob_sampled: eos_logprob,
                token_logprob: -random.f32(),
                entropy: random.f32() * 3.0,
                top_logprob: -0.1,
                eos_rank: 1 + random.u32(..40),
                sentence_end_logprob: Some(-random.f32() * 9.0),
                newline_logprob: None,
            },
            finish_reason,
            eos_bias: 0.0,
            sketch: sketch.into(),
        };
        logged.observe(&event, begun + f64::from(step));
        lines.steps.push(logged.step_line(&event, 1, None));
        last = finish_reason;
    }
    let mut outcome = logged.request_line(last.unwrap_or(FinishReason::Abort), length, begun, None);
    outcome.outcome_number = number as u64 + 1;
    lines.requests.push(outcome);
    lines
}

/// Writes a log of `count` requests.
pub fn write_log(folder: &Path, count: usize, seed: u64) {
    write_shifting_log(folder, count, 0, seed);
}

/// Writes a log of `before` requests, and of `after` more once traffic has shifted.
pub fn write_shifting_log(folder: &Path, before: usize, after: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut log = EventLog::open(&LogConfig {
        location: Location::Folder(folder.to_owned()),
        rotation: Rotation { bytes: 1 << 30, age: Duration::MAX },
        fsync: Fsync::Never,
        retention_bytes: 0,
    })
    .unwrap();
    let lines: Vec<Lines> = (0..before + after).map(|number| request(number, number >= before, &mut random)).collect();
    log.append(&lines).unwrap();
}

/// A dataset of `count` requests.
pub fn dataset(count: usize, seed: u64) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), count, seed);
    Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap()
}

/// The requests of such a dataset.
pub fn samples(count: usize, seed: u64) -> Vec<Sample> {
    dataset(count, seed).samples
}
