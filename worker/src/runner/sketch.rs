//! A few numbers that stand for a hidden state: its projection on fixed random directions.
//!
//! Random projections keep distances and inner products up to a small distortion (Johnson and Lindenstrauss 1984), also with
//! directions of random signs (Achlioptas 2003, "Database-friendly random projections"), and whatever is linear in the hidden
//! state stays nearly so in its sketch. Ours are made orthonormal, so that no two tell the same. They depend on nothing but the
//! sizes: two workers with one model sketch alike.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use eoscast_proto::domain::limits;
use thiserror::Error;

use eoscast_kernels::{Compute, Linear, rms_norm};
use eoscast_model::TensorError;

/// Start of the random signs.
const SEED: u64 = 0x5EED_0F5C_E7C4;

/// Steps from one sketch of a sequence that is told to the next. Forecasts are nearly as good as with one at each step
/// (docs/evidence/forecast.md), for a quarter of its bytes.
const PERIOD: u32 = 4;

/// Whether the sketch at `step` of a sequence, counted from 1, is told. That of the prompt is.
pub fn is_told(step: u32) -> bool {
    step % PERIOD == 1
}

/// Steps a unit; hundredths are the shortest in decimal text. A sketch's numbers have about unit variance.
const STEPS: f32 = 100.0;

/// Keeps a state of zeros from giving NaN.
const EPS: f32 = 1e-6;

/// What to sketch, and how finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SketchOptions {
    /// Numbers in a sketch, at most [`limits::SKETCH`]; 0 for none; by default as many as there can be.
    pub dims: Option<usize>,
    /// Layer behind which the residual stream is read, counted from 1; by default two thirds of the way up.
    pub layer: Option<usize>,
}

/// Why a model's states cannot be sketched so.
#[derive(Debug, Error)]
pub enum SketchError {
    /// More than can be told, or than there are directions.
    #[error("--sketch-dims: must be at most {most}, got {dims}")]
    Dims {
        /// As asked for.
        dims: usize,
        /// The smaller of what an event may carry and the size of a hidden state.
        most: usize,
    },
    /// There is no such layer.
    #[error("--sketch-layer: must be 1 to {layers}, got {layer}")]
    Layer {
        /// As asked for.
        layer: usize,
        /// Layers of the model.
        layers: usize,
    },
    /// The directions do not fit the device.
    #[error("sketch: {0}")]
    Tensor(TensorError),
}

/// Sketches hidden states.
pub(super) struct Sketch {
    layer: usize,
    /// Norm weight that changes nothing, `[hidden]`.
    ones: Tensor,
    /// `[dims, hidden]`.
    directions: Linear,
}

impl Sketch {
    /// For a model of `layers` with hidden states of `hidden` numbers on `device`; `None` for sketches of no numbers.
    pub(super) fn new(
        options: SketchOptions,
        layers: usize,
        hidden: usize,
        device: &Device,
    ) -> std::result::Result<Option<Self>, SketchError> {
        let SketchOptions { dims, layer } = options;
        let layer = layer.unwrap_or((2 * layers).div_ceil(3));
        let most = limits::SKETCH.min(hidden);
        let dims = dims.unwrap_or(most);
        if dims > most {
            return Err(SketchError::Dims { dims, most });
        }
        if layer == 0 || layer > layers {
            return Err(SketchError::Layer { layer, layers });
        }
        if dims == 0 {
            return Ok(None);
        }
        let tensors = || -> Result<(Tensor, Linear)> {
            let rows = directions(dims, hidden).concat();
            let weight = QTensor::quantize(&Tensor::from_vec(rows, (dims, hidden), device)?, GgmlDType::F32)?;
            Ok((Tensor::ones(hidden, DType::F32, device)?, Linear::new(weight, Compute::F32)?))
        };
        let (ones, directions) = tensors().map_err(|error| SketchError::Tensor(error.into()))?;
        Ok(Some(Self { layer, ones, directions }))
    }

    /// Layer whose states it takes.
    pub(super) fn layer(&self) -> usize {
        self.layer
    }

