//! From a row of logits to a token and the signals of the distribution it came from.
//!
//! A draw depends only on the logits, the parameters, the seed and the token's place in the reply: the random number is a hash
//! of seed and place. So a reply is the same alone, in a batch, and after preemption.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use eoscast_proto::domain::{SamplingParams, StepSignals};

use super::TokenSets;
use super::signals::step_signals;
use eoscast_kernels::{LogitStats, Weights, row_stats};

/// How one request samples, and what of its past the penalties need.
#[derive(Debug, Clone)]
pub(crate) struct Sampler {
    params: SamplingParams,
    seed: u64,
    sets: Arc<TokenSets>,
    /// Filled only if the repetition penalty is on.
    prompt_tokens: HashSet<u32>,
    /// Occurrences in the reply; filled only if a penalty is on.
    reply_counts: HashMap<u32, u32>,
}

/// A sampled token.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// Its id.
    pub token_id: u32,
    /// Measures of the distribution.
    pub signals: StepSignals,
    /// The likeliest tokens with their raw log-probabilities, in falling order, as many as the request asked for.
    pub top: Vec<(u32, f32)>,
    /// Nats by which the EOS set was raised.
    pub eos_bias: f32,
}

/// A token that may be drawn, by falling logit and then rising id.
type Candidate = (f32, u32);

impl Sampler {
    /// A sampler for a prompt, of a model with these token sets.
    pub(crate) fn new(params: SamplingParams, seed: u64, sets: Arc<TokenSets>, prompt: &[u32]) -> Self {
        let prompt_tokens =
            if params.repetition_penalty == 1.0 { HashSet::new() } else { prompt.iter().copied().collect() };
        Self { params, seed, sets, prompt_tokens, reply_counts: HashMap::new() }
    }

    /// The seed in use.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether `token_id` ends the reply.
    pub(crate) fn ends(&self, token_id: u32) -> bool {
        let is_eos = self.sets.eos.contains(&token_id) && !self.params.ignore_eos;
        is_eos || self.params.stop_token_ids.contains(&token_id)
    }

    /// Draws token number `step` (1 is the first) of the reply from raw `logits`. `scratch` is overwritten.
    /// [`accept`](Self::accept) the token before the next one is drawn.
    ///
    /// The logits of the EOS set count as `eos_bias` nats higher than they are, where the reply may end; see
    /// [`length_control`](super::length_control).
    ///
    /// `None` if the logits are no distribution: one is NaN, or none is finite.
    pub(crate) fn sample(&self, logits: &[f32], scratch: &mut Vec<f32>, step: u32, eos_bias: f32) -> Option<Sample> {
        let stats = row_stats(logits);
        if !stats.log_sum_exp.is_finite() {
            return None;
        }
        let top = self.params.logprobs.map_or_else(Vec::new, |n| likeliest(logits, n as usize, &stats));

        let eos_bias = if self.masks(step) { 0.0 } else { eos_bias };
        let as_it_is = !self.penalises() && self.params.logit_bias.is_empty() && !self.masks(step) && eos_bias == 0.0;
        let (token_id, eos_logprob_sampled) = if self.params.temperature == 0.0 && as_it_is {
            (stats.argmax, self.certainty_of_end(stats.argmax))
        } else {
            scratch.clear();
            scratch.extend_from_slice(logits);
            for (id, bias) in &self.params.logit_bias {
                scratch[*id as usize] += bias;
            }
            self.penalise(scratch);
            if eos_bias > 0.0 {
                self.sets.eos.iter().for_each(|id| scratch[*id as usize] += eos_bias);
            }
            self.mask(scratch, step);
            let max =
                if as_it_is { stats.max_logit } else { scratch.iter().copied().fold(f32::NEG_INFINITY, f32::max) };
            self.draw(scratch, max, step)
        };
        let signals = step_signals(logits, &stats, &self.sets, token_id, eos_logprob_sampled);
        Some(Sample { token_id, signals, top, eos_bias })
    }

    /// Counts a drawn token, for the penalties of those after it.
    pub(crate) fn accept(&mut self, token_id: u32) {
        if self.penalises() {
            *self.reply_counts.entry(token_id).or_default() += 1;
        }
    }

    fn penalises(&self) -> bool {
        let p = &self.params;
        p.repetition_penalty != 1.0 || p.frequency_penalty != 0.0 || p.presence_penalty != 0.0
    }

    fn masks(&self, step: u32) -> bool {
        self.params.ignore_eos || step < self.params.min_tokens
    }

    /// Repetition penalty over prompt and reply (Keskar et al. 2019, CTRL, section 4.1, with negative logits multiplied as
    /// is usual since); frequency and presence penalties over the reply, as OpenAI's API defines them.
    fn penalise(&self, logits: &mut [f32]) {
        let p = &self.params;
        if p.repetition_penalty != 1.0 {
            let reply = self.reply_counts.keys().filter(|id| !self.prompt_tokens.contains(id));
            for id in self.prompt_tokens.iter().chain(reply) {
                let logit = &mut logits[*id as usize];
                *logit = if *logit > 0.0 { *logit / p.repetition_penalty } else { *logit * p.repetition_penalty };
            }
        }
        for (id, count) in &self.reply_counts {
            logits[*id as usize] -= p.frequency_penalty * *count as f32 + p.presence_penalty;
        }
    }

