//! Tokenizer and chat template in a GGUF file's metadata.

use std::collections::BTreeSet;

use tokenizers::AddedToken;

use super::chat_template::ChatTemplate;
use super::error::{TextError, TokenizerError};
use super::gguf_vocabulary::{GgufVocabulary, token_type};
use super::tokenizer::{Ends, Parts, Tokenizer};
use super::{byte_level, sentencepiece};
use crate::checkpoint::Metadata;

/// Reads the tokenizer, and the chat template if there is one.
///
/// # Errors
/// Missing or contradictory metadata; a tokenizer model or pre-tokenizer that is not supported; a broken template.
pub(crate) fn read(metadata: Metadata<'_>) -> Result<(Tokenizer, Option<ChatTemplate>), TextError> {
    let tokenizer = tokenizer(metadata)?;
    let source = metadata.optional_text("tokenizer.chat_template").map_err(TokenizerError::from)?;
    let chat_template =
        source.map(|source| ChatTemplate::new(source, tokenizer.bos_token(), tokenizer.eos_token())).transpose()?;
    Ok((tokenizer, chat_template))
}

/// Builds the tokenizer that the metadata describes.
fn tokenizer(metadata: Metadata<'_>) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = GgufVocabulary::read(metadata)?;
    let scheme = match metadata.text("tokenizer.ggml.model")? {
        "gpt2" => byte_level::scheme(metadata, &vocabulary)?,
        "llama" => sentencepiece::scheme(metadata, &vocabulary)?,
        other => return Err(TokenizerError::UnsupportedModel(other.to_owned())),
    };
    let id = |key: &str| vocabulary.named_id(metadata, key);
    let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
    let (turn, message) = (id("tokenizer.ggml.eot_token_id")?, id("tokenizer.ggml.eom_token_id")?);
    let ends =
        Ends::new(eos, turn.into_iter().chain(message), |text| vocabulary.ids.get(text).copied()).ok_or_else(|| {
            let problem = "no end-of-sequence token: set `tokenizer.ggml.eos_token_id`";
            TokenizerError::Inconsistent(problem.to_owned())
        })?;
    let padding = id("tokenizer.ggml.padding_token_id")?;
    let control: BTreeSet<u32> = ends.ids.iter().copied().chain(bos).chain(padding).collect();
    let special: Vec<bool> = (0u32..)
        .zip(0..vocabulary.tokens.len())
        .map(|(id, index)| {
            let kind = vocabulary.token_type(index);
            control.contains(&id) || matches!(kind, token_type::UNKNOWN | token_type::CONTROL)
        })
        .collect();
    let added = vocabulary.tokens.iter().enumerate().filter_map(|(index, text)| {
        let added = special[index] || vocabulary.token_type(index) == token_type::USER_DEFINED;
        let token = AddedToken::from(*text, special[index]).normalized(false);
        added.then_some(token)
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
        add_bos: metadata.optional_bool("tokenizer.ggml.add_bos_token")?.unwrap_or(scheme.add_bos),
        tokens: vocabulary.tokens.into_iter().map(str::to_owned).collect(),
    })
}
