//! Rotary position embedding (Su et al. 2021).

use crate::cpu::RotationTables;
use crate::options::RopeLayout;
use crate::portable;
use candle_core::{Device, Result, Tensor, bail};
use std::sync::OnceLock;

/// The rotation of each row of a batch, computed once a step and used by every layer.
pub struct Rotation {
    tables: RotationTables,
    /// The tables where `x` is, from the first use on.
    on_device: OnceLock<portable::Rotation>,
}

impl Rotation {
    /// Row `r` is turned by `positions[r] * inverse_frequencies[i]` radians.
    #[must_use]
    pub fn new(positions: &[u32], inverse_frequencies: &[f32]) -> Self {
        Self { tables: RotationTables::new(positions, inverse_frequencies), on_device: OnceLock::new() }
    }

    /// Rotates every head of `x`, whose rows are whole heads of `head_dim`. Elements of a head past twice the frequencies stay.
    ///
    /// # Errors
    /// Where `x` is not `f32`, on the CPU with contiguous rows, or its shape does not match.
    pub fn apply(&self, x: &Tensor, head_dim: usize, layout: RopeLayout) -> Result<Tensor> {
        let RotationTables { rows, frequencies, .. } = self.tables;
        let count = x.dim(0)?;
        let width = x.elem_count() / count.max(1);
        if count != rows || head_dim < 2 * frequencies || !width.is_multiple_of(head_dim) {
            bail!("rope: x {:?} must have {rows} rows of heads of {head_dim}, at least {}", x.dims(), 2 * frequencies);
        }
        match x.device().is_cpu() {
            true => self.tables.apply(x, head_dim, layout),
            false => self.on(x.device())?.apply(x, head_dim, layout),
        }
    }

    /// The tables on a device, the same at every call.
    pub(crate) fn on(&self, device: &Device) -> Result<&portable::Rotation> {
        if let Some(tables) = self.on_device.get() {
            return Ok(tables);
        }
        let RotationTables { cos, sin, rows, .. } = &self.tables;
        let tables = portable::Rotation::new(cos, sin, *rows, device)?;
        Ok(self.on_device.get_or_init(|| tables))
    }
}
