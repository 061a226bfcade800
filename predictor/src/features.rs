//! What models see of a request: ONE definition, folded event by event, online and offline alike.
//!
//! Memory is constant per request and a step costs one scan of 64 values. Windows are summed anew at each step rather than
//! kept as running sums, so that nothing drifts and a replay gives the same bits.

use eoscast_log::record::Arrival;
use eoscast_log::running::Running;
use eoscast_proto::domain::StepEvent;

/// Changes whenever the meaning, number or order of the features does.
pub const FEATURE_VERSION: u32 = 1;

/// Steps of the short and of the long window.
const SHORT: usize = 16;
const LONG: usize = 64;

/// The features in the order of [`FeatureRow::values`]. Probabilities are 0 to 1, logarithms natural, entropy in nats.
/// `_16` and `_64` are over the last steps, `_all` over the whole reply; standard deviations are those of the population.
pub const FEATURE_NAMES: [&str; 36] = [
    "eos_prob",
    "eos_prob_mean_all",
    "eos_prob_max_all",
    "eos_prob_std_all",
    "eos_prob_mean_16",
    "eos_prob_max_16",
    "eos_prob_std_16",
    "eos_prob_mean_64",
    "eos_prob_max_64",
    "eos_prob_std_64",
    "eos_logprob",
    "eos_logprob_mean_all",
    "eos_logprob_max_all",
    "eos_logprob_std_all",
    "eos_logprob_mean_16",
    "eos_logprob_max_16",
    "eos_logprob_std_16",
    "eos_logprob_mean_64",
    "eos_logprob_max_64",
    "eos_logprob_std_64",
    "entropy",
    "entropy_mean_all",
    "entropy_max_all",
    "entropy_std_all",
    "entropy_mean_16",
    "entropy_max_16",
    "entropy_std_16",
    "entropy_mean_64",
    "entropy_max_64",
    "entropy_std_64",
    "eos_logprob_slope_16",
    "steps_since_eos_prob_max",
    "step",
    "prompt_length",
    "max_tokens",
    "temperature",
];

const SIGNALS: usize = 3;
const PER_SIGNAL: usize = 10;

/// The features of one request after one step. Before the first step those of the signals are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// Tokens generated.
    pub step: u32,
    /// Steps that the signals were taken from.
    pub observed: u32,
    /// What was known on arrival.
    pub arrival: Arrival,
    /// One per [`FEATURE_NAMES`].
    pub values: [f32; FEATURE_NAMES.len()],
}

impl FeatureRow {
    /// EOS probability at the last step.
    pub fn eos_prob(&self) -> f32 {
        self.values[0]
    }

    /// Mean EOS probability over the reply.
    pub fn eos_prob_mean(&self) -> f32 {
        self.values[1]
    }

    /// Mean, maximum and standard deviation of the EOS probability over the reply.
    pub fn eos_prob_summary(&self) -> [f32; 3] {
        [self.values[1], self.values[2], self.values[3]]
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
    /// The last [`LONG`] values of each signal; the value of step n stands at n % LONG.
    recent: [[f32; LONG]; SIGNALS],
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
            recent: [[0.0; LONG]; SIGNALS],
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
        if self.observed == 0 || values[0] >= self.running[0].max() {
            self.step_of_max = step;
        }
        let at = self.observed as usize % LONG;
        self.observed += 1;
        self.step = step;
        for (i, value) in values.into_iter().enumerate() {
            self.running[i].push(value, self.observed);
            self.recent[i][at] = value;
        }
        self.row()
    }

    /// The features now.
    pub fn row(&self) -> FeatureRow {
        let mut values = [0.0; FEATURE_NAMES.len()];
        if self.observed > 0 {
            for signal in 0..SIGNALS {
                self.summarise(signal, &mut values[signal * PER_SIGNAL..][..PER_SIGNAL]);
            }
            values[SIGNALS * PER_SIGNAL] = self.slope();
            values[SIGNALS * PER_SIGNAL + 1] = self.step.saturating_sub(self.step_of_max) as f32;
        }
        let Arrival { prompt_length, max_tokens, temperature, .. } = self.arrival;
        values[SIGNALS * PER_SIGNAL + 2..].copy_from_slice(&[
            self.step as f32,
            prompt_length as f32,
            max_tokens as f32,
            temperature,
        ]);
        FeatureRow { step: self.step, observed: self.observed, arrival: self.arrival, values }
    }

    fn summarise(&self, signal: usize, out: &mut [f32]) {
        out[0] = self.back(signal, 0);
        out[1..4].copy_from_slice(&self.running[signal].summary(self.observed));
        out[4..7].copy_from_slice(&self.window(signal, SHORT));
        out[7..10].copy_from_slice(&self.window(signal, LONG));
    }

    /// Mean, maximum and standard deviation of the last `width` values.
    fn window(&self, signal: usize, width: usize) -> [f32; 3] {
        let count = width.min(self.observed as usize);
        let values = (0..count).map(|ago| self.back(signal, ago));
        let mean = values.clone().map(f64::from).sum::<f64>() / count as f64;
        let max = values.clone().fold(f32::NEG_INFINITY, f32::max);
        let squares: f64 = values.map(|v| (f64::from(v) - mean).powi(2)).sum();
        [mean as f32, max, (squares / count as f64).sqrt() as f32]
    }

