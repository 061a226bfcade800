//! The memory of one layer's KV cache, as tensors.

use crate::cache_shape::CacheShape;
use crate::options::KvType;
use candle_core::{DType, Device, Result, Tensor, bail};

/// Keys and values of one layer. A slot is a block's position: number `block * block_size + position`.
pub(crate) struct KvTensors {
    /// `[slots, kv_heads * head_dim]`
    keys: Tensor,
    values: Tensor,
    pub(crate) shape: CacheShape,
}

impl KvTensors {
    /// A zeroed cache.
    ///
    /// # Errors
    /// Where a size is zero, or the device has no memory for it.
    pub(crate) fn new(device: &Device, kv_type: KvType, shape: CacheShape) -> Result<Self> {
        let CacheShape { num_blocks, block_size, kv_heads, head_dim } = shape;
        if [num_blocks, block_size, kv_heads, head_dim].contains(&0) {
            bail!(
                "kv cache of {num_blocks} blocks of {block_size} tokens, {kv_heads} heads of {head_dim}: a size is 0"
            );
        }
        // Rows of one head are numbered in u32.
        let countable = shape.head_rows().is_some_and(|rows| u32::try_from(rows).is_ok());
        let refused = |len| device.is_cpu() && !CacheShape::fits_in_memory(len);
        if !countable || shape.elements().is_none_or(refused) {
            bail!("{}", shape.too_large());
        }
        let dtype = match kv_type {
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
        };
        let dims = (num_blocks * block_size, shape.row_width());
        let zeros = || Tensor::zeros(dims, dtype, device).map_err(|error| error.context(shape.too_large()));
        Ok(Self { keys: zeros()?, values: zeros()?, shape })
    }

    /// Bytes of keys and values for one position.
    pub(crate) fn bytes_per_token(&self) -> usize {
        2 * self.shape.row_width() * self.keys.dtype().size_in_bytes()
    }

    /// Stores rows `[rows, kv_heads * head_dim]` of keys and values in slots `[rows, 1]`, which differ.
    pub(crate) fn write(&self, slots: &Tensor, k: &Tensor, v: &Tensor) -> Result<()> {
        let slots = slots.broadcast_as(k.shape())?.contiguous()?;
        for (cache, new) in [(&self.keys, k), (&self.values, v)] {
            cache.scatter_set(&slots, &new.to_dtype(cache.dtype())?.contiguous()?, 0)?;
        }
        Ok(())
    }

    /// Keys and values of head rows (`slot * kv_heads + head`) of any shape, in `f32`: that shape and `head_dim`.
    pub(crate) fn read(&self, head_rows: &Tensor) -> Result<(Tensor, Tensor)> {
        let flat = head_rows.flatten_all()?;
        let shape = [head_rows.dims(), &[self.shape.head_dim]].concat();
        let read = |cache: &Tensor| {
            let rows = cache.reshape(((), self.shape.head_dim))?.index_select(&flat, 0)?;
            rows.to_dtype(DType::F32)?.reshape(shape.as_slice())
        };
        Ok((read(&self.keys)?, read(&self.values)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_work_are_refused_with_the_reason() {
        let error = |blocks, block_size, heads| {
            let shape = CacheShape { num_blocks: blocks, block_size, kv_heads: heads, head_dim: 64 };
            let kv = KvTensors::new(&Device::Cpu, KvType::F16, shape);
            kv.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(error(1, 0, 3).contains("a size is 0"));
        assert!(error(usize::MAX / 2, 16, 3).contains("fewer kv tokens"));
        assert!(error(1 << 28, 16, 3).contains("fewer kv tokens"));
        assert_eq!(error(4, 16, 3), "");
    }

    #[test]
    fn a_position_takes_the_bytes_of_its_type() -> Result<()> {
        for (kv_type, bytes) in [(KvType::F16, 2), (KvType::F32, 4)] {
            let shape = CacheShape { num_blocks: 2, block_size: 16, kv_heads: 3, head_dim: 64 };
            assert_eq!(KvTensors::new(&Device::Cpu, kv_type, shape)?.bytes_per_token(), 2 * 3 * 64 * bytes);
        }
        Ok(())
    }
}
