//! Activations in 8 or 16 bits: blocks of 32 with one `f32` scale, as llama.cpp's Q8_0 and Q8_1 do (there with a 16-bit scale). Of
//! those in 8 bits a few outliers of each row stay exact: a transformer has few large features, and each would cost the others of
//! its block their precision (Dettmers et al. 2022, "LLM.int8()", <https://arxiv.org/abs/2208.07339>).

use crate::pool::Pool;
use crate::simd::{BLOCK, Kernel, LANES, Simd, dispatch};
use std::marker::PhantomData;

/// Rows that a matrix kernel takes at a time: more would not leave it registers for the sums.
pub(crate) const GROUP_ROWS: usize = 8;

/// An activation kept out of its block, where a zero takes its place.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outlier {
    /// Input feature.
    pub(crate) column: usize,
    pub(crate) x: f32,
}

/// An integer type of activations.
pub(crate) trait ActivationInteger: Copy + Send + Sync {
    const LARGEST: f32;
    /// Outliers of a row: the largest magnitudes.
    const OUTLIERS: usize;
    /// Integral numbers of at most [`ActivationInteger::LARGEST`].
    fn pack<S: Simd>(simd: S, x: [S::F32; 4]) -> [Self; BLOCK];
}

/// On SmolLM2-135M two outliers halve the error of log-probabilities and cost a product of 576 columns 5 % of its time; four cost
/// 10 % and lower the error by another seventh.
impl ActivationInteger for i8 {
    const LARGEST: f32 = 127.0;
    const OUTLIERS: usize = 2;
    #[inline(always)]
    fn pack<S: Simd>(s: S, x: [S::F32; 4]) -> [i8; BLOCK] {
        s.pack_bytes(x)
    }
}

/// 14 bits and the sign: with weights of up to 4096 the sum over a block fits 32 bits.
impl ActivationInteger for i16 {
    const LARGEST: f32 = 16_383.0;
    const OUTLIERS: usize = 0;
    #[inline(always)]
    fn pack<S: Simd>(s: S, x: [S::F32; 4]) -> [i16; BLOCK] {
        s.pack_words(x)
    }
}

/// Quantised rows.
pub(crate) struct QuantizedRows<A> {
    /// [`GROUP_ROWS`] rows each; the last may have fewer.
    pub(crate) groups: Vec<RowGroup<A>>,
}

/// A few rows, stored block by block: entry `block * rows + row` of `values`, `scales` and `sums`.
pub(crate) struct RowGroup<A> {
    /// Quantised activations.
    pub(crate) values: Vec<[A; BLOCK]>,
    /// Activation = scale * value, unless it is an outlier.
    pub(crate) scales: Vec<f32>,
    /// Sum of a block's activations without the outliers.
    pub(crate) sums: Vec<f32>,
    /// [`ActivationInteger::OUTLIERS`] entries a row.
    pub(crate) outliers: Vec<Outlier>,
    /// Rows in the group, 1..=[`GROUP_ROWS`].
    pub(crate) rows: usize,
}

impl<A: ActivationInteger> QuantizedRows<A> {
    /// Quantises rows of `width` activations, a multiple of [`BLOCK`]. A row's result depends on that row alone; one with a
    /// value that is not finite gets a NaN scale, so that the fault shows in the product.
    pub(crate) fn new(x: &[f32], width: usize, pool: &Pool) -> Self {
        let groups: Vec<_> = x.chunks(GROUP_ROWS * width).collect();
        Self { groups: pool.map(groups.len(), |index| dispatch(Quantize::new(groups[index], width))) }
    }
}

struct Quantize<'a, A> {
    x: &'a [[f32; BLOCK]],
    /// Blocks of a row.
    blocks: usize,
    activation: PhantomData<A>,
}

impl<'a, A> Quantize<'a, A> {
    fn new(x: &'a [f32], width: usize) -> Self {
        Self { x: x.as_chunks().0, blocks: width / BLOCK, activation: PhantomData }
    }
}

impl<A: ActivationInteger> Kernel for Quantize<'_, A> {
    type Output = RowGroup<A>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> RowGroup<A> {
        let Self { x, blocks, .. } = self;
        let rows = x.len() / blocks;
        let zero = s.splat(0.0);
        let mut values = vec![A::pack(s, [zero; 4]); x.len()];
        let (mut scales, mut sums) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let mut outliers = Vec::with_capacity(rows * A::OUTLIERS);
        let (mut rest, mut peaks) = (vec![[0.0; BLOCK]; blocks], vec![0.0; blocks]);
        for row in 0..rows {
            rest.copy_from_slice(&x[row * blocks..][..blocks]);
            for block in 0..blocks {
                peaks[block] = peak(s, &rest[block]);
            }
            for _ in 0..A::OUTLIERS {
                outliers.push(take_outlier(s, &mut rest, &mut peaks));
            }
            for block in 0..blocks {
                let at = block * rows + row;
                (values[at], scales[at], sums[at]) = quantize_block(s, &rest[block], peaks[block]);
            }
        }
        RowGroup { values, scales, sums, outliers, rows }
    }
}

