//! [`FeatureState`]: the rolling state of one request.
//!
//! A step costs scans of 64 values. Windows are summed anew at each step rather than kept as running sums, so that nothing
//! drifts and a replay gives the same bits.

use eoscast_log::record::Arrival;
use eoscast_log::running::Running;
use eoscast_proto::domain::{StepEvent, limits};
use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{FEATURE_NAMES, FeatureRow, OF_STEPS};

/// Steps of the short and of the long window.
const SHORT_STEPS: usize = 16;
const LONG_STEPS: usize = 64;
/// Signals with windows: EOS probability, EOS log-probability, entropy.
const SIGNALS: usize = 3;
const PER_SIGNAL: usize = 10;
/// An exponential mean takes over this share of each new value.
const DECAY: f32 = 1.0 / SHORT_STEPS as f32;
/// A line break was at hand when the probability of one was above this.
const LINE_BREAK: f32 = 0.5;

/// A signal of which the last value and an exponential mean are kept.
#[derive(Debug, Clone, Copy, Default)]
struct Decayed {
    now: f32,
    mean: f32,
}

impl Decayed {
    fn push(&mut self, value: f32, first: bool) {
        self.now = value;
        self.mean = if first { value } else { self.mean + (value - self.mean) * DECAY };
    }
}

/// The log-probability of a class of tokens, if the worker tells it.
#[derive(Debug, Clone, Copy, Default)]
struct ClassSignal {
    known: bool,
    logprob: Decayed,
    /// Sum of the probabilities.
    expected: f64,
}

impl ClassSignal {
    fn push(&mut self, logprob: Option<f32>) {
        let first = !self.known;
        self.known |= logprob.is_some();
        if let Some(logprob) = logprob {
            self.logprob.push(logprob, first);
            self.expected += f64::from(logprob.exp());
        }
    }

    fn features(&self) -> [f32; 4] {
        let known = f32::from(u8::from(self.known));
        [known, self.logprob.now, self.logprob.mean, self.expected.ln_1p() as f32]
    }
}

/// Which of the last [`LONG_STEPS`] 3-grams of tokens stood in the window before.
#[derive(Debug, Clone)]
struct Repetition {
    last: [u32; 2],
    grams: [u32; LONG_STEPS],
    seen: u32,
    repeated: u64,
}

impl Repetition {
    fn push(&mut self, token: u32) {
        let [before, last] = self.last;
        self.last = [last, token];
        self.seen = self.seen.saturating_add(1);
        if self.seen < 3 {
            return;
        }
        // Odd multipliers spread each token over all bits (Knuth, TAOCP 3, 6.4); a chance match is one in four billion.
        let gram = (before.wrapping_mul(0x9E37_79B1) ^ last).wrapping_mul(0x85EB_CA77).wrapping_add(token);
        let held = LONG_STEPS.min(self.seen as usize - 3);
        let known = self.grams[..held].contains(&gram);
        self.repeated = self.repeated << 1 | u64::from(known);
        self.grams[(self.seen as usize - 3) % LONG_STEPS] = gram;
    }

    fn share(&self) -> f32 {
        self.repeated.count_ones() as f32 / LONG_STEPS as f32
    }
}

/// Sketches of hidden states, in half precision where they are only kept.
#[derive(Debug, Clone)]
struct Sketches {
    known: bool,
    prompt_known: bool,
    now: [f16; limits::SKETCH],
    prompt: [f16; limits::SKETCH],
    mean: [f32; limits::SKETCH],
}

impl Sketches {
    fn unknown() -> Self {
        Self {
            known: false,
            prompt_known: false,
            now: [f16::ZERO; limits::SKETCH],
            prompt: [f16::ZERO; limits::SKETCH],
            mean: [0.0; limits::SKETCH],
        }
    }

    /// An empty sketch is not told: the last one counts on.
    fn push(&mut self, sketch: &[f32], step: u32) {
        let first = !self.known;
        if !sketch.is_empty() {
            self.known = true;
            let mut now = [0.0; limits::SKETCH];
            for (now, value) in now.iter_mut().zip(sketch) {
                *now = value.clamp(f16::MIN.to_f32_const(), f16::MAX.to_f32_const());
            }
            self.now.convert_from_f32_slice(&now);
        }
        if step == 1 {
            (self.prompt, self.prompt_known) = (self.now, self.known);
        }
        for (mean, now) in self.mean.iter_mut().zip(single(&self.now)) {
            *mean = if first { now } else { *mean + (now - *mean) * DECAY };
        }
    }

