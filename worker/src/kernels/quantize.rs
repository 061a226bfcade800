//! Activations in 8 bits: blocks of 32 with one `f32` scale, as llama.cpp's Q8_0 and Q8_1 do (there with a 16-bit scale), but for a
//! few outliers of each row, which stay exact: a transformer has few large features, and each would cost the others of its block
//! their precision (Dettmers et al. 2022, "LLM.int8()", <https://arxiv.org/abs/2208.07339>).

use super::int8::BLOCK;
use super::simd::{Kernel, LANES, Simd, dispatch};

/// Rows that a matrix kernel takes at a time.
pub(crate) const GROUP: usize = 16;

/// Outliers of a row: the largest magnitudes. On SmolLM2-135M two halve the error of log-probabilities and cost a product of 576
/// columns 5 % of its time; four cost 10 % and lower the error by another seventh.
pub(crate) const OUTLIERS: usize = 2;

/// An activation kept out of its block, where a zero takes its place.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outlier {
    /// Input feature.
    pub(crate) column: usize,
    pub(crate) x: f32,
}

/// Quantised rows, stored by groups of [`GROUP`] rows (the last may be smaller); in a group block by block, in a block row by row.
pub(crate) struct QuantizedRows {
    values: Vec<[i8; BLOCK]>,
    scales: Vec<f32>,
    sums: Vec<f32>,
    /// One entry a row.
    outliers: Vec<[Outlier; OUTLIERS]>,
    blocks: usize,
}

/// One group of rows: entry `block * rows + row` of each slice, entry `row` of `outliers`.
#[derive(Clone, Copy)]
pub(crate) struct RowGroup<'a> {
    /// Quantised activations, -127..=127.
    pub(crate) values: &'a [[i8; BLOCK]],
    /// Activation = scale * value, unless it is an outlier.
    pub(crate) scales: &'a [f32],
    /// Sum of a block's values.
    pub(crate) sums: &'a [f32],
    pub(crate) outliers: &'a [[Outlier; OUTLIERS]],
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
        let rows = (end - start) / self.blocks;
        RowGroup {
            values: &self.values[start..end],
            scales: &self.scales[start..end],
            sums: &self.sums[start..end],
            outliers: &self.outliers[index * GROUP..][..rows],
            rows,
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
        let mut outliers = vec![[Outlier::default(); OUTLIERS]; rows];
        let (mut rest, mut peaks) = (vec![[0.0; BLOCK]; blocks], vec![0.0; blocks]);
        for row in 0..rows {
            rest.copy_from_slice(&x[row * blocks..][..blocks]);
            outliers[row] = take_outliers(s, &mut rest, &mut peaks);
            let first = row - row % GROUP;
            let group = GROUP.min(rows - first);
            for block in 0..blocks {
                let at = first * blocks + block * group + row % GROUP;
                (scales[at], sums[at]) = quantize_block(s, &rest[block], peaks[block], &mut values[at]);
            }
        }
        QuantizedRows { values, scales, sums, outliers, blocks }
    }
}

/// Takes the largest magnitudes out of a row and writes the [`peak`] of each block without them.
#[inline(always)]
fn take_outliers<S: Simd>(s: S, row: &mut [[f32; BLOCK]], peaks: &mut [f32]) -> [Outlier; OUTLIERS] {
    for block in 0..row.len() {
        peaks[block] = peak(s, &row[block]);
    }
    let mut outliers = [Outlier::default(); OUTLIERS];
    for outlier in &mut outliers {
        let (mut largest, mut block) = (0.0, 0);
        for (at, &peak) in peaks.iter().enumerate() {
            if peak > largest {
                (largest, block) = (peak, at);
            }
        }
        if let Some(k) = row[block].iter().position(|x| x.abs() == largest) {
            *outlier = Outlier { column: block * BLOCK + k, x: std::mem::take(&mut row[block][k]) };
            peaks[block] = peak(s, &row[block]);
        }
    }
    outliers
}

/// Largest magnitude; NaN if a value is not finite, so that no outlier is taken and the fault stays in the block.
#[inline(always)]
fn peak<S: Simd>(s: S, x: &[f32; BLOCK]) -> f32 {
    let zero = s.splat(0.0);
    let (mut largest, mut fault) = (zero, zero);
    for part in x.as_chunks::<LANES>().0 {
        let v = s.load(part);
        largest = s.max(s.max(v, s.sub(zero, v)), largest);
        fault = s.fma(v, zero, fault); // zero times a value that is not finite is NaN
    }
    s.largest(largest) + s.sum(fault)
}

/// Returns scale and sum of the values.
#[inline(always)]
fn quantize_block<S: Simd>(s: S, x: &[f32; BLOCK], peak: f32, values: &mut [i8; BLOCK]) -> (f32, f32) {
    let parts = x.as_chunks::<LANES>().0;
    // Below this the inverse overflows; such a block is as good as zero.
    let inverse = s.splat(if peak > 1e-36 { 127.0 / peak } else { 0.0 });
    let mut sum = s.splat(0.0);
    for part in 0..parts.len() {
        let rounded = s.round(s.mul(s.load(&parts[part]), inverse));
        sum = s.add(sum, rounded);
        let lanes = s.lanes(rounded);
        for lane in 0..LANES {
            values[part * LANES + lane] = lanes[lane] as i8;
        }
    }
    (peak / 127.0, s.sum(sum))
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
            prop_assert_eq!(&batch.outliers, &plain.outliers);
            for (index, row) in x.chunks(width).enumerate() {
                let alone = QuantizedRows::new(row, width);
                let group = batch.group(index / GROUP);
                prop_assert_eq!(group.outliers[index % GROUP], alone.outliers[0]);
                for block in 0..blocks {
                    let at = block * group.rows + index % GROUP;
                    prop_assert_eq!(group.values[at], alone.values[block]);
                    prop_assert_eq!(group.scales[at].to_bits(), alone.scales[block].to_bits());
                    prop_assert_eq!(group.sums[at], alone.sums[block]);
                }
            }
        }

        #[test]
        fn the_largest_magnitudes_are_exact_and_the_others_off_by_half_a_scale_of_the_next_largest(
            x in prop::array::uniform32(-1e4f32..1e4),
        ) {
            let quantized = QuantizedRows::new(&x, BLOCK);
            let mut magnitudes = x.map(f32::abs);
            magnitudes.sort_by(|a, b| b.total_cmp(a));
            let scale = quantized.scales[0];
            prop_assert_eq!(scale, magnitudes[OUTLIERS] / 127.0);
            let mut got = quantized.values[0].map(|q| scale * f32::from(q));
            for outlier in quantized.outliers[0] {
                prop_assert_eq!(got[outlier.column], 0.0);
                prop_assert_eq!(outlier.x, x[outlier.column]);
                got[outlier.column] = outlier.x;
            }
            for (x, got) in x.iter().zip(got) {
                prop_assert!((x - got).abs() <= scale * 0.5001);
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
