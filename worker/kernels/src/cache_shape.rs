//! Sizes of a KV cache, and what is checked about them wherever it lies.

use candle_core::{Result, bail};

/// Sizes of one layer's KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Blocks of positions.
    pub num_blocks: usize,
    /// Positions in a block.
    pub block_size: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl CacheShape {
    /// Numbers that a row of keys has, and a row of values.
    pub(crate) fn row_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Rows of one head, in all positions of all blocks. `None` if they do not fit a `usize`.
    pub(crate) fn head_rows(&self) -> Option<usize> {
        [self.block_size, self.kv_heads].into_iter().try_fold(self.num_blocks, usize::checked_mul)
    }

    /// Numbers that the keys have, and the values. `None` if they do not fit a `usize`.
    pub(crate) fn elements(&self) -> Option<usize> {
        self.head_rows()?.checked_mul(self.head_dim)
    }

    /// Whether this machine has memory for `elements` keys and values in `f32`. `vec!` aborts the process if the allocator
    /// refuses, so we ask first and give the memory back at once.
    pub(crate) fn fits_in_memory(elements: usize) -> bool {
        Vec::<[f32; 2]>::new().try_reserve_exact(elements).is_ok()
    }

    /// The error for a cache that is too large.
    pub(crate) fn too_large(&self) -> String {
        let Self { num_blocks, block_size, .. } = self;
        format!("no memory for a kv cache of {num_blocks} blocks of {block_size} tokens: ask for fewer kv tokens")
    }

    /// Checks that rows of `width` numbers hold the same number of query heads for each KV head.
    pub(crate) fn check_query_width(&self, width: usize) -> Result<()> {
        if width == 0 || !width.is_multiple_of(self.row_width()) {
            let Self { kv_heads, head_dim, .. } = self;
            bail!("attention: q rows of {width} must hold a multiple of {kv_heads} heads of {head_dim}");
        }
        Ok(())
    }
}
