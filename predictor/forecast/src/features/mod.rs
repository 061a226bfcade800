//! What models see of a request: ONE definition, folded event by event, online and offline alike.
//!
//! - [`FEATURE_NAMES`]: the named numbers of a row; [`SKETCH_NAMES`]: the sketches beside them
//! - [`FeatureState`]: the rolling state of one request; its memory is constant; [`Observed`]: the steps that it takes;
//!   `signals`: what it keeps of single signals

mod observed;
mod signals;
mod state;

pub use observed::Observed;
pub use state::FeatureState;

use std::ops::Range;

use eoscast_log::prompt::PROMPT_FEATURE_NAMES;
use eoscast_log::record::Arrival;
use eoscast_proto::domain::limits;

/// Changes whenever the meaning, number or order of the features does.
pub const FEATURE_VERSION: u32 = 3;

/// Features of steps and of the arrival, before those of the prompt's text.
const OF_STEPS: usize = 61;
const EOS_LOGPROB: usize = 10;

/// The features in the order of [`FeatureRow::values`]. Probabilities are 0 to 1, logarithms natural, entropy in nats.
///
/// `_16` and `_64` are over the last steps, `_all` over the whole reply, `_decayed` an exponential mean over about 16 steps;
/// standard deviations are those of the population. `expected_` are sums of probabilities: how many such tokens a reply of
/// these steps has on average, as ln(1 + sum). `_known` are 1 where a worker tells the signal, which is 0 where it does not. Means and
/// the like are over the steps at which a signal is known.
/// The last 40 are [`PROMPT_FEATURE_NAMES`].
pub const FEATURE_NAMES: [&str; OF_STEPS + PROMPT_FEATURE_NAMES.len()] = all_names();

const STEP_NAMES: [&str; OF_STEPS] = [
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
    "step_ln",
    "prompt_length_ln",
    "max_tokens_ln",
    "hazard",
    "hazard_sum",
    "eos_rank_ln",
    "eos_rank_ln_decayed",
    "token_logprob",
    "token_logprob_decayed",
    "token_logprob_mean_all",
    "top_logprob",
    "top_logprob_decayed",
    "sentence_end_known",
    "sentence_end_logprob",
    "sentence_end_logprob_decayed",
    "expected_sentence_ends",
    "newline_known",
    "newline_logprob",
    "newline_logprob_decayed",
    "expected_newlines",
    "steps_since_newline",
    "repetition_64",
    "sketch_known",
    "prompt_sketch_known",
    "prompt_known",
];

/// The sketches of hidden states in the order of [`FeatureRow::sketches`]: of the last step; an exponential mean over about 16
/// steps; of the whole prompt, which is that of step 1.
pub const SKETCH_NAMES: [&str; 3] = ["sketch", "sketch_decayed", "sketch_prompt"];

const fn all_names() -> [&'static str; OF_STEPS + PROMPT_FEATURE_NAMES.len()] {
    let mut names = [""; OF_STEPS + PROMPT_FEATURE_NAMES.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = if i < OF_STEPS { STEP_NAMES[i] } else { PROMPT_FEATURE_NAMES[i - OF_STEPS] };
        i += 1;
    }
    names
}

/// The features that steps alone give.
const OF_SIGNALS: [Range<usize>; 3] = [0..32, 39..48, 56..58];
/// Numbers that are known where the feature before them says so.
const KNOWN: [(usize, Range<usize>); 5] = {
    let (sketches, width) = (FEATURE_NAMES.len(), limits::SKETCH);
    [
        (48, 49..52),
        (52, 53..56),
        (58, sketches..sketches + 2 * width),
        (59, sketches + 2 * width..sketches + 3 * width),
        (60, OF_STEPS..sketches),
    ]
};

/// Position of the feature called `name`.
pub fn feature_index(name: &str) -> Option<usize> {
    FEATURE_NAMES.iter().position(|known| *known == name)
}

/// The features of one request after one step. Before the first step those of the signals are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// Tokens generated.
    pub step: u32,
    /// Steps that the signals were taken from.
    pub observed: u32,
    /// What was known on arrival.
    pub arrival: Arrival,
    /// One per [`FEATURE_NAMES`]; finite, 0 where it is not known.
    pub values: [f32; FEATURE_NAMES.len()],
    /// A bit for each of the first features that is not known though there were steps to know it from. Logs of others have few signals.
    pub unknown: u64,
    /// One sketch per [`SKETCH_NAMES`], zeros where it has fewer numbers; finite.
    pub sketches: [[f32; limits::SKETCH]; SKETCH_NAMES.len()],
}

impl FeatureRow {
    /// Numbers of a row, those of the sketches included.
    pub const INPUTS: usize = FEATURE_NAMES.len() + SKETCH_NAMES.len() * limits::SKETCH;

    /// All numbers: the features, then the sketches. What is not known is NaN, so that a model cannot take it for a number.
    pub fn inputs(&self) -> [f32; Self::INPUTS] {
        let mut inputs = [0.0; Self::INPUTS];
        inputs[..FEATURE_NAMES.len()].copy_from_slice(&self.values);
        inputs[FEATURE_NAMES.len()..].copy_from_slice(self.sketches.as_flattened());
        if self.observed == 0 {
            OF_SIGNALS.into_iter().for_each(|signals| inputs[signals].fill(f32::NAN));
        }
        let mut unknown = self.unknown;
        while unknown != 0 {
            inputs[unknown.trailing_zeros() as usize] = f32::NAN;
            unknown &= unknown - 1;
        }
        for (known, numbers) in KNOWN {
            if self.values[known] == 0.0 {
                inputs[numbers].fill(f32::NAN);
            }
        }
        inputs
    }

    /// Most tokens still to come: at least 1, as a live request has its last one to come.
    pub fn left(&self) -> u32 {
        self.arrival.limit().saturating_sub(self.step).max(1)
    }

    /// A number that differs from step to step and that a replay has, too: the signals of a step are chance enough.
    pub fn chance(&self) -> u32 {
        // Odd, so that it spreads steps over all bits (Knuth, TAOCP 3, 6.4).
        let unknown = || self.step.wrapping_mul(0x9E37_79B1);
        let signal = if self.is_known(EOS_LOGPROB) { self.eos_logprob().to_bits() } else { unknown() };
        signal ^ self.arrival.prompt_length.unwrap_or(0)
    }

    /// Whether the feature at `place` is known; one of the first.
    fn is_known(&self, place: usize) -> bool {
        self.unknown >> place & 1 == 0
    }

    /// EOS probability at the last step; 0 where it is not known, as are the next two.
    pub fn eos_prob(&self) -> f32 {
        self.values[0]
    }

    /// Natural logarithm of it.
    pub fn eos_logprob(&self) -> f32 {
        self.values[EOS_LOGPROB]
    }

    /// Mean EOS probability over the reply.
    pub fn eos_prob_mean(&self) -> f32 {
        self.values[1]
    }
}
