//! [`Signals`]: the measures of one next-token distribution, as far as a log has them.

use eoscast_proto::domain::StepSignals;

/// Measures of one next-token distribution. `None` is not known, which is no number: neither 0 nor the last one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Signals {
    /// Natural logarithm of the EOS set's probability, from the raw logits.
    pub eos_logprob: Option<f32>,
    /// The same after temperature, penalties, truncation and masks; minus infinity where the reply cannot end.
    pub eos_logprob_sampled: Option<f32>,
    /// Of the sampled token, from the raw logits.
    pub token_logprob: Option<f32>,
    /// Of the raw distribution, in nats.
    pub entropy: Option<f32>,
    /// Of the most likely token.
    pub top_logprob: Option<f32>,
    /// Rank of the most likely EOS token, 1 is the top.
    pub eos_rank: Option<u32>,
    /// Of all tokens that end a sentence, from the raw logits.
    pub sentence_end_logprob: Option<f32>,
    /// Of all tokens with a line break.
    pub newline_logprob: Option<f32>,
}

impl From<StepSignals> for Signals {
    fn from(signals: StepSignals) -> Self {
        Self {
            eos_logprob: Some(signals.eos_logprob),
            eos_logprob_sampled: Some(signals.eos_logprob_sampled),
            token_logprob: Some(signals.token_logprob),
            entropy: Some(signals.entropy),
            top_logprob: Some(signals.top_logprob),
            eos_rank: Some(signals.eos_rank),
            sentence_end_logprob: signals.sentence_end_logprob,
            newline_logprob: signals.newline_logprob,
        }
    }
}

impl Signals {
    /// The signals of a worker, which knows all but the classes of tokens; `None` if one of them is not known.
    pub fn all_known(&self) -> Option<StepSignals> {
        Some(StepSignals {
            eos_logprob: self.eos_logprob?,
            eos_logprob_sampled: self.eos_logprob_sampled?,
            token_logprob: self.token_logprob?,
            entropy: self.entropy?,
            top_logprob: self.top_logprob?,
            eos_rank: self.eos_rank?,
            sentence_end_logprob: self.sentence_end_logprob,
            newline_logprob: self.newline_logprob,
        })
    }
}
