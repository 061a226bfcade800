//! Why a model's texts cannot be read or made.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::{GgufError, HubError};

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
#[derive(Debug, Error, Serialize, Deserialize)]
pub enum ChatTemplateError {
    /// The template itself is broken.
    #[error("the chat template cannot be used: {0}")]
    Syntax(String),
    /// The template refuses these messages.
    #[error("chat messages rejected: {0}")]
    Rejected(String),
    /// The messages are too long or too many to render.
    #[error("chat messages rejected: rendering takes too much work, send fewer or shorter messages")]
    TooMuchWork,
    /// The template fails for another reason than the messages' own fault.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// Compiling or rendering takes more than a template may.
    #[error("the chat template exceeds a limit: {0}")]
    Limit(TemplateLimit),
    /// Too many conversations are being rendered.
    #[error("too many chat messages are being rendered: try again later")]
    Busy,
    /// The operating system does not start the process that templates are rendered in.
    #[error("no process to render the chat template in: {0}")]
    NoProcess(String),
}

/// What a template took too much of.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum TemplateLimit {
    /// Limit in seconds.
    #[error("it takes more than {0} s")]
    Time(u64),
    /// Limit in MiB.
    #[error("it is nested so deep that it takes more than {0} MiB of stack")]
    Stack(usize),
    /// Limit in MiB.
    #[error("it takes more than {0} MiB of memory")]
    Memory(u64),
    /// The process ended in another way.
    #[error("its process ended ({0})")]
    Process(String),
}
