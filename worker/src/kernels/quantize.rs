//! Activations in 8 bits: blocks of 32 with one `f32` scale, as llama.cpp's Q8_0 and Q8_1 do (there with a 16-bit scale).

use super::int8::BLOCK;
use super::simd::{Kernel, LANES, Simd, dispatch};

/// Rows that a matrix kernel takes at a time.
pub(crate) const GROUP: usize = 16;

/// Quantised rows, stored by groups of [`GROUP`] rows (the last may be smaller); in a group block by block, in a block row by row.
pub(crate) struct QuantizedRows {
    values: Vec<[i8; BLOCK]>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    blocks: usize,
}

/// One group of rows: entry `block * rows + row` of each slice.
#[derive(Clone, Copy)]
pub(crate) struct RowGroup<'a> {
    /// Quantised activations, -127..=127.
    pub(crate) values: &'a [[i8; BLOCK]],
    /// Activation = scale * value.
    pub(crate) scales: &'a [f32],
    /// Sum of a block's values.
    pub(crate) sums: &'a [f32],
    /// Rows in the group, 1..=[`GROUP`].
    pub(crate) rows: usize,
}

impl QuantizedRows {
    /// Quantises rows of `width` activations, a multiple of [`BLOCK`]. A row's result depends on that row alone; one with a
    /// value that is not finite gets a NaN scale, so that the fault shows in the product.
    pub(crate) fn new(x: &[f32], width: usize) -> Self {
        dispatch(Quantize { x, width })
    }

    pub(crate) fn groups(&self) -> usize {
        self.values.len().div_ceil((self.blocks * GROUP).max(1))
    }

    pub(crate) fn group(&self, index: usize) -> RowGroup<'_> {
        let start = index * self.blocks * GROUP;
        let end = self.values.len().min(start + self.blocks * GROUP);
        RowGroup {
            values: &self.values[start..end],
            scales: &self.scales[start..end],
            sums: &self.sums[start..end],
            rows: (end - start) / self.blocks,
        }
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    width: usize,
}

impl Kernel for Quantize<'_> {
    type Output = QuantizedRows;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> QuantizedRows {
        let Self { x, width } = self;
        let x = x.as_chunks::<BLOCK>().0;
        let mut values = vec![[0; BLOCK]; x.len()];
        let (mut scales, mut sums) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let blocks = width / BLOCK;
        let rows = x.len() / blocks;
        for row in 0..rows {
            let first = row - row % GROUP;
            let group = GROUP.min(rows - first);
            for block in 0..blocks {
                let at = first * blocks + block * group + row % GROUP;
                (scales[at], sums[at]) = quantize_block(s, &x[row * blocks + block], &mut values[at]);
            }
        }
        QuantizedRows { values, scales, sums, blocks }
    }
}

/// Returns scale and sum of the values.
#[inline(always)]
fn quantize_block<S: Simd>(s: S, x: &[f32; BLOCK], values: &mut [i8; BLOCK]) -> (f32, f32) {
    let zero = s.splat(0.0);
    let (mut largest, mut fault) = (zero, zero);
    let parts = x.as_chunks::<LANES>().0;
    for part in parts {
        let v = s.load(part);
        largest = s.max(s.max(v, s.sub(zero, v)), largest);
        fault = s.fma(v, zero, fault); // zero times a value that is not finite is NaN
    }
    let largest = s.largest(largest);
    let scale = largest / 127.0 + s.sum(fault);
    // Below this the inverse overflows; such a block is as good as zero.
    let inverse = s.splat(if largest > 1e-36 { 127.0 / largest } else { 0.0 });
    let mut sum = zero;
    for part in 0..parts.len() {
        let rounded = s.round(s.mul(s.load(&parts[part]), inverse));
        sum = s.add(sum, rounded);
        let lanes = s.lanes(rounded);
        for lane in 0..LANES {
            values[part * LANES + lane] = lanes[lane] as i8;
        }
    }
    (scale, s.sum(sum))
}

#[cfg(test)]
mod tests {
    use super::super::simd::Plain;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_quantised_alike_alone_and_in_a_batch(
            rows in 1usize..40, blocks in 1usize..4, seed in any::<u64>(),
        ) {
            let width = blocks * BLOCK;
            let x = super::super::testing::normals(rows * width, seed);
            let batch = QuantizedRows::new(&x, width);
            let plain = Quantize { x: &x, width }.run(Plain);
            prop_assert_eq!(&batch.values, &plain.values);
            prop_assert_eq!(&batch.scales, &plain.scales);
            prop_assert_eq!(&batch.sums, &plain.sums);
            for (index, row) in x.chunks(width).enumerate() {
                let alone = QuantizedRows::new(row, width);
                let group = batch.group(index / GROUP);
                for block in 0..blocks {
                    let at = block * group.rows + index % GROUP;
                    prop_assert_eq!(group.values[at], alone.values[block]);
                    prop_assert_eq!(group.scales[at].to_bits(), alone.scales[block].to_bits());
                    prop_assert_eq!(group.sums[at], alone.sums[block]);
                }
            }
        }

        #[test]
        fn a_value_is_off_by_at_most_half_a_scale(x in prop::array::uniform32(-1e4f32..1e4)) {
            let quantized = QuantizedRows::new(&x, BLOCK);
            for (x, &q) in x.iter().zip(&quantized.values[0]) {
                prop_assert!((x - quantized.scales[0] * f32::from(q)).abs() <= quantized.scales[0] * 0.5001);
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_gives_a_nan_scale() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; BLOCK];
            x[3] = bad;
            assert!(QuantizedRows::new(&x, BLOCK).scales[0].is_nan());
        }
        assert_eq!(QuantizedRows::new(&[0.0; BLOCK], BLOCK).scales[0], 0.0);
    }
}
