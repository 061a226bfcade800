//! Model architectures: trait [`CausalLm`] and the table that loads a file into one.

pub mod gguf;
mod gguf_header;
