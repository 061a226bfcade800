//! A result that several threads write at once.

use crate::simd::LANES;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A row-major result of which each task writes columns, rows or elements of its own.
pub(crate) struct Output<'a> {
    start: *mut f32,
    rows: usize,
    /// Columns of the buffer.
    stride: usize,
    columns: Range<usize>,
    buffer: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: `Output` is an exclusive borrow of the buffer, and no two tasks write the same element.
#[expect(unsafe_code, reason = "threads write interleaved parts of one buffer")]
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// Some columns of a row-major buffer.
    pub(crate) fn new(buffer: &'a mut [MaybeUninit<f32>], stride: usize, columns: Range<usize>) -> Self {
        assert!(columns.end <= stride, "columns out of bounds");
        Self {
            start: buffer.as_mut_ptr().cast(),
            rows: buffer.len() / stride.max(1),
            stride,
            columns,
            buffer: PhantomData,
        }
    }

    /// Writes columns `column..column + 8` of a row, cut at the last column.
    #[inline(always)]
    pub(crate) fn write(&self, row: usize, column: usize, lanes: [f32; LANES]) {
        let column = self.columns.start + column;
        assert!(row < self.rows, "row out of bounds");
        let count = LANES.min(self.columns.end.saturating_sub(column));
        // SAFETY: `count` lanes end within the columns, the row is in bounds, and no other task writes there.
        #[expect(unsafe_code, reason = "threads write interleaved parts of one buffer")]
        unsafe {
            let at = self.start.add(row * self.stride + column);
            if count == LANES {
                at.cast::<[f32; LANES]>().write_unaligned(lanes);
            } else {
                std::ptr::copy_nonoverlapping(lanes.as_ptr(), at, count);
            }
        }
    }
}

/// Where the results of a tile go: its first row and column.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) out: &'a Output<'a>,
    pub(crate) row: usize,
    pub(crate) column: usize,
}
