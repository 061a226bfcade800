//! The memory of one layer's KV cache, as tensors.

use super::super::kv::KvType;
use candle_core::{DType, Device, Result, Tensor, bail};

/// Keys and values of one layer. A slot is a block's position: number `block * block_size + position`.
pub(crate) struct KvTensors {
    /// `[slots, kv_heads * head_dim]`
    keys: Tensor,
    values: Tensor,
    pub(crate) num_blocks: usize,
    pub(crate) block_size: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl KvTensors {
    /// A zeroed cache.
    ///
    /// # Errors
    /// Where a size is zero, or the device has no memory for it.
    pub(crate) fn new(
        device: &Device,
        kv_type: KvType,
        num_blocks: usize,
        block_size: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<Self> {
        if [num_blocks, block_size, kv_heads, head_dim].contains(&0) {
            bail!(
                "kv cache of {num_blocks} blocks of {block_size} tokens, {kv_heads} heads of {head_dim}: a size is 0"
            );
        }
        let too_large = || {
            format!("no memory for a kv cache of {num_blocks} blocks of {block_size} tokens: ask for fewer kv tokens")
        };
        // Rows of one head are numbered in u32.
        let rows = [block_size, kv_heads].into_iter().try_fold(num_blocks, usize::checked_mul);
        let len = rows.filter(|&rows| u32::try_from(rows).is_ok()).and_then(|rows| rows.checked_mul(head_dim));
        // As for kernels: the allocator aborts where memory is refused.
        let refused = |len| device.is_cpu() && Vec::<[f32; 2]>::new().try_reserve_exact(len).is_err();
        if len.is_none_or(refused) {
            bail!("{}", too_large());
        }
        let dtype = match kv_type {
            KvType::F32 => DType::F32,
            KvType::F16 => DType::F16,
        };
        let shape = (num_blocks * block_size, kv_heads * head_dim);
        let zeros = || Tensor::zeros(shape, dtype, device).map_err(|error| error.context(too_large()));
        Ok(Self { keys: zeros()?, values: zeros()?, num_blocks, block_size, kv_heads, head_dim })
    }

    /// Bytes of keys and values for one position.
    pub(crate) fn bytes_per_token(&self) -> usize {
        2 * self.kv_heads * self.head_dim * self.keys.dtype().size_in_bytes()
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
        let shape = [head_rows.dims(), &[self.head_dim]].concat();
        let read = |cache: &Tensor| {
            let rows = cache.reshape(((), self.head_dim))?.index_select(&flat, 0)?;
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
            let kv = KvTensors::new(&Device::Cpu, KvType::F16, blocks, block_size, heads, 64);
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
            assert_eq!(KvTensors::new(&Device::Cpu, kv_type, 2, 16, 3, 64)?.bytes_per_token(), 2 * 3 * 64 * bytes);
        }
        Ok(())
    }
}
