//! The linear layer.

use crate::options::Compute;
use crate::{cpu, portable};
use candle_core::quantized::QTensor;
use candle_core::{Result, Tensor, bail};
use std::sync::Arc;

/// A linear layer without bias: `y = x Wᵀ`, where its weights are. Clones share the weights.
///
/// On the CPU an output row has the same bits whatever other rows are computed with it and however many threads there are.
#[derive(Clone)]
pub struct Linear(Kind);

#[derive(Clone)]
enum Kind {
    Cpu(Arc<cpu::Linear>),
    Portable(Arc<portable::Linear>),
}

impl Linear {
    /// Repacks a weight matrix `[out, in]`; the original is dropped.
    ///
    /// # Errors
    /// Where the weight is not a matrix with at least one element.
    pub fn new(weight: QTensor, compute: Compute) -> Result<Self> {
        Self::stack(&[weight], compute)
    }

    /// One layer from several matrices `[out_i, in]` over the same input, e.g. query, key and value: their output features
    /// follow each other. One call then costs one round of the thread pool.
    ///
    /// # Errors
    /// Where a weight is not a matrix with at least one element, or their input features differ.
    pub fn stack(weights: &[QTensor], compute: Compute) -> Result<Self> {
        let Some(Ok((_, in_features))) = weights.first().map(|w| w.shape().dims2()) else {
            bail!("linear: the weight must be a matrix [out, in]");
        };
        for weight in weights {
            let (rows, columns) = weight.shape().dims2()?;
            if columns != in_features || rows == 0 || columns == 0 {
                bail!("linear: weight {:?} must be a matrix [out, {in_features}] with elements", weight.shape());
            }
        }
        if !weights.iter().all(|weight| compute.has_kernels(&weight.device())) {
            let layer = portable::Linear::stack(weights, in_features, compute)?;
            return Ok(Self(Kind::Portable(Arc::new(layer))));
        }
        Ok(Self(Kind::Cpu(Arc::new(cpu::Linear::stack(weights, in_features, compute)?))))
    }

