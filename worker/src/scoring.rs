//! Log-probabilities that a model gives to known replies, computed through the same batched, paged path that serves requests.

use std::sync::Arc;

use eoscast_proto::domain::StepSignals;

use crate::runner::signals::{eos_logprob, step_signals};
use crate::runner::{LogitRows, ModelRunner, ModelSpec, Output, OutputRow, RunnerError, SequenceSlice, TokenSets};
use eoscast_kernels::row_stats;

/// Sequences in one batch.
const TEXTS_PER_BATCH: usize = 8;
/// Tokens of one sequence in one pass.
const TOKENS_PER_CHUNK: usize = 32;

/// A prompt and the reply to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScoredText {
    /// Prompt, then reply.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt; at least one.
    pub prompt_length: usize,
}

impl ScoredText {
    fn wants_logits(&self, chunk_end: usize) -> LogitRows {
        if chunk_end < self.prompt_length { LogitRows::None } else { LogitRows::All }
    }
}

/// One entry per reply token: facts of the distribution that it was taken from (raw logits, natural logarithms).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scores {
    /// Most probable token.
    pub top1: Vec<u32>,
    /// Measures of the distribution, as if the reply's token had been drawn from it at temperature 1.
    pub signals: Vec<StepSignals>,
    /// Sketch of the hidden state, if the runner makes them.
    pub sketches: Vec<Arc<[f32]>>,
}

impl Scores {
    fn push(&mut self, row: OutputRow<'_>, token: u32, sets: &TokenSets) -> Result<(), RunnerError> {
        let OutputRow { logits, sketch } = row;
        let stats = row_stats(logits);
        if !stats.log_sum_exp.is_finite() {
            return Err(RunnerError::NoDistribution);
        }
        let at_temperature_1 = eos_logprob(logits, &stats, &sets.eos);
        self.top1.push(stats.argmax);
        self.signals.push(step_signals(logits, &stats, sets, token, at_temperature_1));
        self.sketches.push(sketch.into());
        Ok(())
    }
}

/// KV tokens that [`score`] needs at once for texts of at most `longest` tokens.
#[must_use]
pub(crate) fn kv_tokens(longest: usize, block_size: usize) -> usize {
    TEXTS_PER_BATCH.saturating_mul(longest.next_multiple_of(block_size))
}

/// Scores `texts` a batch at a time, in order.
///
/// # Errors
/// A text has no prompt, a token outside the vocabulary, or is longer than the model's context or the KV cache; the forward
/// pass fails.
pub(crate) fn score(
    runner: &mut dyn ModelRunner,
    texts: &[ScoredText],
    sets: &TokenSets,
) -> impl Iterator<Item = Result<Vec<Scores>, RunnerError>> {
    let spec = runner.spec().clone();
    texts.chunks(TEXTS_PER_BATCH).map(move |batch| score_batch(runner, &spec, batch, sets))
}

