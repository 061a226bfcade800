//! A runner without a model, for engine tests: logits come from a script, and the batch is checked like a model would never do.

use super::{ModelRunner, ModelSpec, Output, RunnerError, SequenceSlice, check_batch};

/// Logits of the next token, from all tokens before it; must have `vocab_size` entries.
pub type Script = Box<dyn FnMut(&[u32]) -> Vec<f32> + Send>;

/// What stands in for keys and values at one position of a block.
///
/// `history` covers the token and everything before it. So a slot that another sequence has overwritten, or that was never
/// computed, is found out when it is next read, as it would silently spoil a real model's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    token: u32,
    history: u64,
}

/// Runs a script over ragged batches and fails on any batch that contradicts what its cache holds.
pub struct ScriptedRunner {
    spec: ModelSpec,
    script: Script,
    cache: Vec<Option<Slot>>,
    calls: u64,
    failing_call: Option<u64>,
}

impl ScriptedRunner {
    /// A runner whose next-token logits are `script(tokens so far)`.
    #[must_use]
    pub fn new(spec: ModelSpec, script: impl FnMut(&[u32]) -> Vec<f32> + Send + 'static) -> Self {
        Self {
            cache: vec![None; spec.num_blocks * spec.block_size],
            spec,
            script: Box::new(script),
            calls: 0,
            failing_call: None,
        }
    }

    /// A runner that answers each prompt with its reply and then the first EOS id, and any other text with EOS at once.
    #[must_use]
    pub fn from_replies(spec: ModelSpec, replies: Vec<(Vec<u32>, Vec<u32>)>) -> Self {
        // Never empty, as the spec says.
        let (vocab_size, eos) = (spec.vocab_size, spec.eos_token_ids[0]);
        Self::new(spec, move |tokens| {
            let next = replies.iter().find_map(|(prompt, reply)| {
                let generated = tokens.strip_prefix(prompt.as_slice())?;
                let rest = reply.strip_prefix(generated)?;
                Some(rest.first().copied().unwrap_or(eos))
            });
            peaked_logits(vocab_size, next.unwrap_or(eos))
        })
    }

    /// Makes the `call`-th forward pass from now on (0 is the next one) fail.
    pub fn fail_on_call(&mut self, call: u64) {
        self.failing_call = Some(self.calls + call);
    }

    /// Forward passes so far, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The tokens at positions `0..slice.start`, read through the block table.
    fn cached_tokens(&self, slice: &SequenceSlice<'_>) -> Result<(Vec<u32>, u64), RunnerError> {
        let mut history = 0;
        let mut tokens = Vec::with_capacity(slice.start);
        for position in 0..slice.start {
            let slot = self.cache[self.slot_of(slice, position)];
            let expected = |slot: &Slot| slot.history == extend_history(history, slot.token);
            let Some(slot) = slot.filter(expected) else {
                return Err(RunnerError::InvalidBatch(format!(
                    "position {position} is read from block {}, which holds {}",
                    slice.block_table[position / self.spec.block_size],
                    if slot.is_some() { "another sequence's entry" } else { "nothing" },
                )));
            };
            history = slot.history;
            tokens.push(slot.token);
        }
        Ok((tokens, history))
    }

    fn slot_of(&self, slice: &SequenceSlice<'_>, position: usize) -> usize {
        let block = slice.block_table[position / self.spec.block_size] as usize;
        block * self.spec.block_size + position % self.spec.block_size
    }
}