    /// Tokens that would end the reply too early cannot be drawn. The tokenizer's vocabulary has others, so one is left.
    fn mask(&self, logits: &mut [f32], step: u32) {
        let early = step < self.params.min_tokens;
        if self.params.ignore_eos || early {
            for id in self.sets.eos.iter() {
                logits[*id as usize] = f32::NEG_INFINITY;
            }
        }
        if early {
            for id in &self.params.stop_token_ids {
                logits[*id as usize] = f32::NEG_INFINITY;
            }
        }
    }

    /// Draws a token from logits of which `max` is the largest, and overwrites them; beside it the log-probability with which
    /// this draw would have ended the reply.
    fn draw(&self, logits: &mut [f32], max: f32, step: u32) -> (u32, f32) {
        let p = &self.params;
        if p.temperature == 0.0 {
            let id = logits.iter().position(|logit| *logit == max).unwrap_or(0) as u32;
            return (id, self.certainty_of_end(id));
        }
        let share = uniform(self.seed, step);
        let logprob = |probability: f64| (probability.ln() as f32).min(0.0);
        if p.top_k == 0 && p.top_p == 1.0 && p.min_p == 0.0 {
            let weights = Weights::new(logits, max, p.temperature);
            return (weights.at_share(share), logprob(weights.share_of(&self.sets.eos)));
        }
        let (mut kept, ids): (Vec<f32>, Vec<u32>) = self.truncate(logits, max).into_iter().unzip();
        let is_eos = |(_, id): &(u32, &u32)| self.sets.eos.contains(id);
        let eos: Vec<u32> = (0u32..).zip(&ids).filter(is_eos).map(|(place, _)| place).collect();
        let weights = Weights::new(&mut kept, max, p.temperature);
        (ids[weights.at_share(share) as usize], logprob(weights.share_of(&eos)))
    }

    /// The tokens that min-p, top-k and top-p leave, in that order.
    fn truncate(&self, logits: &[f32], max: f32) -> Vec<Candidate> {
        let p = &self.params;
        // p(token) >= min_p * p(top) on the logit scale.
        let floor = if p.min_p > 0.0 { max + p.temperature * p.min_p.ln() } else { f32::MIN };
        let mut candidates: Vec<Candidate> =
            (0u32..).zip(logits).filter(|(_, logit)| **logit >= floor).map(|(id, logit)| (*logit, id)).collect();
        if p.top_k > 0 && (p.top_k as usize) < candidates.len() {
            keep_best(&mut candidates, p.top_k as usize);
        }
        if p.top_p < 1.0 {
            candidates = nucleus(candidates, p.top_p, |logit| f64::from((logit - max) / p.temperature).exp());
        }
        candidates
    }

    fn certainty_of_end(&self, token_id: u32) -> f32 {
        if self.sets.eos.contains(&token_id) { 0.0 } else { f32::NEG_INFINITY }
    }
}

/// Falling logit, then rising id, so that equal logits have one order.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Leaves the `n` best, sorted. `n` is at least 1 and below the number of candidates.
fn keep_best(candidates: &mut Vec<Candidate>, n: usize) {
    candidates.select_nth_unstable_by(n - 1, by_rank);
    candidates.truncate(n);
    candidates.sort_unstable_by(by_rank);
}

/// The fewest best candidates whose share of the weight reaches `top_p` (Holtzman et al. 2020), sorted.
///
/// Sorts a growing head instead of the whole vocabulary: the nucleus is small as a rule.
fn nucleus(mut candidates: Vec<Candidate>, top_p: f32, weight: impl Fn(f32) -> f64) -> Vec<Candidate> {
    let total: f64 = candidates.iter().map(|(logit, _)| weight(*logit)).sum();
    let goal = f64::from(top_p) * total;
    let mut head = 64;
    loop {
        let sorted = head.min(candidates.len());
        if sorted < candidates.len() {
            candidates.select_nth_unstable_by(sorted, by_rank);
        }
        candidates[..sorted].sort_unstable_by(by_rank);
        let mut share = 0.0;
        for i in 0..sorted {
            share += weight(candidates[i].0);
            if share >= goal || i + 1 == candidates.len() {
                candidates.truncate(i + 1);
                return candidates;
            }
        }
        head *= 4;
    }
}

/// A given token among those that were likely in its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranking {
    /// Raw log-probability of the token.
    pub(crate) logprob: f32,
    /// The likeliest tokens with theirs, in falling order.
    pub(crate) top: Vec<(u32, f32)>,
}

/// Ranks `token_id` by raw `logits` beside the `top` likeliest. `None` if they are no distribution.
pub(crate) fn rank(logits: &[f32], token_id: u32, top: u32) -> Option<Ranking> {
    let stats = row_stats(logits);
    let logprob = (logits[token_id as usize] - stats.log_sum_exp).min(0.0);
    stats.log_sum_exp.is_finite().then(|| Ranking { logprob, top: likeliest(logits, top as usize, &stats) })
}

fn likeliest(logits: &[f32], n: usize, stats: &LogitStats) -> Vec<(u32, f32)> {
    if n == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<Candidate> = (0u32..).zip(logits).map(|(id, logit)| (*logit, id)).collect();
    if n < candidates.len() {
        keep_best(&mut candidates, n);
    } else {
        candidates.sort_unstable_by(by_rank);
    }
    candidates.into_iter().map(|(logit, id)| (id, (logit - stats.log_sum_exp).min(0.0))).collect()
}

/// A number in [0, 1) for one token of one request: SplitMix64 (Steele, Lea & Flood 2014) at position `step` of the stream
/// that starts at `seed`.
fn uniform(seed: u64, step: u32) -> f64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(u64::from(step) + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
