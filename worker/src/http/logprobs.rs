//! Log-probabilities as each endpoint writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use eoscast_proto::domain::{PromptLogprob, RankedToken, TokenLogprob};
use schemars::JsonSchema;
use serde::Serialize;

use eoscast_model::text::Tokenizer;

/// Stands for the logarithm of 0, which JSON cannot write; vLLM sends the same.
const LEAST_LOGPROB: f32 = -9999.0;

/// Of the tokens of one choice, or of a part of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Logprobs {
    /// Of completions: columns.
    Columns {
        /// A token that is only a part of a character is written as its bytes, as in `bytes:\xf0\x9f`.
        tokens: Vec<String>,
        /// Null for the first token of a prompt, which follows nothing.
        token_logprobs: Vec<Option<f32>>,
        /// The likeliest tokens, the one that stands there always among them.
        top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
        /// Characters of the text before each token.
        text_offset: Vec<u32>,
    },
    /// Of chat completions: rows.
    Rows { content: Vec<Row> },
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct Row {
    #[serde(flatten)]
    token: TokenEntry,
    top_logprobs: Vec<TokenEntry>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TokenEntry {
    /// A token that is only a part of a character is written as its bytes, as in `\xf0\x9f`.
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl Logprobs {
    /// As completions write them: those of an echoed prompt of `echoed` characters, then those of the reply.
    pub(super) fn columns(
        prompt: &[PromptLogprob],
        reply: &[TokenLogprob],
        echoed: u32,
        tokenizer: &Tokenizer,
    ) -> Self {
        let spell = |id| match spelling(bytes(tokenizer, id)) {
            Spelling::Text(text) => text,
            Spelling::Escaped(text) => format!("bytes:{text}"),
        };
        let of_prompt = prompt.iter().map(|entry| Column {
            id: entry.id,
            logprob: entry.logprob,
            top: entry.top.clone(),
            text_offset: entry.text_offset.min(echoed),
        });
        let of_reply = reply.iter().map(|entry| Column {
            id: entry.token.id,
            logprob: Some(entry.token.logprob),
            top: entry.top.iter().map(|token| (token.id, token.logprob)).collect(),
            text_offset: echoed + entry.text_offset,
        });
        let columns: Vec<Column> = of_prompt.chain(of_reply).collect();
        Self::Columns {
            text_offset: columns.iter().map(|column| column.text_offset).collect(),
            tokens: columns.iter().map(|column| spell(column.id)).collect(),
            token_logprobs: columns.iter().map(|column| column.logprob.map(finite)).collect(),
            top_logprobs: columns.iter().map(|column| column.likeliest(spell)).collect(),
        }
    }

    /// As chat completions write them.
    pub(super) fn rows(logprobs: &[TokenLogprob], tokenizer: &Tokenizer) -> Self {
        let entry = |token: &RankedToken| {
            let bytes = bytes(tokenizer, token.id);
            let (Spelling::Text(text) | Spelling::Escaped(text)) = spelling(bytes);
            TokenEntry { token: text, logprob: finite(token.logprob), bytes: bytes.to_vec() }
        };
        let row = |TokenLogprob { token, top, .. }: &TokenLogprob| Row {
            token: entry(token),
            top_logprobs: top.iter().map(entry).collect(),
        };
        Self::Rows { content: logprobs.iter().map(row).collect() }
    }
}

/// A token of a completion.
struct Column {
    id: u32,
    logprob: Option<f32>,
    top: Vec<(u32, f32)>,
    text_offset: u32,
}

impl Column {
    /// The likeliest tokens and this one, by name.
    fn likeliest(&self, spell: impl Fn(u32) -> String) -> Option<BTreeMap<String, f32>> {
        let own = (self.id, self.logprob?);
        let is_among_top = self.top.iter().any(|(id, _)| *id == self.id);
        let mut by_name = BTreeMap::new();
        for (id, logprob) in self.top.iter().copied().chain((!is_among_top).then_some(own)) {
            let name = spell(id);
            // Two tokens of the same bytes have two entries all the same; vLLM names tokens so.
            let name = if by_name.contains_key(&name) { format!("token_id:{id}") } else { name };
            by_name.insert(name, finite(logprob));
        }
        Some(by_name)
    }
}

/// The bytes of a token; of a special one, which adds none to a reply, its name.
fn bytes(tokenizer: &Tokenizer, id: u32) -> &[u8] {
    match tokenizer.token_bytes(id) {
        [] => tokenizer.token(id).unwrap_or_default().as_bytes(),
        bytes => bytes,
    }
}

/// A token in characters.
enum Spelling {
    /// It is whole characters.
    Text(String),
    /// Those of its bytes that are no whole character are escaped.
    Escaped(String),
}

fn spelling(bytes: &[u8]) -> Spelling {
    if let Ok(text) = str::from_utf8(bytes) {
        return Spelling::Text(text.to_owned());
    }
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        escaped.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    Spelling::Escaped(escaped)
}

fn finite(logprob: f32) -> f32 {
    logprob.max(LEAST_LOGPROB)
}
