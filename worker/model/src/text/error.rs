//! Why a model's texts cannot be read or made.

use thiserror::Error;

use crate::checkpoint::{GgufError, HubError};

/// What is wrong with a model's tokenizer or chat template.
#[derive(Debug, Error)]
pub enum TextError {
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    ChatTemplate(#[from] ChatTemplateError),
}

/// Why a model file's tokenizer cannot be used, or a text not be encoded.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// Metadata missing or of another type.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A file of a hub folder.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A part of a hub folder's tokenizer that we cannot do.
    #[error("{0} (tokenizer.json) is not supported")]
    UnsupportedPart(String),
    /// A vocabulary of another kind.
    #[error("tokenizer model `{0}` is not supported (supported: gpt2, i.e. byte-level bpe; llama, i.e. sentencepiece)")]
    UnsupportedModel(String),
    /// A pre-tokenizer that we do not know.
    #[error("pre-tokenizer `{name}` is not supported (supported: {supported})")]
    UnsupportedPreTokenizer {
        /// The file's `tokenizer.ggml.pre`.
        name: String,
        /// The names that we know.
        supported: String,
    },
    /// Vocabulary and merges contradict each other.
    #[error("inconsistent tokenizer: {0}")]
    Inconsistent(String),
    /// The tokenizer library failed.
    #[error("tokenizer failed: {0}")]
    Library(String),
}

impl TokenizerError {
    pub(super) fn library(error: impl std::fmt::Display) -> Self {
        Self::Library(error.to_string())
    }
}

/// Why a template cannot be used, or messages not be rendered.
#[derive(Debug, Error)]
pub enum ChatTemplateError {
    /// The template itself is broken: a bad model file.
    #[error("chat template of the model cannot be parsed: {0}")]
    Syntax(String),
    /// The template refuses these messages: a bad request.
    #[error("chat messages rejected: {0}")]
    Rejected(String),
    /// The messages are too long or too many to render: a bad request.
    #[error("chat messages rejected: rendering takes too much work, send fewer or shorter messages")]
    TooMuchWork,
    /// The template fails for another reason than the messages' own fault: a bad model file.
    #[error("chat template of the model failed: {0}")]
    Failed(String),
}