    /// One per sketch name.
    fn all(&self) -> [[f32; limits::SKETCH]; 3] {
        [single(&self.now), self.mean, single(&self.prompt)]
    }
}

/// All numbers at once: one by one, each would ask anew what the processor can do.
fn single(halves: &[f16; limits::SKETCH]) -> [f32; limits::SKETCH] {
    let mut singles = [0.0; limits::SKETCH];
    halves.convert_to_f32_slice(&mut singles);
    singles
}

/// The rolling state of one request.
#[derive(Debug, Clone)]
pub struct FeatureState {
    arrival: Arrival,
    step: u32,
    observed: u32,
    running: [Running; SIGNALS],
    step_of_max: u32,
    /// The last [`LONG_STEPS`] values of each signal; the value of step n stands at n % LONG_STEPS.
    recent: [[f32; LONG_STEPS]; SIGNALS],
    hazard: f32,
    hazard_sum: f64,
    rank: Decayed,
    token: Decayed,
    token_running: Running,
    top: Decayed,
    sentence_end: ClassSignal,
    newline: ClassSignal,
    /// The last step with a line break at hand, or the first step.
    step_of_newline: u32,
    repetition: Repetition,
    sketches: Sketches,
}

impl FeatureState {
    /// Before the first step seen; `output_length` tokens may have been generated unseen.
    pub fn new(arrival: Arrival, output_length: u32) -> Self {
        Self {
            arrival,
            step: output_length,
            observed: 0,
            running: [Running::default(); SIGNALS],
            step_of_max: 0,
            recent: [[0.0; LONG_STEPS]; SIGNALS],
            hazard: 0.0,
            hazard_sum: 0.0,
            rank: Decayed::default(),
            token: Decayed::default(),
            token_running: Running::default(),
            top: Decayed::default(),
            sentence_end: ClassSignal::default(),
            newline: ClassSignal::default(),
            step_of_newline: 0,
            repetition: Repetition { last: [0; 2], grams: [0; LONG_STEPS], seen: 0, repeated: 0 },
            sketches: Sketches::unknown(),
        }
    }

    /// Steps folded in so far.
    pub fn observed(&self) -> u32 {
        self.observed
    }

    /// Tokens generated so far.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Folds in a step and gives the features after it.
    pub fn observe(&mut self, event: &StepEvent) -> FeatureRow {
        let StepEvent { step, ref signals, .. } = *event;
        let values = [signals.eos_probability(), signals.eos_logprob, signals.entropy];
        let first = self.observed == 0;
        if first || values[0] >= self.running[0].max() {
            self.step_of_max = step;
        }
        let at = self.observed as usize % LONG_STEPS;
        self.observed += 1;
        self.step = step;
        for (i, value) in values.into_iter().enumerate() {
            self.running[i].push(value, self.observed);
            self.recent[i][at] = value;
        }
        self.hazard = signals.eos_logprob_sampled.exp();
        self.hazard_sum += f64::from(self.hazard);
        self.rank.push((signals.eos_rank.max(1) as f32).ln(), first);
        self.token.push(signals.token_logprob, first);
        self.token_running.push(signals.token_logprob, self.observed);
        self.top.push(signals.top_logprob, first);
        self.sentence_end.push(signals.sentence_end_logprob);
        self.newline.push(signals.newline_logprob);
        if first || signals.newline_logprob.is_some_and(|logprob| logprob.exp() > LINE_BREAK) {
            self.step_of_newline = step;
        }
        self.repetition.push(event.token_id);
        self.sketches.push(&event.sketch, step);
        self.row()
    }

    /// The features once the prompt is read, before the first token: the sketch of the prompt is that of step 1, which it alone
    /// decides.
    pub fn prefilled(&self, sketch: &[f32]) -> FeatureRow {
        let mut read = Sketches::unknown();
        read.push(sketch, 1);
        let sketches = Sketches { prompt: read.prompt, prompt_known: read.prompt_known, ..Sketches::unknown() };
        Self { sketches, ..self.clone() }.row()
    }

