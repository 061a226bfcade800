//! [`FinishedReply`]: what forecasts are judged by, and [`Judged`]: the answers given about it.

use std::sync::Arc;

use eoscast_proto::domain::Forecast;

/// One finished reply. Aborted, failed, steered ones and those that could not end by themselves are left out before.
#[derive(Debug, Clone)]
pub struct FinishedReply {
    /// The request that it answers.
    pub request_id: String,
    /// The prompt: several samples of one prompt belong together.
    pub group: String,
    /// Kind of work, if known.
    pub task: Option<Arc<str>>,
    /// Sampling temperature, 0 is greedy; not known of some logs of others.
    pub temperature: Option<f32>,
    /// Tokens of the prompt; the same.
    pub prompt_length: Option<u32>,
    /// Features of the prompt's text; empty if the worker did not send it.
    pub prompt_features: Vec<f32>,
    /// Most tokens the reply might have had, as far as is known.
    pub max_tokens: u32,
    /// Tokens generated.
    pub output_length: u32,
    /// It ended by itself; otherwise it was cut at `max_tokens`.
    pub ended: bool,
}

impl FinishedReply {
    /// Service remaining length after `t` tokens.
    pub fn remaining(&self, t: u32) -> u32 {
        self.output_length.saturating_sub(t)
    }

    /// The most it can be after `t` tokens.
    pub fn cap(&self, t: u32) -> u32 {
        self.max_tokens.saturating_sub(t)
    }

    /// Whether it ends by itself within `k` tokens after `t`; `None` where the cut hides that.
    pub fn ends_within(&self, t: u32, k: u32) -> Option<bool> {
        let within = self.remaining(t) <= k;
        if self.ended { Some(within) } else { (self.remaining(t) >= k).then_some(false) }
    }
}

/// One reply with the answers given about it.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// The reply.
    pub reply: &'a FinishedReply,
    /// Forecast `t` was given after `t` tokens, from 0 to `output_length - 1`; each within `0 ..= max_tokens - t`. That after no
    /// token was given once the prompt was read, if the model can tell it from the next.
    pub answers: Vec<Forecast>,
    /// Given before the prompt was read.
    pub arrival: Option<Forecast>,
}

impl<'a> Judged<'a> {
    /// Asks `answer` after every number of tokens in order and clips what it says to what can be.
    pub fn new(reply: &'a FinishedReply, mut answer: impl FnMut(u32) -> Forecast) -> Self {
        let answers: Vec<_> = (0..reply.output_length).map(|t| answer(t).clip(reply.cap(t))).collect();
        Self { reply, arrival: answers.first().copied(), answers }
    }

    /// The answers with the number of tokens they were given after.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (u32, &Forecast)> {
        self.answers.iter().enumerate().map(|(t, answer)| (t as u32, answer))
    }
}
