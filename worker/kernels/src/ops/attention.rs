//! Causal attention over a paged KV cache, with grouped heads (Ainslie et al. 2023; paging: Kwon et al. 2023).

use super::paged_kv::{Memory, PagedKv};
use crate::span::AttentionSpan;
use crate::{cpu, portable};
use candle_core::{Result, Tensor};

/// Stores the new keys and values, then attends: row `r` of the result is `softmax(scale q·k) v` over positions up to its own.
///
/// `q` and the result are `[rows, heads * head_dim]`, `k_new` and `v_new` are `[rows, kv_heads * head_dim]`; further dimensions
/// may be split (`[rows, heads, head_dim]`). Query head `h` reads KV head `h * kv_heads / heads`. The spans
/// cover the rows in order. With a `window` a row sees that many positions at most, its own the last (Beltagy et al. 2020,
/// <https://arxiv.org/abs/2004.05150>).
///
/// # Errors
/// Where an operand is not `f32` on the device of the cache, on the CPU with contiguous rows, shapes do not match, or a span
/// contradicts batch or cache. The cache is unchanged then.
pub fn paged_attention(
    q: &Tensor,
    k_new: &Tensor,
    v_new: &Tensor,
    kv: &mut PagedKv,
    spans: &[AttentionSpan<'_>],
    scale: f32,
    window: Option<usize>,
) -> Result<Tensor> {
    match &mut kv.0 {
        Memory::Blocks(kv) => cpu::paged_attention(q, k_new, v_new, kv, spans, scale, window),
        Memory::Tensors(kv) => portable::paged_attention(q, k_new, v_new, kv, spans, scale, window),
    }
}