    /// Least-squares slope of the log EOS probability over the short window, per step; 0 with fewer than two steps.
    fn slope(&self) -> f32 {
        let count = SHORT.min(self.observed as usize);
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

    /// The value `ago` steps before the last one, `ago` below both [`LONG`] and `observed`.
    fn back(&self, signal: usize, ago: usize) -> f32 {
        self.recent[signal][(self.observed as usize - 1 - ago) % LONG]
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::StepSignals;
    use proptest::prelude::*;

    use super::*;

    const ARRIVAL: Arrival =
        Arrival { prompt_length: 12, max_tokens: 300, temperature: 0.7, ignore_eos: false, prompt: None };

    fn event(step: u32, eos_logprob: f32, entropy: f32) -> StepEvent {
        StepEvent {
            request_id: "r".to_owned().try_into().unwrap(),
            step,
            token_id: 7,
            signals: StepSignals {
                eos_logprob,
                eos_logprob_sampled: eos_logprob,
                token_logprob: -1.0,
                entropy,
                top_logprob: -0.5,
                eos_rank: 9,
                sentence_end_logprob: None,
                newline_logprob: None,
            },
            finish_reason: None,
            eos_bias: 0.0,
            sketch: [].into(),
        }
    }

    fn feature(row: &FeatureRow, name: &str) -> f64 {
        f64::from(row.values[FEATURE_NAMES.iter().position(|n| *n == name).expect("a feature of this name")])
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + b.abs())
    }

    fn naive(values: &[f32]) -> [f64; 3] {
        let n = values.len() as f64;
        let mean = values.iter().copied().map(f64::from).sum::<f64>() / n;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        [mean, values.iter().copied().fold(f32::MIN, f32::max).into(), variance.sqrt()]
    }

    #[test]
    fn the_state_of_a_request_stays_small() {
        assert!(size_of::<FeatureState>() <= 1024, "{} bytes", size_of::<FeatureState>());
    }

    #[test]
    fn before_the_first_step_only_the_arrival_is_known() {
        let row = FeatureState::new(ARRIVAL, 0).row();
        assert_eq!(row.values[..32], [0.0; 32]);
        assert_eq!(row.values[32..], [0.0, 12.0, 300.0, 0.7]);
    }

    #[test]
    fn extreme_signals_give_finite_features() {
        let mut state = FeatureState::new(ARRIVAL, 0);
        for step in 1..200 {
            let row = state.observe(&event(step, if step % 2 == 0 { f32::MIN } else { -0.0 }, f32::MAX));
            assert!(row.values.iter().all(|v| v.is_finite()), "step {step}: {:?}", row.values);
        }
    }

    #[test]
    fn a_gap_in_the_steps_does_not_lose_the_age_of_the_maximum() {
        let mut state = FeatureState::new(ARRIVAL, 0);
        state.observe(&event(1, -0.1, 1.0));
        let row = state.observe(&event(9, -3.0, 1.0));
        assert_eq!(feature(&row, "steps_since_eos_prob_max"), 8.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rolling_features_equal_a_recomputation(events in proptest::collection::vec((-30.0f32..0.0, 0.0f32..10.0), 1..200)) {
            let mut state = FeatureState::new(ARRIVAL, 0);
            let (mut logprobs, mut entropies) = (vec![], vec![]);
            for (i, (eos_logprob, entropy)) in events.into_iter().enumerate() {
                let row = state.observe(&event(i as u32 + 1, eos_logprob, entropy));
                logprobs.push(eos_logprob);
                entropies.push(entropy);
                let probs: Vec<f32> = logprobs.iter().map(|l| l.exp()).collect();
                for (signal, values) in [("eos_prob", &probs), ("eos_logprob", &logprobs), ("entropy", &entropies)] {
                    prop_assert_eq!(feature(&row, signal), f64::from(values[i]));
                    for (window, width) in [("all", usize::MAX), ("16", 16), ("64", 64)] {
                        let expected = naive(&values[values.len().saturating_sub(width)..]);
                        for (statistic, expected) in ["mean", "max", "std"].iter().zip(expected) {
                            let name = format!("{signal}_{statistic}_{window}");
                            prop_assert!(close(feature(&row, &name), expected), "{} is not {}", name, expected);
                        }
                    }
                }
                let latest_max = probs.iter().rposition(|p| *p == naive(&probs)[1] as f32).unwrap();
                prop_assert_eq!(feature(&row, "steps_since_eos_prob_max"), (i - latest_max) as f64);
                let last = &logprobs[logprobs.len().saturating_sub(16)..];
                let n = last.len() as f64;
                let (xm, ym) = ((n - 1.0) / 2.0, naive(last)[0]);
                let sxy: f64 = last.iter().enumerate().map(|(x, y)| (x as f64 - xm) * (f64::from(*y) - ym)).sum();
                let sxx: f64 = (0..last.len()).map(|x| (x as f64 - xm).powi(2)).sum();
                let slope = if sxx > 0.0 { sxy / sxx } else { 0.0 };
                prop_assert!(close(feature(&row, "eos_logprob_slope_16"), slope));
            }
        }
    }
}
