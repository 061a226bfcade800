//! What a model computes: the architectures, one a file, and the parts they are made of.
//!
//! # Layout
//! - `causal_lm`: what all have, trait `CausalLm`
//! - `llama`, `qwen2`, `qwen3`, `gemma3`: which parts an architecture has, and its own settings; `definition`: how it is found
//! - `decoder`: the stack of layers; `attention`, `feed_forward`, `rotary`: its parts
//! - `config`: sizes that all have; `loader`: what weights are read with

mod attention;
mod causal_lm;
mod config;
mod decoder;
mod definition;
mod feed_forward;
mod gemma3;
mod llama;
mod loader;
mod qwen2;
mod qwen3;
mod rotary;

pub use causal_lm::{CausalLm, Forward, KvShape, Rows};
pub(crate) use definition::Architecture;
pub(crate) use loader::Loader;

/// The architectures that we load.
pub(crate) const ARCHITECTURES: &[Architecture] = &[llama::LLAMA, qwen2::QWEN2, qwen3::QWEN3, gemma3::GEMMA3];