    /// The features now.
    pub fn row(&self) -> FeatureRow {
        let mut values = [0.0; FEATURE_NAMES.len()];
        if self.observed > 0 {
            for signal in 0..SIGNALS {
                self.summarise(signal, &mut values[signal * PER_SIGNAL..][..PER_SIGNAL]);
            }
            values[30] = self.slope();
            values[31] = self.step.saturating_sub(self.step_of_max) as f32;
        }
        let Arrival { prompt_length, max_tokens, temperature, prompt, .. } = self.arrival;
        let counts = [self.step, prompt_length, max_tokens].map(|count| count as f32);
        values[32..35].copy_from_slice(&counts);
        values[35] = temperature;
        values[36..39].copy_from_slice(&counts.map(f32::ln_1p));
        values[39..48].copy_from_slice(&[
            self.hazard,
            self.hazard_sum as f32,
            self.rank.now,
            self.rank.mean,
            self.token.now,
            self.token.mean,
            self.token_running.summary(self.observed)[0],
            self.top.now,
            self.top.mean,
        ]);
        values[48..52].copy_from_slice(&self.sentence_end.features());
        values[52..56].copy_from_slice(&self.newline.features());
        values[56..OF_STEPS].copy_from_slice(&[
            if self.observed == 0 { 0.0 } else { self.step.saturating_sub(self.step_of_newline) as f32 },
            self.repetition.share(),
            f32::from(u8::from(self.sketches.known)),
            f32::from(u8::from(self.sketches.prompt_known)),
            f32::from(u8::from(prompt.is_some())),
        ]);
        if let Some(prompt) = prompt {
            values[OF_STEPS..].copy_from_slice(&prompt.values);
        }
        FeatureRow {
            step: self.step,
            observed: self.observed,
            arrival: self.arrival,
            values,
            sketches: self.sketches.all(),
        }
    }

    fn summarise(&self, signal: usize, out: &mut [f32]) {
        out[0] = self.back(signal, 0);
        out[1..4].copy_from_slice(&self.running[signal].summary(self.observed));
        let seen = self.observed as usize;
        let mut newest = [0.0; SHORT_STEPS];
        for ago in 0..seen.min(SHORT_STEPS) {
            newest[(seen - 1 - ago) % SHORT_STEPS] = self.back(signal, ago);
        }
        out[4..7].copy_from_slice(&summary(&newest[..seen.min(SHORT_STEPS)]));
        out[7..10].copy_from_slice(&summary(&self.recent[signal][..seen.min(LONG_STEPS)]));
    }

    /// Least-squares slope of the log EOS probability over the short window, per step; 0 with fewer than two steps.
    fn slope(&self) -> f32 {
        let count = SHORT_STEPS.min(self.observed as usize);
        if count < 2 {
            return 0.0;
        }
        let centre = (count - 1) as f64 / 2.0;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for ago in 0..count {
            let x = centre - ago as f64;
            covariance += x * f64::from(self.back(1, ago));
            variance += x * x;
        }
        (covariance / variance) as f32
    }

    /// The value `ago` steps before the last one, `ago` below both [`LONG_STEPS`] and `observed`.
    fn back(&self, signal: usize, ago: usize) -> f32 {
        self.recent[signal][(self.observed as usize - 1 - ago) % LONG_STEPS]
    }
}

/// Mean, maximum and standard deviation of the values of a window, in whatever order they stand.
fn summary(values: &[f32]) -> [f32; 3] {
    let count = values.len() as f64;
    let mean = fold(values, 0.0, |sum, value| sum + f64::from(value), |a, b| a + b) / count;
    let max = fold(values, f32::NEG_INFINITY, |a, b| if b > a { b } else { a }, f32::max);
    let squares = fold(values, 0.0, |sum, value| sum + (f64::from(value) - mean).powi(2), |a, b| a + b);
    [mean as f32, max, (squares / count).sqrt() as f32]
}

/// Values are taken in so many lanes, so that it is vector code.
const LANES: usize = 8;

/// Folds each lane from `start` on, then joins the lanes.
fn fold<T: Copy>(values: &[f32], start: T, take: impl Fn(T, f32) -> T, join: impl Fn(T, T) -> T) -> T {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [start; LANES];
    for chunk in chunks.iter().map(<[f32; LANES]>::as_slice).chain([rest]) {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = take(*lane, *value);
        }
    }
    lanes.into_iter().fold(start, join)
}

#[cfg(test)]
mod tests;
