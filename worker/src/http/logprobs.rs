//! Log-probabilities as each endpoint writes them.

use std::collections::BTreeMap;

use eoscast_proto::domain::{RankedToken, TokenLogprob};
use serde::Serialize;

use eoscast_model::text::Tokenizer;

/// Stands for the logarithm of 0, which JSON cannot write; vLLM sends the same.
const LEAST_LOGPROB: f32 = -9999.0;

/// Of the tokens of one choice, or of a part of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Logprobs {
    /// Of completions: columns.
    Columns {
        tokens: Vec<String>,
        token_logprobs: Vec<f32>,
        /// The likeliest tokens, the sampled one always among them.
        top_logprobs: Vec<BTreeMap<String, f32>>,
        /// Characters of the reply before each token.
        text_offset: Vec<usize>,
    },
    /// Of chat completions: rows.
    Rows { content: Vec<Row> },
}

#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    token: TokenEntry,
    top_logprobs: Vec<TokenEntry>,
}

#[derive(Debug, Serialize)]
struct TokenEntry {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprobs {
    /// As completions write them; the first token starts `offset` characters into the reply.
    pub(super) fn columns(logprobs: &[TokenLogprob], offset: usize, tokenizer: &Tokenizer) -> Self {
        let spell = |token: &RankedToken| String::from_utf8_lossy(spelling(tokenizer, token.id)).into_owned();
        let text_offset = logprobs.iter().scan(offset, |next, entry| {
            let at = *next;
            *next += characters(entry);
            Some(at)
        });
        Self::Columns {
            text_offset: text_offset.collect(),
            tokens: logprobs.iter().map(|entry| spell(&entry.token)).collect(),
            token_logprobs: logprobs.iter().map(|entry| finite(entry.token.logprob)).collect(),
            top_logprobs: logprobs
                .iter()
                .map(|entry| {
                    let mut columns = BTreeMap::new();
                    for token in entry.top.iter().chain([&entry.token]) {
                        // Tokens that are parts of characters can look alike: the likeliest stands for them.
                        columns.entry(spell(token)).or_insert_with(|| finite(token.logprob));
                    }
                    columns
                })
                .collect(),
        }
    }

    /// As chat completions write them.
    pub(super) fn rows(logprobs: &[TokenLogprob], tokenizer: &Tokenizer) -> Self {
        let entry = |token: &RankedToken| {
            let bytes = spelling(tokenizer, token.id);
            TokenEntry {
                token: String::from_utf8_lossy(bytes).into_owned(),
                logprob: finite(token.logprob),
                bytes: bytes.to_vec(),
            }
        };
        let row = |TokenLogprob { token, top }: &TokenLogprob| Row {
            token: entry(token),
            top_logprobs: top.iter().map(entry).collect(),
        };
        Self::Rows { content: logprobs.iter().map(row).collect() }
    }
}

/// Characters that a token adds to the reply: none if it is a special one.
pub(super) fn characters(entry: &TokenLogprob) -> usize {
    entry.token.text.chars().count()
}

/// The bytes of a token; of a special one, which adds none to a reply, its name.
fn spelling(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    match tokenizer.token_bytes(id) {
        [] => tokenizer.token(id).unwrap_or_default().as_bytes(),
        bytes => bytes,
    }
}

fn finite(logprob: f32) -> f32 {
    logprob.max(LEAST_LOGPROB)
}
