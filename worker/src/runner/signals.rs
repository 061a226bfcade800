//! What one step tells of the distribution that its token was drawn from.

use eoscast_proto::domain::StepSignals;

use super::TokenSets;
use eoscast_kernels::{LogitStats, log_sum_exp_of, rank_of};

/// Measures of raw `logits`, whose statistics are `stats`, where token `token_id` followed and the draw would have ended the reply
/// with log-probability `eos_logprob_sampled`.
pub(crate) fn step_signals(
    logits: &[f32],
    stats: &LogitStats,
    sets: &TokenSets,
    token_id: u32,
    eos_logprob_sampled: f32,
) -> StepSignals {
    let best_eos = sets.eos.iter().map(|id| logits[*id as usize]).fold(f32::NEG_INFINITY, f32::max);
    StepSignals {
        eos_logprob: eos_logprob(logits, stats, &sets.eos),
        eos_logprob_sampled,
        token_logprob: (logits[token_id as usize] - stats.log_sum_exp).min(0.0),
        entropy: stats.entropy.max(0.0),
        top_logprob: (stats.max_logit - stats.log_sum_exp).min(0.0),
        eos_rank: rank_of(logits, best_eos) + 1,
        sentence_end_logprob: set_logprob(logits, stats, &sets.sentence_end),
        newline_logprob: set_logprob(logits, stats, &sets.newline),
    }
}

/// Natural logarithm of the EOS set's probability, over the whole vocabulary and from the raw logits. A set without any
/// probability gets the smallest finite number.
pub(crate) fn eos_logprob(logits: &[f32], stats: &LogitStats, eos_token_ids: &[u32]) -> f32 {
    // Relative to the log-sum-exp over all, so no exponential can overflow.
    let probability: f64 =
        eos_token_ids.iter().map(|id| f64::from(logits[*id as usize] - stats.log_sum_exp).exp()).sum();
    (probability.ln() as f32).clamp(f32::MIN, 0.0)
}

/// The same of hundreds of tokens, in vectors; `None` for no tokens.
fn set_logprob(logits: &[f32], stats: &LogitStats, ids: &[u32]) -> Option<f32> {
    (!ids.is_empty()).then(|| (log_sum_exp_of(logits, ids) - stats.log_sum_exp).clamp(f32::MIN, 0.0))
}
