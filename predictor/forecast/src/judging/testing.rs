//! Replies and forecasters for tests.

use eoscast_proto::domain::{END_WITHIN, Forecast, QUANTILE_LEVELS};

use super::{FinishedReply, Judged};

/// A reply of this length.
pub fn reply(output_length: u32, max_tokens: u32, ended: bool) -> FinishedReply {
    FinishedReply {
        request_id: format!("r-{output_length}"),
        group: format!("p-{output_length}"),
        task: None,
        temperature: Some(0.8),
        prompt_length: Some(10),
        prompt_features: vec![],
        max_tokens,
        output_length,
        ended,
    }
}

/// Of lengths uniform on 1 ..= `most`, cut at `max_tokens`.
pub fn uniform_replies(count: u32, most: u32, max_tokens: u32) -> Vec<FinishedReply> {
    // A step that shares no factor with `most` visits every length once before it comes back.
    let length = |i: u32| (i * 7919) % most + 1;
    let one = |i| FinishedReply {
        request_id: format!("r-{i}"),
        group: format!("p-{i}"),
        ..reply(length(i).min(max_tokens), max_tokens, length(i) <= max_tokens)
    };
    (0..count).map(one).collect()
}

/// A forecaster that knows the law of [`uniform_replies`] and nothing else.
pub fn knows_the_law(replies: &[FinishedReply], most: u32) -> Vec<Judged<'_>> {
    let answer = |reply: &FinishedReply, t: u32| {
        let left = (most - t) as f32;
        let cap = reply.cap(t);
        let mean = (1..=most - t).map(|length| length.min(cap)).sum::<u32>() as f32 / left;
        Forecast {
            mean,
            quantiles: QUANTILE_LEVELS.map(|level| left * level),
            end_within: END_WITHIN.map(|k| k.min(cap) as f32 / left).map(|p| p.min(1.0)),
        }
    };
    replies.iter().map(|reply| Judged::new(reply, |t| answer(reply, t))).collect()
}