fn score_batch(
    runner: &mut dyn ModelRunner,
    spec: &ModelSpec,
    texts: &[ScoredText],
    sets: &TokenSets,
) -> Result<Vec<Scores>, RunnerError> {
    let mut scores = vec![Scores::default(); texts.len()];
    let mut free_blocks = 0u32..;
    let tables: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| free_blocks.by_ref().take(text.tokens.len().div_ceil(spec.block_size)).collect())
        .collect();
    let longest = texts.iter().map(|text| text.tokens.len()).max().unwrap_or(0);
    let mut output = Output::default();
    for start in (0..longest).step_by(TOKENS_PER_CHUNK) {
        let chunk = |text: &ScoredText| start..text.tokens.len().min(start + TOKENS_PER_CHUNK);
        let active: Vec<usize> = (0..texts.len()).filter(|index| !chunk(&texts[*index]).is_empty()).collect();
        let batch: Vec<SequenceSlice<'_>> = active
            .iter()
            .map(|&index| SequenceSlice {
                tokens: &texts[index].tokens[chunk(&texts[index])],
                start,
                block_table: &tables[index],
                logits: texts[index].wants_logits(chunk(&texts[index]).end),
            })
            .collect();
        runner.forward(&batch, &mut output)?;
        let mut rows = output.rows(spec.vocab_size);
        for (&index, slice) in active.iter().zip(&batch) {
            if slice.logits == LogitRows::None {
                continue;
            }
            // The row at one position is the distribution of the token at the next.
            for (next, row) in (slice.start + 1..).zip(rows.by_ref().take(slice.tokens.len())) {
                let text = &texts[index];
                if let Some(token) = text.tokens.get(next).filter(|_| next >= text.prompt_length) {
                    scores[index].push(row, *token, sets)?;
                }
            }
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::ScriptedRunner;

    const VOCAB: usize = 5;

    /// The next token is the last one plus one, by a margin that tells positions apart.
    fn counting_runner() -> ScriptedRunner {
        let spec = ModelSpec {
            name: "counting".to_owned(),
            architecture: "scripted".to_owned(),
            vocab_size: VOCAB,
            context_length: 1_000,
            eos_token_ids: vec![0, 2],
            parameters: 0,
            quantization: "none".to_owned(),
            block_size: 4,
            num_blocks: 100,
        };
        ScriptedRunner::new(spec, |tokens| {
            let mut row = vec![0.0; VOCAB];
            row[(tokens[tokens.len() - 1] as usize + 1) % VOCAB] = tokens.len() as f32 / 10.0;
            row
        })
    }

    fn score_all(texts: &[ScoredText]) -> Vec<Scores> {
        let (mut runner, sets) = (counting_runner(), TokenSets::of_eos(&[0, 2]));
        score(&mut runner, texts, &sets).collect::<Result<Vec<_>, _>>().unwrap().concat()
    }

    fn counting_text(length: usize, prompt_length: usize) -> ScoredText {
        ScoredText { tokens: (0..length).map(|index| (index % VOCAB) as u32).collect(), prompt_length }
    }

    #[test]
    fn each_reply_token_is_scored_by_the_row_of_the_token_before_it() {
        let texts = [counting_text(70, 40), counting_text(5, 1)];
        let scores = score_all(&texts);
        for (text, scores) in texts.iter().zip(&scores) {
            assert_eq!(scores.top1, text.tokens[text.prompt_length..]);
            for (index, signals) in scores.signals.iter().enumerate() {
                let logprob = signals.token_logprob;
                let logit = (text.prompt_length + index) as f32 / 10.0;
                let expected = logit - (logit.exp() + (VOCAB - 1) as f32).ln();
                assert!((logprob - expected).abs() < 1e-5, "{logprob} {expected}");
            }
        }
    }

    #[test]
    fn the_eos_logprob_sums_the_whole_set() {
        let text = ScoredText { tokens: vec![2, 3], prompt_length: 1 };
        let scores = score_all(&[text]);
        let expected = (2.0 / (0.1f32.exp() + 4.0)).ln();
        assert!((scores[0].signals[0].eos_logprob - expected).abs() < 1e-6);
    }

    #[test]
    fn logits_that_are_no_distribution_are_an_error() {
        let mut runner = ScriptedRunner::new(counting_runner().spec().clone(), |_| vec![f32::NAN; VOCAB]);
        let texts = [counting_text(5, 1)];
        let error = score(&mut runner, &texts, &TokenSets::of_eos(&[0])).next().unwrap().unwrap_err();
        assert!(error.to_string().contains("no distribution"), "{error}");
    }

    #[test]
    fn more_texts_than_a_batch_are_all_scored_in_order() {
        let texts: Vec<ScoredText> = (0..20).map(|index| counting_text(30 + index, 3)).collect();
        let lengths: Vec<usize> = score_all(&texts).iter().map(|scores| scores.signals.len()).collect();
        assert_eq!(lengths, (27..47).collect::<Vec<_>>());
    }
}