    /// `x` times the transposed weights: `[.., in]` to `[.., out]`, `f32` on the device of the weights, on the CPU contiguous.
    ///
    /// # Errors
    /// Where `x` is not so.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Kind::Cpu(layer) => layer.forward(x),
            Kind::Portable(layer) => layer.forward(x),
        }
    }

    /// Rows `ids` of the dequantised weights, `[ids, in]`: an embedding whose matrix is also the output layer is stored once.
    ///
    /// # Errors
    /// Where an id is not less than the number of output features.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        match &self.0 {
            Kind::Cpu(layer) => layer.embed(ids),
            Kind::Portable(layer) => layer.embed(ids),
        }
    }

    /// Length of an output row.
    #[must_use]
    pub fn out_features(&self) -> usize {
        match &self.0 {
            Kind::Cpu(layer) => layer.out_features(),
            Kind::Portable(layer) => layer.out_features(),
        }
    }

    /// Length of an input row.
    #[must_use]
    pub fn in_features(&self) -> usize {
        match &self.0 {
            Kind::Cpu(layer) => layer.in_features(),
            Kind::Portable(layer) => layer.in_features(),
        }
    }

    /// Bytes that the weights take.
    #[must_use]
    pub fn size_in_bytes(&self) -> usize {
        match &self.0 {
            Kind::Cpu(layer) => layer.size_in_bytes(),
            Kind::Portable(layer) => layer.size_in_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::ActivationInteger;
    use crate::pool::Pool;
    use crate::testing::normals;
    use candle_core::Device;
    use candle_core::quantized::GgmlDType;
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    const FORMATS: [GgmlDType; 12] = [
        GgmlDType::Q4_0,
        GgmlDType::Q4_1,
        GgmlDType::Q4K,
        GgmlDType::Q5_0,
        GgmlDType::Q6K,
        GgmlDType::Q8_0,
        GgmlDType::F16,
        GgmlDType::BF16,
        GgmlDType::F32,
        GgmlDType::Q5_1,
        GgmlDType::Q5K,
        GgmlDType::Q3K,
    ];

    fn quantized(out_features: usize, in_features: usize, dtype: GgmlDType, seed: u64) -> QTensor {
        let weights = normals(out_features * in_features, seed);
        QTensor::quantize(&Tensor::from_vec(weights, (out_features, in_features), &Device::Cpu).unwrap(), dtype)
            .unwrap()
    }

    fn rows_of(x: &[f32], width: usize) -> Tensor {
        Tensor::from_slice(x, (x.len() / width, width), &Device::Cpu).unwrap()
    }

    /// The sum of the products, and of their magnitudes.
    fn exact_product(row: &[f32], x: &[f32]) -> (f64, f64) {
        let products = row.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
        products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads(
            rows in 1usize..=40, out_features in 1usize..70, blocks in 1usize..4, format in 0..FORMATS.len(),
            threads in 1usize..4, seed in any::<u64>(),
        ) {
            let in_features = FORMATS[format].block_size().max(32) * blocks;
            let layer = Linear::new(quantized(out_features, in_features, FORMATS[format], seed), Compute::Quantized)?;
            let x = normals(rows * in_features, seed ^ 1);
            let Kind::Cpu(op) = &layer.0 else { panic!("not the kernel") };
            let batch = op.multiply(&x, &Pool::new(NonZeroUsize::new(threads).unwrap()));
            for (x, together) in x.chunks(in_features).zip(batch.chunks(out_features)) {
                let alone = layer.forward(&rows_of(x, in_features))?.flatten_all()?.to_vec1::<f32>()?;
                prop_assert_eq!(together, &alone);
            }
        }

        #[test]
        fn a_product_is_that_of_the_dequantised_weights(
            rows in 1usize..12, out_features in 1usize..70, blocks in 1usize..9, format in 0..FORMATS.len(), seed in any::<u64>(),
        ) {
            let in_features = FORMATS[format].block_size().max(32) * blocks;
            let weight = || quantized(out_features, in_features, FORMATS[format], seed);
            let x = rows_of(&normals(rows * in_features, seed ^ 1), in_features);
            let weights = weight().dequantize(&Device::Cpu)?.to_vec2::<f32>()?;
            for compute in [Compute::F32, Compute::Quantized] {
                let got = Linear::new(weight(), compute)?.forward(&x)?.to_vec2::<f32>()?;
                for (x, got) in x.to_vec2::<f32>()?.iter().zip(&got) {
                    for (row, &got) in weights.iter().zip(got) {
                        let (exact, size) = exact_product(row, x);
                        let tolerance = match compute {
                            Compute::Quantized => 0.03 * (in_features as f64).sqrt(),
                            // Rounding errors are relative to what is added up.
                            _ => 1e-6 * size,
                        };
                        prop_assert!((f64::from(got) - exact).abs() < tolerance, "{compute:?}: {got} for {exact}");
                    }
                }
            }
        }

        #[test]
        fn a_few_large_activations_cost_the_others_no_precision(
            out_features in 1usize..20, blocks in 1usize..9, format in 0..3usize, seed in any::<u64>(),
            large in prop::collection::vec((any::<prop::sample::Index>(), 1e2f32..1e4), 0..=i8::OUTLIERS),
        ) {
            let in_features = FORMATS[format].block_size() * blocks;
            let mut x = normals(in_features, seed ^ 1);
            let smallest_scale = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())) / 127.0;
            for (at, value) in large {
                x[at.index(in_features)] = value;
            }
            let weight = || quantized(out_features, in_features, FORMATS[format], seed);
            let rows = weight().dequantize(&Device::Cpu)?.to_vec2::<f32>()?;
            let got = Linear::new(weight(), Compute::Quantized)?.forward(&rows_of(&x, in_features))?;
            for (row, got) in rows.iter().zip(got.flatten_all()?.to_vec1::<f32>()?) {
                let (exact, size) = exact_product(row, &x);
                let weights = row.iter().map(|&w| f64::from(w.abs())).sum::<f64>();
                let tolerance = 0.5001 * f64::from(smallest_scale) * weights + 2e-6 * size;
                prop_assert!((f64::from(got) - exact).abs() < tolerance, "{got} for {exact}");
            }
        }

        #[test]
        fn stacked_layers_and_embeddings_are_those_of_their_parts(format in 0..FORMATS.len(), seed in any::<u64>()) {
            let parts = || [(11, FORMATS[format], 1), (8, FORMATS[format], 2), (5, GgmlDType::Q8_0, 3)];
            let part = |(rows, dtype, salt)| quantized(rows, 256, dtype, seed ^ salt);
            let x = rows_of(&normals(3 * 256, seed), 256);
            for compute in [Compute::F32, Compute::Quantized] {
                let stacked = Linear::stack(&parts().map(part), compute)?;
                let (got, ids) = (stacked.forward(&x)?, (0..24).collect::<Vec<u32>>());
                let embedded = stacked.embed(&ids)?;
                let mut start = 0;
                for description in parts() {
                    let rows = description.0;
                    let want = Linear::new(part(description), compute)?.forward(&x)?;
                    prop_assert_eq!(got.narrow(1, start, rows)?.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
                    let want = part(description).dequantize(&Device::Cpu)?;
                    prop_assert_eq!(embedded.narrow(0, start, rows)?.to_vec2::<f32>()?, want.to_vec2::<f32>()?);
                    start += rows;
                }
            }
        }
    }

    #[test]
    fn a_fault_in_the_input_is_not_hidden_by_quantisation() -> Result<()> {
        let layer = Linear::new(quantized(9, 32, GgmlDType::Q4_1, 1), Compute::Quantized)?;
        let mut x = normals(64, 2);
        x[40] = f32::NAN;
        let y = layer.forward(&rows_of(&x, 32))?.to_vec2::<f32>()?;
        assert!(y[0].iter().all(|y| y.is_finite()) && y[1].iter().all(|y| y.is_nan()));
        Ok(())
    }

    #[test]
    fn operands_that_do_not_match_are_refused() -> Result<()> {
        let layer = Linear::new(quantized(9, 32, GgmlDType::Q4_1, 1), Compute::Quantized)?;
        let error = layer.forward(&rows_of(&[0.0; 33], 33)).unwrap_err().to_string();
        assert!(error.contains("must be 32"), "{error}");
        let error = layer.embed(&[3, 9]).unwrap_err().to_string();
        assert!(error.contains("id 9"), "{error}");
        let pair = [quantized(9, 32, GgmlDType::Q4_1, 1), quantized(9, 64, GgmlDType::Q4_1, 1)];
        assert!(Linear::stack(&pair, Compute::F32).is_err());
        assert!(Linear::stack(&[], Compute::F32).is_err());
        Ok(())
    }
}