impl ModelRunner for ScriptedRunner {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn forward(&mut self, batch: &[SequenceSlice<'_>], output: &mut Output) -> Result<(), RunnerError> {
        let call = self.calls;
        self.calls += 1;
        output.clear();
        check_batch(&self.spec, batch)?;
        if self.failing_call == Some(call) {
            return Err(candle_core::Error::Msg(format!("call {call} fails by script")).into());
        }
        for slice in batch {
            let (mut tokens, mut history) = self.cached_tokens(slice)?;
            let wanted = slice.wanted();
            for (index, &token) in slice.tokens.iter().enumerate() {
                history = extend_history(history, token);
                let slot = self.slot_of(slice, slice.start + index);
                self.cache[slot] = Some(Slot { token, history });
                tokens.push(token);
                if wanted.contains(&index) {
                    let row = (self.script)(&tokens);
                    if row.len() != self.spec.vocab_size {
                        return Err(RunnerError::InvalidBatch(format!("the script gave {} logits", row.len())));
                    }
                    output.logits.extend(row);
                }
            }
        }
        Ok(())
    }
}

/// A logits row that gives nearly all probability to `token`, which must be less than `vocab_size`.
#[must_use]
pub fn peaked_logits(vocab_size: usize, token: u32) -> Vec<f32> {
    let mut logits = vec![0.0; vocab_size];
    logits[token as usize] = 20.0;
    logits
}

/// FNV-1a over the tokens of a sequence; never 0, which stands for no tokens.
fn extend_history(history: u64, token: u32) -> u64 {
    let start = if history == 0 { 0xcbf2_9ce4_8422_2325 } else { history };
    let hash =
        token.to_le_bytes().iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::LogitRows;

    const EOS: u32 = 7;

    fn spec() -> ModelSpec {
        ModelSpec {
            name: "scripted".to_owned(),
            architecture: "scripted".to_owned(),
            vocab_size: 8,
            context_length: 64,
            eos_token_ids: vec![EOS],
            parameters: 0,
            quantization: "none".to_owned(),
            block_size: 2,
            num_blocks: 4,
        }
    }

    fn runner() -> ScriptedRunner {
        ScriptedRunner::from_replies(spec(), vec![(vec![1, 2, 3], vec![4, 5])])
    }

    fn slice<'a>(tokens: &'a [u32], start: usize, block_table: &'a [u32]) -> SequenceSlice<'a> {
        SequenceSlice { tokens, start, block_table, logits: LogitRows::Last }
    }

    fn greedy(runner: &mut ScriptedRunner, batch: &[SequenceSlice<'_>]) -> Result<Vec<u32>, RunnerError> {
        let mut output = Output::default();
        runner.forward(batch, &mut output)?;
        let best = |row: &[f32]| row.iter().position(|logit| *logit > 0.0).unwrap() as u32;
        Ok(output.logits.chunks(8).map(best).collect())
    }

    #[test]
    fn a_reply_is_given_token_by_token_then_eos() {
        let mut runner = runner();
        let blocks = [3, 0, 2];
        assert_eq!(greedy(&mut runner, &[slice(&[1, 2], 0, &blocks)]).unwrap(), [EOS]);
        assert_eq!(greedy(&mut runner, &[slice(&[3], 2, &blocks)]).unwrap(), [4]);
        assert_eq!(greedy(&mut runner, &[slice(&[4], 3, &blocks)]).unwrap(), [5]);
        assert_eq!(greedy(&mut runner, &[slice(&[5], 4, &blocks)]).unwrap(), [EOS]);
        assert_eq!(runner.calls(), 4);
    }

    #[test]
    fn a_position_that_was_never_computed_is_reported() {
        let error = greedy(&mut runner(), &[slice(&[3], 2, &[0, 1])]).unwrap_err();
        assert!(error.to_string().contains("holds nothing"), "{error}");
    }

    #[test]
    fn a_block_that_another_sequence_took_is_reported() {
        let mut runner = runner();
        greedy(&mut runner, &[slice(&[1, 2], 0, &[0])]).unwrap();
        greedy(&mut runner, &[slice(&[1, 2], 0, &[1]), slice(&[6, 2], 0, &[0])]).unwrap();
        let error = greedy(&mut runner, &[slice(&[3], 4, &[1, 0, 2])]).unwrap_err();
        assert!(error.to_string().contains("another sequence"), "{error}");
    }

    #[test]
    fn sequences_may_read_a_common_prefix_but_not_write_one_block() {
        let mut runner = runner();
        greedy(&mut runner, &[slice(&[1, 2], 0, &[0])]).unwrap();
        let shared = [slice(&[3], 2, &[0, 1]), slice(&[3, 4], 2, &[0, 2])];
        assert_eq!(greedy(&mut runner, &shared).unwrap(), [4, 5]);
        let clash = [slice(&[3], 2, &[0, 1]), slice(&[3], 2, &[0, 1])];
        assert!(greedy(&mut runner, &clash).unwrap_err().to_string().contains("written by slice 0 too"));
    }

    #[test]
    fn out_of_range_tokens_blocks_and_short_tables_are_reported() {
        let cases: [(&[u32], usize, &[u32], &str); 5] = [
            (&[], 0, &[0], "no tokens"),
            (&[8], 0, &[0], "token 8"),
            (&[1], 0, &[4], "block 4"),
            (&[1, 2, 3], 0, &[0], "2 needed"),
            (&[1], usize::MAX, &[0], "beyond the context"),
        ];
        for (tokens, start, blocks, expected) in cases {
            let error = greedy(&mut runner(), &[slice(tokens, start, blocks)]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_chosen_call_fails_once() {
        let mut runner = runner();
        runner.fail_on_call(1);
        let batch = [slice(&[1], 0, &[0])];
        let outcomes: Vec<bool> = (0..3).map(|_| greedy(&mut runner, &batch).is_ok()).collect();
        assert_eq!(outcomes, [true, false, true]);
    }
}
