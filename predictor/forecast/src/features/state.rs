//! [`FeatureState`]: the rolling state of one request.
//!
//! A step costs scans of 64 values. Windows are summed anew at each step rather than kept as running sums, so that nothing
//! drifts and a replay gives the same bits.

use eoscast_log::record::Arrival;
use eoscast_log::running::Running;
use eoscast_proto::domain::StepEvent;

use super::signals::{ClassSignal, Decayed, LONG_STEPS, Repetition, SHORT_STEPS, Sketches, known, known_summary};
use super::{FEATURE_NAMES, FeatureRow, OF_STEPS, Observed};

/// Signals with windows: EOS probability, EOS log-probability, entropy.
const SIGNALS: usize = 3;
const PER_SIGNAL: usize = 10;
/// A line break was at hand when the probability of one was above this.
const LINE_BREAK: f32 = 0.5;

/// The features as they are set.
struct Features {
    values: [f32; FEATURE_NAMES.len()],
    unknown: u64,
}

impl Features {
    fn set(&mut self, place: usize, value: Option<f32>) {
        match value {
            Some(value) => self.values[place] = value,
            None => self.unknown |= 1 << place,
        }
    }

    /// Three features in a row.
    fn set_all(&mut self, first: usize, values: Option<[f32; 3]>) {
        (0..3).for_each(|i| self.set(first + i, values.map(|values| values[i])));
    }
}

/// The rolling state of one request.
#[derive(Debug, Clone)]
pub struct FeatureState {
    arrival: Arrival,
    step: u32,
    observed: u32,
    running: [Running; SIGNALS],
    step_of_max: u32,
    /// The last [`LONG_STEPS`] values of each signal; the value of step n stands at n % LONG_STEPS. NaN
    /// where it is not known, as are the next two.
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
            repetition: Repetition::new(),
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

    /// Folds in a step of a worker and gives the features after it.
    pub fn observe(&mut self, event: &StepEvent) -> FeatureRow {
        self.take(&Observed::from(event))
    }

    /// Folds in a step, as far as it is known, and gives the features after it.
    pub fn take(&mut self, event: &Observed<'_>) -> FeatureRow {
        let Observed { step, token_id, ref signals, ref sketch } = *event;
        let values = [signals.eos_logprob.map(f32::exp), signals.eos_logprob, signals.entropy];
        let first = self.observed == 0;
        if values[0].is_some_and(|value| self.running[0].is_empty() || value >= self.running[0].max()) {
            self.step_of_max = step;
        }
        let at = self.observed as usize % LONG_STEPS;
        self.observed += 1;
        self.step = step;
        for (i, value) in values.into_iter().enumerate() {
            self.recent[i][at] = value.unwrap_or(f32::NAN);
            value.into_iter().for_each(|value| self.running[i].push(value));
        }
        self.hazard = signals.eos_logprob_sampled.map_or(f32::NAN, f32::exp);
        // Once it was not known, its sum is not.
        self.hazard_sum += f64::from(self.hazard);
        self.rank.push(signals.eos_rank.map(|rank| (rank.max(1) as f32).ln()));
        self.token.push(signals.token_logprob);
        signals.token_logprob.into_iter().for_each(|logprob| self.token_running.push(logprob));
        self.top.push(signals.top_logprob);
        self.sentence_end.push(signals.sentence_end_logprob);
        self.newline.push(signals.newline_logprob);
        if first || signals.newline_logprob.is_some_and(|logprob| logprob.exp() > LINE_BREAK) {
            self.step_of_newline = step;
        }
        if let Some(token) = token_id {
            self.repetition.push(token);
        }
        self.sketches.push(sketch, step);
        self.row()
    }

    /// The features once the prompt is read, before the first token: the sketch of the prompt is that of step 1, which it alone
    /// decides.
    pub fn prefilled(&self, sketch: &[f32]) -> FeatureRow {
        let sketches = Sketches::of_prompt(sketch);
        Self { sketches, ..self.clone() }.row()
    }

