//! Tokenizer and chat template of a hub folder: `tokenizer.json`, `tokenizer_config.json`, `generation_config.json`; for the
//! template also the files of `hub_template`.
//!
//! `tokenizer.json` is read field by field and given to the library in parts: as a whole the library would believe it, and
//! panic where merges and vocabulary contradict each other.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::chat_template::ChatTemplate;
use super::error::TokenizerError;
use super::tokenizer::{Ends, Parts, Tokenizer};
use super::{byte_level, hub_template, sentencepiece};
use crate::checkpoint::{HubError, TokenIds, parse_json, read_json};

const TOKENIZER: &str = "tokenizer.json";

/// Reads the tokenizer in `folder` for a model of `vocab_size` rows, whose `config.json` names `eos_token_ids`, and the chat
/// template, if there is one.
///
/// # Errors
/// A file is missing, contradicts itself or the model, or asks for what is not supported.
pub(crate) fn read(
    folder: &Path,
    vocab_size: usize,
    eos_token_ids: &[u32],
) -> Result<(Tokenizer, Option<ChatTemplate>), TokenizerError> {
    let mut settings: Settings = read_json(folder, "tokenizer_config.json")?.unwrap_or_default();
    let generation: Generation = read_json(folder, "generation_config.json")?.unwrap_or_default();
    let ends = [generation.eos_token_id.as_ref().map_or(&[][..], TokenIds::as_slice), eos_token_ids].concat();
    let json: TokenizerJson =
        read_json(folder, TOKENIZER)?.ok_or_else(|| HubError::malformed(TOKENIZER, "there is no such file"))?;
    let tokenizer = tokenizer(json, &settings, &ends, vocab_size)?;
    let chat_template = match hub_template::read(folder, settings.chat_template.take()) {
        Ok(source) => {
            source.map(|source| ChatTemplate::of_model(&source, tokenizer.bos_token(), tokenizer.eos_token()))
        }
        Err(reason) => Some(ChatTemplate::faulty(reason)),
    };
    Ok((tokenizer, chat_template))
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessor>,
    decoder: Option<Decoder>,
    model: Box<RawValue>,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct ModelKind {
    #[serde(rename = "type", default = "bpe")]
    kind: String,
}

fn bpe() -> String {
    "BPE".to_owned()
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    /// `left right`, in older files.
    Joined(String),
}

/// What is done to the tokens of a prompt.
#[derive(Deserialize)]
struct PostProcessor {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    processors: Vec<PostProcessor>,
    #[serde(default)]
    single: Vec<Piece>,
}

#[derive(Deserialize)]
enum Piece {
    Sequence {},
    SpecialToken { id: String },
}

/// How tokens become text.
#[derive(Deserialize)]
struct Decoder {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    decoders: Vec<Decoder>,
}

/// `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct Settings {
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    add_bos_token: Option<bool>,
    chat_template: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenText {
    Plain(String),
    Described { content: String },
}

impl TokenText {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Described { content: text } => text,
        }
    }
}

/// `generation_config.json`.
#[derive(Default, Deserialize)]
struct Generation {
    eos_token_id: Option<TokenIds>,
}

fn tokenizer(
    json: TokenizerJson,
    settings: &Settings,
    ends: &[u32],
    vocab_size: usize,
) -> Result<Tokenizer, TokenizerError> {
    let ModelKind { kind } = parse_json(TOKENIZER, json.model.get())?;
    if kind != "BPE" {
        return Err(TokenizerError::UnsupportedPart(format!("model `{kind}`")));
    }
    let mut model: Model = parse_json(TOKENIZER, json.model.get())?;
    for Added { id, token } in &json.added_tokens {
        if *model.vocab.entry(token.content.clone()).or_insert(*id) != *id {
            return Err(inconsistent(format!(
                "added token {id} ({:?}) has another id in the vocabulary",
                token.content
            )));
        }
    }
    let texts = texts(&model, vocab_size)?;
    let bytes = bytes(&texts, json.decoder.as_ref())?;
    let name = |(id, text): (usize, &Option<&str>)| text.map_or_else(|| padding_name(id), str::to_owned);
    let tokens = texts.iter().enumerate().map(name).collect();

    let id_of = |text: &str| model.vocab.get(text).copied().filter(|id| (*id as usize) < vocab_size);
    let named = |text: &Option<TokenText>, field: &str| match text {
        Some(text) => id_of(text.as_str())
            .map(Some)
            .ok_or_else(|| inconsistent(format!("`{field}` {:?} is not in the vocabulary", text.as_str()))),
        None => Ok(None),
    };
    let bos_token_id = named(&settings.bos_token, "bos_token")?;
    let main = named(&settings.eos_token, "eos_token")?.or(ends.first().copied());
    let ends = Ends::new(main, ends.iter().copied(), id_of).ok_or_else(|| {
        inconsistent("no end-of-sequence token: set `eos_token_id` in generation_config.json".to_owned())
    })?;
    if let Some(id) = ends.ids.iter().find(|id| **id as usize >= vocab_size) {
        return Err(inconsistent(format!("end-of-sequence token {id} is outside the vocabulary of {vocab_size}")));
    }

    let added_special = json.added_tokens.iter().filter(|added| added.token.special).map(|added| added.id);
    let control: BTreeSet<u32> = ends.ids.iter().copied().chain(bos_token_id).chain(added_special).collect();
    let special = (0u32..).zip(&bytes).map(|(id, bytes)| bytes.is_empty() || control.contains(&id)).collect();
    let bos_by_template = starts_with_bos(json.post_processor.as_ref(), settings.bos_token.as_ref())?;
    Tokenizer::new(Parts {
        bpe: build(model)?,
        normalizer: json.normalizer,
        pre_tokenizer: json.pre_tokenizer,
        added: json.added_tokens.into_iter().map(|added| added.token).collect(),
        tokens,
        bytes,
        special,
        ends,
        bos_token_id,
        add_bos: settings.add_bos_token.unwrap_or(bos_by_template),
    })
}

