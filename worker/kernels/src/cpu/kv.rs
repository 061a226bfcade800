//! The memory of one layer's KV cache, in blocks of positions.

use crate::cache_shape::CacheShape;
use crate::options::KvType;
use crate::simd::{LANES, Simd};
use candle_core::{Result, bail};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Positions that attention scores at a time: two vectors.
pub(crate) const STRIP: usize = 2 * LANES;

/// Keys and values of one layer, as the CPU kernels read them. Memory that was never written takes no physical pages.
pub(crate) struct KvBlocks {
    pub(crate) data: KvData,
    pub(crate) shape: CacheShape,
}

pub(crate) enum KvData {
    F32(KeysValues<f32>),
    F16(KeysValues<u16>),
}

/// Both arrays hold, for each block and KV head, `block_size * head_dim` elements.
pub(crate) struct KeysValues<T> {
    /// Strip by strip of [`STRIP`] positions, in a strip dimension by dimension: scores of consecutive positions are lanes of a
    /// vector.
    pub(crate) keys: Vec<T>,
    /// Position by position.
    pub(crate) values: Vec<T>,
}

/// An element type of the cache.
pub(crate) trait KvElement: Copy + Default + Sync {
    /// Rounds to the nearest; both have the same length.
    fn store(from: &[f32], to: &mut [Self]);
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F32;
}

impl KvElement for f32 {
    #[inline]
    fn store(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F32 {
        simd.load(x)
    }
}

/// Half precision bits: unlike `f16`, the standard library allocates zeros of it without touching them.
impl KvElement for u16 {
    #[inline]
    fn store(from: &[f32], to: &mut [Self]) {
        to.reinterpret_cast_mut::<f16>().convert_from_f32_slice(from);
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F32 {
        simd.load_f16(x)
    }
}

impl KvBlocks {
    /// A zeroed cache.
    ///
    /// # Errors
    /// Where `block_size` is not a multiple of 16, `head_dim` not one of 8, or the memory cannot be had.
    pub(crate) fn new(kv_type: KvType, shape: CacheShape) -> Result<Self> {
        let CacheShape { block_size, head_dim, .. } = shape;
        if block_size == 0 || !block_size.is_multiple_of(STRIP) {
            bail!("kv block size {block_size} must be a multiple of {STRIP}");
        }
        if head_dim == 0 || !head_dim.is_multiple_of(LANES) {
            bail!("head dimension {head_dim} must be a multiple of {LANES}");
        }
        let Some(len) = shape.elements().filter(|&len| CacheShape::fits_in_memory(len)) else {
            bail!("{}", shape.too_large());
        };
        let data = match kv_type {
            KvType::F32 => KvData::F32(KeysValues { keys: vec![0.0; len], values: vec![0.0; len] }),
            KvType::F16 => KvData::F16(KeysValues { keys: vec![0; len], values: vec![0; len] }),
        };
        Ok(Self { data, shape })
    }

    /// Bytes of keys and values for one position.
    pub(crate) fn bytes_per_token(&self) -> usize {
        let element = match self.data {
            KvData::F32(_) => size_of::<f32>(),
            KvData::F16(_) => size_of::<u16>(),
        };
        2 * self.shape.row_width() * element
    }

    /// Elements of a block.
    pub(crate) fn block_len(&self) -> usize {
        self.shape.row_width() * self.shape.block_size
    }

    /// Stores row `row` of `k` and `v` at a position of a block.
    pub(crate) fn write(&mut self, block: usize, position: usize, k: &[f32], v: &[f32]) {
        let CacheShape { block_size, head_dim, .. } = self.shape;
        let at = block * self.block_len();
        match &mut self.data {
            KvData::F32(kv) => kv.write(at, position, block_size, head_dim, k, v),
            KvData::F16(kv) => kv.write(at, position, block_size, head_dim, k, v),
        }
    }
}

impl<T: KvElement> KeysValues<T> {
    fn write(&mut self, block: usize, position: usize, block_size: usize, head_dim: usize, k: &[f32], v: &[f32]) {
        let head_len = block_size * head_dim;
        for (head, (k, v)) in k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim)).enumerate() {
            let start = block + head * head_len;
            let strip = start + (position - position % STRIP) * head_dim;
            let columns = self.keys[strip..][..STRIP * head_dim].as_chunks_mut::<STRIP>().0;
            for (columns, k) in columns.chunks_mut(LANES).zip(k.as_chunks::<LANES>().0) {
                let mut rounded = [T::default(); LANES];
                T::store(k, &mut rounded);
                for (column, k) in columns.iter_mut().zip(rounded) {
                    column[position % STRIP] = k;
                }
            }
            T::store(v, &mut self.values[start + position * head_dim..][..head_dim]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_work_are_refused_with_the_reason() {
        let error = |blocks, block_size, head_dim| {
            let shape = CacheShape { num_blocks: blocks, block_size, kv_heads: 3, head_dim };
            KvBlocks::new(KvType::F32, shape).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(error(1, 8, 64).contains("block size 8"));
        assert!(error(1, 0, 64).contains("block size 0"));
        assert!(error(1, 16, 12).contains("head dimension 12"));
        assert!(error(usize::MAX / 2, 16, 64).contains("fewer kv tokens"));
        assert!(error(1 << 50, 16, 64).contains("fewer kv tokens"));
    }
}
