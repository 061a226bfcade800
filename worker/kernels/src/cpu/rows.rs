//! A tensor seen as rows of `f32`, without a copy.

use crate::pool::Pool;
use crate::simd::LANES;
use candle_core::{CpuStorage, Result, Storage, StorageRef, Tensor, bail};
use std::sync::{Mutex, PoisonError};

/// The first dimension of a CPU tensor as rows; the others together are a row's elements. Rows may lie apart, as those of a
/// tensor narrowed along its last dimension do.
pub(crate) struct Rows<'a> {
    storage: StorageRef<'a>,
    start: usize,
    stride: usize,
    /// Rows.
    pub(crate) count: usize,
    /// Elements of a row.
    pub(crate) width: usize,
}

impl<'a> Rows<'a> {
    /// `name` is the operand's name in errors.
    pub(crate) fn new(name: &str, tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
            bail!("{name} must be f32 on the cpu");
        }
        let (&[count, ref inner @ ..], &[stride, ref inner_strides @ ..]) = (layout.dims(), layout.stride()) else {
            bail!("{name} must have rows");
        };
        let mut width = 1;
        for (&dim, &stride) in inner.iter().zip(inner_strides).rev() {
            if dim != 1 && stride != width {
                bail!("{name} must have contiguous rows");
            }
            width *= dim;
        }
        let start = layout.start_offset();
        Ok(Self { storage, start, stride, count, width })
    }

    /// Like [`Rows::new`], where the shape is known.
    pub(crate) fn with_shape(name: &str, tensor: &'a Tensor, count: usize, width: usize) -> Result<Self> {
        let rows = Self::new(name, tensor)?;
        if (rows.count, rows.width) != (count, width) {
            bail!("{name} has shape {:?}, wanted {count} rows of {width}", tensor.dims());
        }
        Ok(rows)
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(data)) => &data[self.start + index * self.stride..][..self.width],
            _ => &[], // refused in `new`
        }
    }
}

/// Elements that a task of [`build`] is worth: less does not pay for waking a thread.
const TASK_ELEMENTS: usize = 4096;

/// Makes `count` rows of `width` elements, each by `fill(index, row)`; large results by several threads.
pub(crate) fn build(count: usize, width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let [out] = build_all(count, width, |index, [row]| fill(index, row));
    out
}

/// As [`build`], several results of the same shape.
pub(crate) fn build_all<const N: usize>(
    count: usize,
    width: usize,
    fill: impl Fn(usize, [&mut [f32]; N]) + Sync,
) -> [Vec<f32>; N] {
    let mut out = [(); N].map(|()| vec![0.0; count * width]);
    let tasks = (count * width / TASK_ELEMENTS).clamp(1, count.max(1));
    let per_task = count.div_ceil(tasks).max(1);
    let mut parts = out.each_mut().map(|out| out.chunks_mut((per_task * width).max(1)));
    let parts: Vec<_> = (0..count.div_ceil(per_task))
        .map(|_| Mutex::new(parts.each_mut().map(|part| part.next().unwrap_or_default())))
        .collect();
    Pool::global().run(parts.len(), &|task| {
        let mut parts = parts[task].lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = parts.each_mut().map(|part| part.chunks_exact_mut(width));
        for index in task * per_task..count.min((task + 1) * per_task) {
            fill(index, rows.each_mut().map(|rows| rows.next().unwrap_or_default()));
        }
    });
    drop(parts);
    out
}

/// The elements after the last full vector, padded by zeros.
pub(crate) fn padded(tail: &[f32]) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    out[..tail.len()].copy_from_slice(tail);
    out
}