    /// The features now.
    pub fn row(&self) -> FeatureRow {
        let mut row = Features { values: [0.0; FEATURE_NAMES.len()], unknown: 0 };
        let has_steps = self.observed > 0;
        if has_steps {
            for signal in 0..SIGNALS {
                self.summarise(signal, signal * PER_SIGNAL, &mut row);
            }
            row.set(30, self.slope());
            row.set(31, (!self.running[0].is_empty()).then(|| self.step.saturating_sub(self.step_of_max) as f32));
        }
        let Arrival { prompt_length, max_tokens, temperature, prompt, .. } = self.arrival;
        for (i, count) in [Some(self.step), prompt_length, max_tokens].into_iter().enumerate() {
            let count = count.map(|count| count as f32);
            row.set(32 + i, count);
            row.set(36 + i, count.map(f32::ln_1p));
        }
        row.set(35, temperature);
        if has_steps {
            row.set(39, known(self.hazard));
            row.set(40, known(self.hazard_sum as f32));
            for (i, signal) in [(41, &self.rank), (43, &self.token), (46, &self.top)] {
                row.set(i, signal.now());
                row.set(i + 1, signal.mean());
            }
            row.set(45, (!self.token_running.is_empty()).then(|| self.token_running.summary()[0]));
            row.set(57, (self.repetition.seen > 0).then(|| self.repetition.share()));
        }
        let Features { mut values, unknown } = row;
        values[48..52].copy_from_slice(&self.sentence_end.features());
        values[52..56].copy_from_slice(&self.newline.features());
        values[56] = if has_steps { self.step.saturating_sub(self.step_of_newline) as f32 } else { 0.0 };
        values[58..OF_STEPS].copy_from_slice(&[
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
            unknown,
            sketches: self.sketches.all(),
        }
    }

    /// Sets the features of one signal, which begin at `first`.
    fn summarise(&self, signal: usize, first: usize, row: &mut Features) {
        let running = &self.running[signal];
        row.set(first, known(self.back(signal, 0)));
        row.set_all(first + 1, (!running.is_empty()).then(|| running.summary()));
        let seen = self.observed as usize;
        // In the order of the ring, so that the sums have the bits that they have in older logs.
        let mut newest = [0.0; SHORT_STEPS];
        for (ago, value) in self.short_window(signal) {
            newest[(seen - 1 - ago) % SHORT_STEPS] = value;
        }
        row.set_all(first + 4, known_summary(&newest[..seen.min(SHORT_STEPS)]));
        row.set_all(first + 7, known_summary(&self.recent[signal][..seen.min(LONG_STEPS)]));
    }

    /// The values of the short window, the latest first, each with how many steps ago it was; NaN where it is not known.
    fn short_window(&self, signal: usize) -> impl Iterator<Item = (usize, f32)> {
        (0..SHORT_STEPS.min(self.observed as usize)).map(move |ago| (ago, self.back(signal, ago)))
    }

    /// Least-squares slope of the log EOS probability over the short window, per step; 0 with fewer than two steps.
    fn slope(&self) -> Option<f32> {
        let count = SHORT_STEPS.min(self.observed as usize);
        if count < 2 {
            return known(self.back(1, 0)).map(|_| 0.0);
        }
        let points = || self.short_window(1).filter(|(_, value)| !value.is_nan());
        let with_value = points().count();
        if with_value < 2 {
            return None;
        }
        let centre = if with_value == count {
            (count - 1) as f64 / 2.0
        } else {
            points().map(|(ago, _)| ago as f64).sum::<f64>() / with_value as f64
        };
        let (mut covariance, mut variance) = (0.0, 0.0);
        for (ago, value) in points() {
            let x = centre - ago as f64;
            covariance += x * f64::from(value);
            variance += x * x;
        }
        Some((covariance / variance) as f32)
    }

    /// The value `ago` steps before the last one, `ago` below both [`LONG_STEPS`] and `observed`.
    fn back(&self, signal: usize, ago: usize) -> f32 {
        self.recent[signal][(self.observed as usize - 1 - ago) % LONG_STEPS]
    }
}

#[cfg(test)]
mod tests;
