//! What is kept of single signals over the steps of a request, each as far as it is known.

use half::f16;
use half::slice::HalfFloatSliceExt;

use eoscast_proto::domain::limits;

/// Steps of the short and of the long window.
pub(super) const SHORT_STEPS: usize = 16;
pub(super) const LONG_STEPS: usize = 64;
/// An exponential mean takes over this share of each new value.
const DECAY: f32 = 1.0 / SHORT_STEPS as f32;

/// The value, unless it is NaN: so a number that is not known takes no more room than one that is.
pub(super) fn known(value: f32) -> Option<f32> {
    (!value.is_nan()).then_some(value)
}

/// A signal of which the last value and an exponential mean are kept; NaN where they are not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decayed {
    now: f32,
    mean: f32,
}

impl Default for Decayed {
    fn default() -> Self {
        Self { now: f32::NAN, mean: f32::NAN }
    }
}

impl Decayed {
    pub(super) fn push(&mut self, value: Option<f32>) {
        self.now = value.unwrap_or(f32::NAN);
        if let Some(value) = value {
            self.mean = if self.mean.is_nan() { value } else { self.mean + (value - self.mean) * DECAY };
        }
    }

    pub(super) fn now(&self) -> Option<f32> {
        known(self.now)
    }

    pub(super) fn mean(&self) -> Option<f32> {
        known(self.mean)
    }
}

/// The log-probability of a class of tokens, if the worker tells it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClassSignal {
    logprob: Decayed,
    /// Sum of the probabilities.
    expected: f64,
}

impl ClassSignal {
    /// Where it is not told, the last one counts on.
    pub(super) fn push(&mut self, logprob: Option<f32>) {
        if let Some(logprob) = logprob {
            self.logprob.push(Some(logprob));
            self.expected += f64::from(logprob.exp());
        }
    }

    pub(super) fn features(&self) -> [f32; 4] {
        let known = f32::from(u8::from(self.logprob.mean().is_some()));
        let [now, mean] = [self.logprob.now(), self.logprob.mean()].map(|value| value.unwrap_or(0.0));
        [known, now, mean, self.expected.ln_1p() as f32]
    }
}

/// Which of the last [`LONG_STEPS`] 3-grams of tokens stood in the window before.
#[derive(Debug, Clone)]
pub(super) struct Repetition {
    last: [u32; 2],
    grams: [u32; LONG_STEPS],
    pub(super) seen: u32,
    repeated: u64,
}

impl Repetition {
    pub(super) fn new() -> Self {
        Self { last: [0; 2], grams: [0; LONG_STEPS], seen: 0, repeated: 0 }
    }

    pub(super) fn push(&mut self, token: u32) {
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

    pub(super) fn share(&self) -> f32 {
        self.repeated.count_ones() as f32 / LONG_STEPS as f32
    }
}

/// Sketches of hidden states, in half precision where they are only kept.
#[derive(Debug, Clone)]
pub(super) struct Sketches {
    pub(super) known: bool,
    pub(super) prompt_known: bool,
    now: [f16; limits::SKETCH],
    prompt: [f16; limits::SKETCH],
    mean: [f32; limits::SKETCH],
}

impl Sketches {
    pub(super) fn unknown() -> Self {
        Self {
            known: false,
            prompt_known: false,
            now: [f16::ZERO; limits::SKETCH],
            prompt: [f16::ZERO; limits::SKETCH],
            mean: [0.0; limits::SKETCH],
        }
    }

    /// Of a request whose prompt was read and that has no token yet.
    pub(super) fn of_prompt(sketch: &[f32]) -> Self {
        let mut read = Self::unknown();
        read.push(sketch, 1);
        Self { prompt: read.prompt, prompt_known: read.prompt_known, ..Self::unknown() }
    }

    /// An empty sketch is not told: the last one counts on.
    pub(super) fn push(&mut self, sketch: &[f32], step: u32) {
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
    pub(super) fn all(&self) -> [[f32; limits::SKETCH]; 3] {
        [single(&self.now), self.mean, single(&self.prompt)]
    }
}

/// All numbers at once: one by one, each would ask anew what the processor can do.
fn single(halves: &[f16; limits::SKETCH]) -> [f32; limits::SKETCH] {
    let mut singles = [0.0; limits::SKETCH];
    halves.convert_to_f32_slice(&mut singles);
    singles
}

/// Mean, maximum and standard deviation of those values of a window that are known; `None` if none is.
pub(super) fn known_summary(values: &[f32]) -> Option<[f32; 3]> {
    let whole = summary(values);
    if !whole[0].is_nan() {
        return Some(whole);
    }
    let (mut some, mut count) = ([0.0; LONG_STEPS], 0);
    for (place, value) in some.iter_mut().zip(values.iter().copied().filter_map(known)) {
        *place = value;
        count += 1;
    }
    (count > 0).then(|| summary(&some[..count]))
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