fn inconsistent(problem: String) -> TokenizerError {
    TokenizerError::Inconsistent(problem)
}

/// The text of each of the model's ids. An id without one is padding.
fn texts(model: &Model, vocab_size: usize) -> Result<Vec<Option<&str>>, TokenizerError> {
    let mut texts = vec![None; vocab_size];
    for (text, id) in &model.vocab {
        if let Some(slot) = texts.get_mut(*id as usize)
            && let Some(other) = slot.replace(text.as_str())
        {
            return Err(inconsistent(format!("token {id} is both {other:?} and {text:?}")));
        }
    }
    Ok(texts)
}

/// The bytes of each text, by how the decoder spells them.
fn bytes(texts: &[Option<&str>], decoder: Option<&Decoder>) -> Result<Vec<Box<[u8]>>, TokenizerError> {
    let kinds = decoder.map(Decoder::kinds).unwrap_or_default();
    let alphabet = byte_level::byte_alphabet();
    let bytes_of = |text: &str| match kinds.contains(&"ByteLevel") {
        true => byte_level::token_bytes(text, &alphabet),
        false => sentencepiece::token_bytes(text, true),
    };
    if !kinds.contains(&"ByteLevel") && !kinds.contains(&"ByteFallback") {
        return Err(TokenizerError::UnsupportedPart(format!("a decoder of {kinds:?}")));
    }
    Ok(texts.iter().map(|text| text.map_or_else(Box::default, bytes_of)).collect())
}

/// GGUF files give padding this name.
fn padding_name(id: usize) -> String {
    format!("[PAD{id}]")
}

impl Decoder {
    /// The kinds of all steps.
    fn kinds(&self) -> Vec<&str> {
        std::iter::once(self.kind.as_str()).chain(self.decoders.iter().map(|step| step.kind.as_str())).collect()
    }
}

fn build(model: Model) -> Result<BPE, TokenizerError> {
    for (field, found) in [
        ("model.dropout", model.dropout.is_some_and(|share| share > 0.0)),
        ("model.continuing_subword_prefix", model.continuing_subword_prefix.is_some_and(|text| !text.is_empty())),
        ("model.end_of_word_suffix", model.end_of_word_suffix.is_some_and(|text| !text.is_empty())),
    ] {
        if found {
            return Err(TokenizerError::UnsupportedPart(format!("`{field}`")));
        }
    }
    let known = |text: &str| model.vocab.contains_key(text);
    let merges = model.merges.iter().map(|merge| {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left.as_str(), right.as_str()),
            Merge::Joined(pair) => pair.split_once(' ').unwrap_or((pair, "")),
        };
        byte_level::checked_merge(left, right, known)
    });
    let merges = merges.collect::<Result<_, _>>()?;
    let mut builder = BPE::builder()
        .vocab_and_merges(model.vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .fuse_unk(model.fuse_unk)
        .byte_fallback(model.byte_fallback)
        .ignore_merges(model.ignore_merges);
    if let Some(unknown) = model.unk_token {
        builder = builder.unk_token(unknown);
    }
    builder.build().map_err(TokenizerError::library)
}

/// Whether a plain prompt gets BOS in front; refuses templates that add anything else.
fn starts_with_bos(processor: Option<&PostProcessor>, bos: Option<&TokenText>) -> Result<bool, TokenizerError> {
    let Some(processor) = processor else {
        return Ok(false);
    };
    match processor.kind.as_str() {
        "ByteLevel" => Ok(false),
        "Sequence" => {
            let steps = processor.processors.iter().map(|step| starts_with_bos(Some(step), bos));
            Ok(steps.collect::<Result<Vec<_>, _>>()?.contains(&true))
        }
        "TemplateProcessing" => match processor.single.as_slice() {
            [Piece::Sequence {}] => Ok(false),
            [Piece::SpecialToken { id }, Piece::Sequence {}] if bos.is_some_and(|bos| bos.as_str() == id) => Ok(true),
            _ => Err(TokenizerError::UnsupportedPart("`post_processor` that adds more than `bos_token`".to_owned())),
        },
        other => Err(TokenizerError::UnsupportedPart(format!("`post_processor` `{other}`"))),
    }
}
