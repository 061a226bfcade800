//! Activations in 8 bits: blocks of 32 with one `f32` scale, as llama.cpp's Q8_0 and Q8_1 do (there with a 16-bit scale).

use super::int8::BLOCK;
use super::simd::{Kernel, LANES, Simd, dispatch};

/// Rows that a matrix kernel takes at a time.
pub(crate) const GROUP: usize = 8;

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

    pub(crate) fn groups(&self) -> impl Iterator<Item = RowGroup<'_>> {
        let chunk = self.blocks.max(1) * GROUP;
        self.values
            .chunks(chunk)
            .zip(self.scales.chunks(chunk))
            .zip(self.sums.chunks(chunk))
            .map(|((values, scales), sums)| RowGroup { values, scales, sums, rows: values.len() / self.blocks })
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
        let total = x.len() / BLOCK;
        let mut values = vec![[0; BLOCK]; total];
        let (mut scales, mut sums) = (vec![0.0; total], vec![0.0; total]);
        let blocks = width / BLOCK;
        for (group_index, group) in x.chunks((width * GROUP).max(1)).enumerate() {
            let rows = group.len() / width;
            for (row, x) in group.chunks_exact(width).enumerate() {
                for (block, x) in x.as_chunks::<BLOCK>().0.iter().enumerate() {
                    let at = group_index * GROUP * blocks + block * rows + row;
                    (scales[at], sums[at]) = quantize_block(s, x, &mut values[at]);
                }
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
    for part in x.as_chunks::<LANES>().0 {
        let v = s.load(part);
        largest = s.max(s.max(v, s.sub(zero, v)), largest);
        fault = s.fma(v, zero, fault); // zero times a value that is not finite is NaN
    }
    let largest = s.largest(largest);
    let scale = largest / 127.0 + s.sum(fault);
    // Below this the inverse overflows; such a block is as good as zero.
    let inverse = s.splat(if largest > 1e-36 { 127.0 / largest } else { 0.0 });
    let mut sum = zero;
    for (part, out) in x.as_chunks::<LANES>().0.iter().zip(values.as_chunks_mut::<LANES>().0) {
        let rounded = s.round(s.mul(s.load(part), inverse));
        sum = s.add(sum, rounded);
        *out = s.lanes(rounded).map(|v| v as i8);
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
                let group = batch.groups().nth(index / GROUP).unwrap();
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
