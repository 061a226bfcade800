//! A model file from its bytes to its logits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "clippy exempts test functions only, not their helpers")]

mod architectures;
mod device;
mod download;
mod file;
mod folder;
mod forward;
mod fuzz;
mod odd;
mod prefix_cache;
mod random;
mod score;
mod split;
mod template;
mod text;
mod tiny;
