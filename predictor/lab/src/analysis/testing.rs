//! Traces for tests.

use super::trace::{End, OPTIONAL_SIGNALS, Step, Trace};

/// Of `length` tokens, with the EOS log-prob at each number of tokens.
pub(super) fn trace(length: u32, end: End, eos_logprob: impl Fn(u32) -> f32) -> Trace {
    let step =
        |tokens| Step { tokens, eos_logprob: Some(eos_logprob(tokens)), optional: [None; OPTIONAL_SIGNALS.len()] };
    Trace { task: None, prompt_length: Some(10), end, steps: (1..=length).map(step).collect() }
}
