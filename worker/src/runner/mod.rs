//! One forward pass over a ragged batch: sequences at different positions, prefill chunks beside decodes.

pub mod candle;
pub mod length_control;
pub mod load;
pub mod sampler;
pub mod scripted;
pub mod signals;
pub mod sketch;
pub mod token_sets;

pub use candle::CandleRunner;
pub use scripted::ScriptedRunner;
pub use sketch::SketchOptions;
pub use token_sets::TokenSets;

use thiserror::Error;

use eoscast_model::TensorError;

/// What the engine must know of a loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// Name under which the model is served and logged.
    pub name: String,
    /// GGUF architecture name, e.g. `llama`.
    pub architecture: String,
    /// Entries of a logits row.
    pub vocab_size: usize,
    /// Longest prompt plus reply the model was trained for, in tokens.
    pub context_length: usize,
    /// Every end-of-generation id, the model's main one first; never empty.
    pub eos_token_ids: Vec<u32>,
    /// Weights, in parameters.
    pub parameters: u64,
    /// Dominant weight type as the file states it, e.g. `Q4_1`.
    pub quantization: String,
    /// Tokens per KV block.
    pub block_size: usize,
    /// KV blocks that the cache holds.
    pub num_blocks: usize,
}

/// Which positions of a slice need logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// A prefill chunk that does not reach the last known token.
    None,
    /// The last token of the slice: its row is sampled from.
    Last,
    /// Every token of the slice (scoring).
    All,
}

/// The part of one sequence that a step computes.
#[derive(Debug, Clone, Copy)]
pub struct SequenceSlice<'a> {
    /// Tokens to compute, at consecutive positions; never empty.
    pub tokens: &'a [u32],
    /// Position of `tokens[0]`; positions before it are in the KV cache already.
    pub start: usize,
    /// Physical block ids covering positions `0..start + tokens.len()`.
    pub block_table: &'a [u32],
    /// Rows wanted back.
    pub logits: LogitRows,
}

/// A forward pass that failed. The batch's KV entries are then undefined.
#[derive(Debug, Error)]
pub enum RunnerError {
    /// The slices contradict the model or the cache (a bug in the caller).
    #[error("invalid batch: {0}")]
    InvalidBatch(String),
    /// A row of logits has a NaN, or no finite number.
    #[error("the model gave logits that are no distribution")]
    NoDistribution,
    /// The tensor library failed.
    #[error("forward pass failed: {0}")]
    Tensor(TensorError),
}

impl From<candle_core::Error> for RunnerError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error.into())
    }
}

/// What a forward pass gives for the rows wanted, in slice order. Reused between passes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// `vocab_size` logits a row.
    pub logits: Vec<f32>,
    /// The hidden state's sketch, of the same length in every row; empty if there are none.
    pub sketches: Vec<f32>,
}

/// One row of an [`Output`].
#[derive(Debug, Clone, Copy)]
pub struct OutputRow<'a> {
    /// Of the next token.
    pub logits: &'a [f32],
    /// Of the hidden state that they come from; may be empty.
    pub sketch: &'a [f32],
}

impl Output {
    /// The rows, for a model of `vocab_size` tokens.
    pub fn rows(&self, vocab_size: usize) -> impl Iterator<Item = OutputRow<'_>> {
        let rows = self.logits.len() / vocab_size;
        let dims = self.sketches.len() / rows.max(1);
        let logits = self.logits.chunks_exact(vocab_size);
        logits.enumerate().map(move |(row, logits)| OutputRow { logits, sketch: &self.sketches[row * dims..][..dims] })
    }

    fn clear(&mut self) {
        self.logits.clear();
        self.sketches.clear();
    }
}

/// Runs a model over ragged batches. Owns the KV cache memory; block ids come from the scheduler.
pub trait ModelRunner: Send {
    /// Facts about the model and its cache.
    fn spec(&self) -> &ModelSpec;

    /// Computes all slices in one pass and replaces `output` by the wanted rows.
    ///
    /// A row depends on its own sequence only: the same tokens give the same bits whatever else is in the batch and however
    /// the prompt was cut into chunks.
    fn forward(&mut self, batch: &[SequenceSlice<'_>], output: &mut Output) -> Result<(), RunnerError>;
}

impl SequenceSlice<'_> {
    /// Positions in the KV cache once the slice is computed.
    #[must_use]
    pub fn end(&self) -> usize {
        self.start + self.tokens.len()
    }

    /// Indices into `tokens` whose logits are wanted.
    fn wanted(&self) -> std::ops::Range<usize> {
        let length = self.tokens.len();
        match self.logits {
            LogitRows::None => length..length,
            LogitRows::Last => length - 1..length,
            LogitRows::All => 0..length,
        }
    }
}

/// Checks what a kernel would otherwise read or write out of bounds, and that no two slices write one block.
///
/// Blocks that are only read may be shared: that is how a common prefix is reused.
fn check_batch(spec: &ModelSpec, batch: &[SequenceSlice<'_>]) -> Result<(), RunnerError> {
    let mut writer_of_block = std::collections::HashMap::new();
    for (index, slice) in batch.iter().enumerate() {
        let invalid = |reason: String| Err(RunnerError::InvalidBatch(format!("slice {index}: {reason}")));
        if slice.tokens.is_empty() {
            return invalid("no tokens".to_owned());
        }
        if let Some(token) = slice.tokens.iter().find(|token| **token as usize >= spec.vocab_size) {
            return invalid(format!("token {token} is outside the vocabulary of {}", spec.vocab_size));
        }
        // `start` comes from the caller: no overflow.
        let end = slice.start.saturating_add(slice.tokens.len());
        if end > spec.context_length {
            return invalid(format!("position {end} is beyond the context of {}", spec.context_length));
        }
        let blocks = end.div_ceil(spec.block_size);
        let Some(table) = slice.block_table.get(..blocks) else {
            return invalid(format!("{} blocks for {end} positions, {blocks} needed", slice.block_table.len()));
        };
        if let Some(block) = table.iter().find(|block| **block as usize >= spec.num_blocks) {
            return invalid(format!("block {block} is outside the cache of {}", spec.num_blocks));
        }
        for block in &table[slice.start / spec.block_size..] {
            if let Some(other) = writer_of_block.insert(*block, index) {
                return invalid(format!("block {block} is written by slice {other} too"));
            }
        }
    }
    Ok(())
}
