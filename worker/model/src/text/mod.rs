//! Text to tokens and back: tokenizer and chat template, read from the model's file or folder.
//!
//! # Layout
//! - `gguf`, `hub`: both, read from a file's metadata or from a folder's files, `hub_template` the latter's template
//! - `chat_template`: messages to text, in the `dialect` that templates are written in; `tokenizer`: text to ids, ids to bytes;
//!   `vocabulary`: only the latter
//! - `compiled_template`: a template in this process; `template_process`: in one with limits; `template_pool`: in several
//! - `seams`: where a long text may be cut before it is encoded; `least_tokens`: what its bytes tell of its tokens
//! - `byte_level`, `sentencepiece`: the two ways that vocabularies spell bytes; `gguf_vocabulary`, `pre_tokenizer`: how GGUF files
//!   name tokens and cut text
//! - `error`: what can be wrong with them

mod byte_level;
mod chat_template;
mod compiled_template;
mod dialect;
mod error;
pub(crate) mod gguf;
mod gguf_vocabulary;
pub(crate) mod hub;
mod hub_template;
mod least_tokens;
mod pre_tokenizer;
mod seams;
mod sentencepiece;
mod template_pool;
mod template_process;
mod tokenizer;
mod vocabulary;

pub use chat_template::{ChatTemplate, RenderOptions, Turn};
pub use error::{ChatTemplateError, TemplateLimit, TokenizerError};
pub use template_process::isolate_chat_templates;
pub use tokenizer::Tokenizer;
pub use vocabulary::Vocabulary;