    /// The sketches of `states`, `[rows, hidden]`, one after the other. States are scaled to a mean square of 1 first, as the
    /// layers do that read them.
    pub(super) fn of(&self, states: &Tensor) -> Result<Vec<f32>> {
        let scaled = rms_norm(states, &self.ones, EPS)?;
        let mut sketches: Vec<f32> = self.directions.forward(&scaled)?.flatten_all()?.to_vec1()?;
        sketches.iter_mut().for_each(|value| *value = (*value * STEPS).round() / STEPS);
        Ok(sketches)
    }
}

/// `dims` orthonormal rows of `width` numbers, by Gram and Schmidt from rows of random signs; `dims` is at most `width`.
fn directions(dims: usize, width: usize) -> Vec<Vec<f32>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(dims);
    let mut signs = Signs(SEED);
    while rows.len() < dims {
        let mut row: Vec<f64> = (0..width).map(|_| signs.next_sign()).collect();
        // Twice is enough to be orthogonal up to rounding (Giraud et al. 2005).
        for other in rows.iter().chain(&rows) {
            let along: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
        // Signs that depend on the rows before, which few of them may do, are passed over.
        if norm > 1e-3 {
            row.iter_mut().for_each(|a| *a /= norm);
            rows.push(row);
        }
    }
    rows.into_iter().map(|row| row.into_iter().map(|a| a as f32).collect()).collect()
}

/// Top bits of SplitMix64 (Steele, Lea and Flood 2014).
struct Signs(u64);

impl Signs {
    fn next_sign(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        if (z ^ (z >> 31)) >> 63 == 0 { 1.0 } else { -1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(options: SketchOptions) -> std::result::Result<Option<Sketch>, SketchError> {
        Sketch::new(options, 30, 48, &Device::Cpu)
    }

    #[test]
    fn directions_are_orthonormal_even_as_many_as_there_can_be() {
        for (dims, width) in [(64, 576), (64, 64), (5, 5), (1, 1)] {
            let rows = directions(dims, width);
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows.iter().enumerate() {
                    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    let want = if i == j { 1.0 } else { 0.0 };
                    assert!((product - want).abs() < 1e-5, "{dims} x {width}: {i} {j} {product}");
                }
            }
        }
    }

    #[test]
    fn a_sketch_keeps_what_lies_along_its_directions_and_forgets_the_scale() {
        let sketch = sketch(SketchOptions { dims: Some(8), layer: None }).unwrap().unwrap();
        let state: Vec<f32> = directions(8, 48)[3].iter().map(|a| 7.0 * a).collect();
        let states = Tensor::from_vec(state, (1, 48), &Device::Cpu).unwrap();
        // A unit vector of 48 numbers has the length sqrt(48) once its mean square is 1.
        let want = [0.0, 0.0, 0.0, 6.93, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(sketch.of(&states).unwrap(), want);
        assert_eq!(sketch.of(&(states * 3.0).unwrap()).unwrap(), want);
    }

    #[test]
    fn the_default_layer_is_two_thirds_of_the_way_up() {
        assert_eq!(sketch(SketchOptions { dims: Some(1), layer: None }).unwrap().unwrap().layer(), 20);
    }

    #[test]
    fn a_model_whose_states_are_small_has_small_sketches_by_default() {
        let sketch = sketch(SketchOptions { dims: None, layer: None }).unwrap().unwrap();
        assert_eq!(sketch.of(&Tensor::ones((1, 48), DType::F32, &Device::Cpu).unwrap()).unwrap().len(), 48);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_range() {
        let error = |dims, layer| sketch(SketchOptions { dims: Some(dims), layer }).err().unwrap().to_string();
        assert!(error(49, None).contains("at most 48"));
        assert!(error(8, Some(31)).contains("1 to 30"));
        assert!(error(8, Some(0)).contains("1 to 30"));
        assert!(sketch(SketchOptions { dims: Some(0), layer: None }).unwrap().is_none());
    }
}
