//! Tokenizer and chat template in a GGUF file's metadata.

use std::collections::BTreeSet;

use tokenizers::AddedToken;

use super::chat_template::ChatTemplate;
use super::error::TokenizerError;
use super::gguf_vocabulary::{GgufVocabulary, flag, token_type};
use super::tokenizer::{Ends, Parts, Tokenizer};
use super::{byte_level, sentencepiece};
use crate::checkpoint::Metadata;

const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const EOS: &str = "tokenizer.ggml.eos_token_id";

/// Ids that say nothing that we need; a wrong one is told, as it may be a sign of a bad conversion.
const UNUSED_IDS: &[&str] = &[
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.seperator_token_id",
    "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.cls_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.middle_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
];

/// Reads the tokenizer, and the chat template if there is one. What is odd but not needed goes to `warnings`.
///
/// # Errors
/// Missing or contradictory metadata; a tokenizer model or pre-tokenizer that is not supported.
pub(crate) fn read(
    metadata: Metadata<'_>,
    warnings: &mut Vec<String>,
) -> Result<(Tokenizer, Option<ChatTemplate>), TokenizerError> {
    let tokenizer = tokenizer(metadata, warnings)?;
    let chat_template = match metadata.optional_text(CHAT_TEMPLATE) {
        Ok(source) => source.map(|source| ChatTemplate::of_model(source, tokenizer.bos_token(), tokenizer.eos_token())),
        Err(problem) => Some(ChatTemplate::faulty(problem.to_string())),
    };
    Ok((tokenizer, chat_template))
}

/// Builds the tokenizer that the metadata describes.
fn tokenizer(metadata: Metadata<'_>, warnings: &mut Vec<String>) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = GgufVocabulary::read(metadata, warnings)?;
    let size = vocabulary.tokens.len();
    let claimed = metadata.optional_uint(&format!("{}.vocab_size", metadata.text("general.architecture")?));
    if let Ok(Some(claimed)) = claimed
        && claimed != size as u64
    {
        warnings.push(format!("`vocab_size` is {claimed}, but there are {size} tokens"));
    }
    let scheme = match metadata.text("tokenizer.ggml.model")? {
        "gpt2" => byte_level::scheme(metadata, &vocabulary, warnings)?,
        "llama" => sentencepiece::scheme(metadata, &vocabulary, warnings)?,
        other => return Err(TokenizerError::UnsupportedModel(other.to_owned())),
    };
    // llama.cpp, too, goes on without an id that is not in the vocabulary.
    let mut id = |key: &str| {
        metadata.place(key, size).unwrap_or_else(|problem| {
            warnings.push(format!("{problem}: ignored"));
            None
        })
    };
    let (bos, eos) = (id("tokenizer.ggml.bos_token_id"), id(EOS));
    let (turn, message) = (id("tokenizer.ggml.eot_token_id"), id("tokenizer.ggml.eom_token_id"));
    let padding = id("tokenizer.ggml.padding_token_id");
    for key in UNUSED_IDS {
        id(key);
    }
    let ends = Ends::new(eos, turn.into_iter().chain(message), |text| vocabulary.ids.get(text).copied());
    let ends = ends.ok_or_else(|| {
        let problem = metadata.place(EOS, size).err();
        let problem = problem.unwrap_or_else(|| format!("no end-of-sequence token: set `{EOS}`"));
        TokenizerError::Inconsistent(problem)
    })?;
    let control: BTreeSet<u32> = ends.ids.iter().copied().chain(bos).chain(padding).collect();
    let special: Vec<bool> = (0u32..)
        .zip(0..size)
        .map(|(id, index)| {
            let kind = vocabulary.token_type(index);
            control.contains(&id) || matches!(kind, token_type::UNKNOWN | token_type::CONTROL)
        })
        .collect();
    let added = vocabulary.tokens.iter().enumerate().filter_map(|(index, text)| {
        let added = special[index] || vocabulary.token_type(index) == token_type::USER_DEFINED;
        let token = AddedToken::from(*text, special[index]).normalized(false);
        (added && !text.is_empty()).then_some(token)
    });
    Tokenizer::new(Parts {
        bpe: scheme.bpe,
        normalizer: scheme.normalizer,
        pre_tokenizer: scheme.pre_tokenizer,
        added: added.collect(),
        bytes: scheme.bytes,
        special,
        ends,
        bos_token_id: bos,
        add_bos: flag(metadata, "tokenizer.ggml.add_bos_token", warnings).unwrap_or(scheme.add_bos),
        tokens: vocabulary.into_names(),
    })
}
