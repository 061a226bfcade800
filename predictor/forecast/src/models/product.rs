//! The product of rows and a weight matrix, vectorised for the machine it runs on.
//!
//! Each output is the sum of its bias and its products in the order of the inputs, each product and sum rounded once (fused
//! multiply-add): so a row gives the same bits alone or among others, and on any machine.

use pulp::{Arch, Simd, WithSimd};

/// Outputs that are computed together; their weights lie side by side.
pub(crate) const PANEL: usize = 32;
/// Rows that share a load of weights: with [`VECTORS`] of sums each, as many as 16 registers allow.
const ROWS: usize = 6;
const VECTORS: usize = 2;

/// The weights of [`PANEL`] outputs, by input.
pub(crate) type Panel = Vec<[f32; PANEL]>;

/// Rows times weights.
pub(crate) struct Product<'a> {
    /// The rows, `stride` numbers each, of which the first are the inputs.
    pub rows: &'a [f32],
    /// At least the number of inputs, and not 0.
    pub stride: usize,
    /// The weights.
    pub panels: &'a [Panel],
    /// What sums begin with, one for each panel.
    pub bias: &'a [[f32; PANEL]],
    /// As many rows of outputs, [`PANEL`] numbers for each panel.
    pub out: &'a mut [f32],
}

impl Product<'_> {
    /// Fills `out`.
    pub(crate) fn compute(self) {
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { rows, stride, panels, bias, out } = self;
        let (count, width) = (rows.len() / stride, panels.len() * PANEL);
        for (p, (panel, bias)) in panels.iter().zip(bias).enumerate() {
            let mut first = 0;
            while first < count {
                if count < ROWS {
                    let (x, y) = (&rows[first * stride..], &mut out[first * width + p * PANEL..]);
                    tile::<S, 1>(simd, x, stride, panel, bias, y, width);
                    first += 1;
                } else {
                    // The last rows are taken together with some that are done, which get the same bits again.
                    let start = first.min(count - ROWS);
                    let (x, y) = (&rows[start * stride..], &mut out[start * width + p * PANEL..]);
                    tile::<S, ROWS>(simd, x, stride, panel, bias, y, width);
                    first = start + ROWS;
                }
            }
        }
    }
}

/// `R` rows times one panel.
#[inline(always)]
fn tile<S: Simd, const R: usize>(
    simd: S,
    rows: &[f32],
    stride: usize,
    panel: &Panel,
    bias: &[f32; PANEL],
    out: &mut [f32],
    width: usize,
) {
    for at in (0..PANEL / S::F32_LANES).step_by(VECTORS) {
        vectors::<S, R>(simd, rows, stride, panel, bias, out, width, at);
    }
}

/// `R` rows times [`VECTORS`] of a panel, from vector `at` on.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a loop nest that is inlined")]
fn vectors<S: Simd, const R: usize>(
    simd: S,
    rows: &[f32],
    stride: usize,
    panel: &Panel,
    bias: &[f32; PANEL],
    out: &mut [f32],
    width: usize,
    at: usize,
) {
    let bias = S::as_simd_f32s(bias).0;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &rows[r * stride..][..panel.len()]);
    let mut sums: [[S::f32s; VECTORS]; R] = [std::array::from_fn(|v| bias[at + v]); R];
    // By index: iterators that are not inlined here would have all sums leave their registers.
    for (k, weights) in panel.iter().enumerate() {
        let weights = &S::as_simd_f32s(weights).0[at..at + VECTORS];
        for r in 0..R {
            let x = simd.splat_f32s(rows[r][k]);
            for v in 0..VECTORS {
                sums[r][v] = simd.mul_add_f32s(x, weights[v], sums[r][v]);
            }
        }
    }
    for r in 0..R {
        let out = S::as_mut_simd_f32s(&mut out[r * width..][..PANEL]).0;
        out[at..at + VECTORS].copy_from_slice(&sums[r]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn outputs_are_plain_sums_bit_for_bit_whatever_the_number_of_rows(
            (count, inputs, panels) in (1usize..20, 1usize..40, 1usize..4), seed in any::<u64>(),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let stride = inputs + random.usize(..3);
            let mut number = || random.f32() * 4.0 - 2.0;
            let rows: Vec<f32> = (0..count * stride).map(|_| number()).collect();
            let weights: Vec<Panel> =
                (0..panels).map(|_| (0..inputs).map(|_| std::array::from_fn(|_| number())).collect()).collect();
            let bias: Vec<[f32; PANEL]> = (0..panels).map(|_| std::array::from_fn(|_| number())).collect();
            let mut out = vec![0.0; count * panels * PANEL];
            Product { rows: &rows, stride, panels: &weights, bias: &bias, out: &mut out }.compute();
            for (i, y) in out.iter().enumerate() {
                let (row, panel, j) = (i / (panels * PANEL), i / PANEL % panels, i % PANEL);
                let x = &rows[row * stride..][..inputs];
                let sum = x.iter().zip(&weights[panel]).fold(bias[panel][j], |sum, (x, w)| x.mul_add(w[j], sum));
                prop_assert_eq!(y.to_bits(), sum.to_bits());
            }
        }
    }
}
