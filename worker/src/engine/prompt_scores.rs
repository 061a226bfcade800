//! Log-probabilities of a prompt's tokens, gathered while the prompt is computed.

use eoscast_model::text::Vocabulary;
use eoscast_proto::domain::PromptLogprob;

use super::characters::Characters;
use crate::runner::sampler::Ranking;

/// What is known of the tokens of one prompt.
pub(crate) struct PromptScores {
    /// Likely tokens to report beside each token.
    top: u32,
    /// `rankings[i]` is the ranking of prompt token `i + 1`; the first token has none.
    rankings: Vec<Ranking>,
    prompt_length: usize,
}

impl PromptScores {
    pub(crate) fn new(prompt_length: usize, top: u32) -> Self {
        Self { top, rankings: Vec::new(), prompt_length }
    }

    /// Likely tokens to report beside each token.
    pub(crate) fn top(&self) -> u32 {
        self.top
    }

    /// Whether a pass over the positions from `start` on computes a row that is still wanted. The row at one position is the
    /// distribution of the token at the next; after a preemption rows are computed again.
    pub(crate) fn wants(&self, start: usize) -> bool {
        start + 1 < self.prompt_length && self.rankings.len() + 1 < self.prompt_length
    }

    /// Takes the rankings by the rows from position `start` on.
    pub(crate) fn add(&mut self, start: usize, rankings: impl IntoIterator<Item = Ranking>) {
        for (position, ranking) in (start..).zip(rankings) {
            if position == self.rankings.len() && position + 1 < self.prompt_length {
                self.rankings.push(ranking);
            }
        }
    }

    /// One entry a token of `prompt`.
    pub(crate) fn into_logprobs(self, prompt: &[u32], vocabulary: &dyn Vocabulary) -> Vec<PromptLogprob> {
        let (mut decoder, mut characters) = (Characters::default(), 0);
        let rankings = std::iter::once(None).chain(self.rankings.into_iter().map(Some));
        let entry = |(id, ranking): (&u32, Option<Ranking>)| {
            let text_offset = characters;
            characters += decoder.push(vocabulary.token_bytes(*id)).chars().count() as u32;
            let (logprob, top) = ranking.map_or((None, Vec::new()), |ranking| (Some(ranking.logprob), ranking.top));
            PromptLogprob { id: *id, logprob, top, text_offset }
        };
        prompt.iter().zip(rankings).map(entry).collect()
    }
}
