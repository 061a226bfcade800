//! The KV cache of one layer, where its model computes.

use crate::cache_shape::CacheShape;
use crate::cpu::KvBlocks;
use crate::options::KvType;
use crate::portable::KvTensors;
use candle_core::{Device, Result};

/// Keys and values of one layer, in blocks of positions.
pub struct PagedKv(pub(super) Memory);

pub(super) enum Memory {
    /// For the CPU kernels.
    Blocks(KvBlocks),
    /// For their twins.
    Tensors(KvTensors),
}

impl PagedKv {
    /// A zeroed cache for the CPU kernels.
    ///
    /// # Errors
    /// Where `block_size` is not a multiple of 16, `head_dim` not one of 8, or the memory cannot be had.
    pub fn new(kv_type: KvType, shape: CacheShape) -> Result<Self> {
        KvBlocks::new(kv_type, shape).map(|kv| Self(Memory::Blocks(kv)))
    }

    /// A zeroed cache of tensors on a device.
    ///
    /// # Errors
    /// Where a size is zero, or the device has no memory for it.
    pub fn on_device(device: &Device, kv_type: KvType, shape: CacheShape) -> Result<Self> {
        KvTensors::new(device, kv_type, shape).map(|kv| Self(Memory::Tensors(kv)))
    }

    /// Bytes of keys and values for one position.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        match &self.0 {
            Memory::Blocks(kv) => kv.bytes_per_token(),
            Memory::Tensors(kv) => kv.bytes_per_token(),
        }
    }
}