/// Takes the largest magnitude out of a row, whose blocks have the [`peak`]s given.
#[inline(always)]
fn take_outlier<S: Simd>(s: S, row: &mut [[f32; BLOCK]], peaks: &mut [f32]) -> Outlier {
    let (mut largest, mut block) = (0.0, 0);
    for (at, &peak) in peaks.iter().enumerate() {
        if peak > largest {
            (largest, block) = (peak, at);
        }
    }
    let Some(k) = row[block].iter().position(|x| x.abs() == largest) else {
        return Outlier::default();
    };
    let x = std::mem::take(&mut row[block][k]);
    peaks[block] = peak(s, &row[block]);
    Outlier { column: block * BLOCK + k, x }
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

/// Returns the values, their scale, and the sum of what they stand for.
#[inline(always)]
fn quantize_block<S: Simd, A: ActivationInteger>(s: S, x: &[f32; BLOCK], peak: f32) -> ([A; BLOCK], f32, f32) {
    let x = x.as_chunks::<LANES>().0;
    // Below this the inverse overflows; such a block is as good as zero.
    let inverse = s.splat(if peak > 1e-33 { A::LARGEST / peak } else { 0.0 });
    let mut rounded = [s.splat(0.0); 4];
    for part in 0..4 {
        rounded[part] = s.round(s.mul(s.load(&x[part]), inverse));
    }
    let sum = s.sum(s.add(s.add(rounded[0], rounded[1]), s.add(rounded[2], rounded[3])));
    let scale = peak / A::LARGEST;
    (A::pack(s, rounded), scale, scale * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Plain;
    use crate::testing::normals;
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    fn quantized<A: ActivationInteger>(x: &[f32], width: usize) -> QuantizedRows<A> {
        QuantizedRows::new(x, width, &Pool::new(NonZeroUsize::MIN))
    }

    fn check_rows<A: ActivationInteger + PartialEq + std::fmt::Debug>(
        rows: usize,
        blocks: usize,
        seed: u64,
    ) -> Result<(), TestCaseError> {
        let width = blocks * BLOCK;
        let x = normals(rows * width, seed);
        let batch = QuantizedRows::<A>::new(&x, width, &Pool::new(NonZeroUsize::MIN.saturating_add(1)));
        for (group, x) in batch.groups.iter().zip(x.chunks(GROUP_ROWS * width)) {
            let plain = Quantize::<A>::new(x, width).run(Plain);
            prop_assert_eq!(&group.values, &plain.values);
            prop_assert_eq!(&group.scales, &plain.scales);
            prop_assert_eq!(&group.sums, &plain.sums);
            prop_assert_eq!(&group.outliers, &plain.outliers);
            for (row, x) in x.chunks(width).enumerate() {
                let alone = &quantized::<A>(x, width).groups[0];
                prop_assert_eq!(&group.outliers[row * A::OUTLIERS..][..A::OUTLIERS], &alone.outliers);
                for block in 0..blocks {
                    let at = block * group.rows + row;
                    prop_assert_eq!(&group.values[at], &alone.values[block]);
                    prop_assert_eq!(group.scales[at].to_bits(), alone.scales[block].to_bits());
                    prop_assert_eq!(group.sums[at].to_bits(), alone.sums[block].to_bits());
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_row_is_quantised_alike_alone_and_in_a_batch(rows in 1usize..40, blocks in 1usize..4, seed in any::<u64>()) {
            check_rows::<i8>(rows, blocks, seed)?;
            check_rows::<i16>(rows, blocks, seed)?;
        }

        #[test]
        fn the_largest_magnitudes_are_exact_and_the_others_off_by_half_a_scale_of_the_next_largest(
            x in prop::array::uniform32(-1e4f32..1e4),
        ) {
            let quantized = &quantized::<i8>(&x, BLOCK).groups[0];
            let mut magnitudes = x.map(f32::abs);
            magnitudes.sort_by(|a, b| b.total_cmp(a));
            let scale = quantized.scales[0];
            prop_assert_eq!(scale, magnitudes[i8::OUTLIERS] / 127.0);
            let mut got = quantized.values[0].map(|q| scale * f32::from(q));
            for outlier in &quantized.outliers {
                prop_assert_eq!(got[outlier.column], 0.0);
                prop_assert_eq!(outlier.x, x[outlier.column]);
                got[outlier.column] = outlier.x;
            }
            for (x, got) in x.iter().zip(got) {
                prop_assert!((x - got).abs() <= scale * 0.5001);
            }
        }

        #[test]
        fn sixteen_bits_lose_next_to_nothing(x in prop::array::uniform32(-1e4f32..1e4)) {
            let quantized = &quantized::<i16>(&x, BLOCK).groups[0];
            let scale = quantized.scales[0];
            let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
            for (x, q) in x.iter().zip(quantized.values[0]) {
                prop_assert!((x - scale * f32::from(q)).abs() <= 3.2e-5 * largest);
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_gives_a_nan_scale() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; BLOCK];
            x[3] = bad;
            assert!(quantized::<i8>(&x, BLOCK).groups[0].scales[0].is_nan());
            assert!(quantized::<i16>(&x, BLOCK).groups[0].scales[0].is_nan());
        }
        assert_eq!(quantized::<i8>(&[0.0; BLOCK], BLOCK).groups[0].scales[0], 0.0);
    }
}
