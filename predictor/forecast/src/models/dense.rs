//! Plain feed-forward networks for the serving path, over one row or many; equal rows give equal bits.

use anyhow::ensure;

use super::head::BINS;
use super::product::{PANEL, Panel, Product};
use super::weights::Weights;
use crate::features::FeatureRow;

/// Standardised inputs are cut here, in standard deviations: a forecast must not hang on one outlandish number.
const FARTHEST: f32 = 5.0;

/// Picks columns of a row and brings them to mean 0 and standard deviation 1; what is not known (NaN) to 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standardiser {
    /// Which inputs, ascending.
    pub columns: Vec<u32>,
    /// Their means over the training rows.
    pub mean: Vec<f32>,
    /// One over their standard deviations; 0 for a column that never varied, which tells nothing.
    pub scale: Vec<f32>,
}

impl Standardiser {
    /// Over weighted rows of [`FeatureRow::INPUTS`] numbers each.
    pub(crate) fn fit<'a>(columns: Vec<u32>, rows: &(impl Iterator<Item = (&'a [f32], f32)> + Clone)) -> Self {
        let moments = columns.iter().map(|column| {
            let known = || {
                rows.clone()
                    .map(|(row, w)| (f64::from(row[*column as usize]), f64::from(w)))
                    .filter(|(x, _)| !x.is_nan())
            };
            let weight = known().map(|(_, w)| w).sum::<f64>().max(f64::MIN_POSITIVE);
            let mean = known().map(|(x, w)| x * w / weight).sum::<f64>();
            (mean, known().map(|(x, w)| (x - mean).powi(2) * w / weight).sum::<f64>())
        });
        let (mean, variance): (Vec<f64>, Vec<f64>) = moments.unzip();
        let scale = mean.iter().zip(&variance).map(|(mean, variance)| {
            let spread = variance.sqrt();
            // Below single precision it is rounding.
            if spread > 1e-6 * mean.abs().max(1e-3) { (1.0 / spread) as f32 } else { 0.0 }
        });
        Self { scale: scale.collect(), mean: mean.into_iter().map(|mean| mean as f32).collect(), columns }
    }

    /// Puts itself among the tensors of an artifact, under names that begin with `name`.
    pub(crate) fn write(&self, name: &str, weights: &mut Weights) {
        let columns: Vec<f32> = self.columns.iter().map(|column| *column as f32).collect();
        for (part, values) in [("columns", &columns), ("mean", &self.mean), ("scale", &self.scale)] {
            weights.put(format!("{name}.{part}"), &[values.len()], values);
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// When a tensor is missing, or names a column that rows do not have.
    pub(crate) fn read(name: &str, weights: &Weights) -> anyhow::Result<Self> {
        let (_, columns) = weights.get(&format!("{name}.columns"))?;
        ensure!(
            columns.iter().all(|column| (0.0..FeatureRow::INPUTS as f32).contains(column))
                && columns.is_sorted_by(|a, b| a < b),
            "tensor {name}.columns: must name columns below {}, in order",
            FeatureRow::INPUTS
        );
        let width = columns.len();
        Ok(Self {
            columns: columns.into_iter().map(|column| column as u32).collect(),
            mean: weights.get_shaped(&format!("{name}.mean"), &[width])?,
            scale: weights.get_shaped(&format!("{name}.scale"), &[width])?,
        })
    }

    /// The inputs that a network sees of `inputs`.
    pub(crate) fn apply(&self, inputs: &[f32], out: &mut Vec<f32>) {
        out.clear();
        self.extend(inputs, out);
    }

    /// Appends what a network sees of `inputs`.
    fn extend(&self, inputs: &[f32], out: &mut Vec<f32>) {
        let parameters = self.mean.iter().zip(&self.scale);
        let standard = |x: f32, (mean, scale): (&f32, &f32)| {
            let x = ((x - mean) * scale).clamp(-FARTHEST, FARTHEST);
            if x.is_nan() { 0.0 } else { x }
        };
        // Without looking up each input this is vector code.
        if self.columns.len() == inputs.len() {
            out.extend(inputs.iter().zip(parameters).map(|(x, parameters)| standard(*x, parameters)));
        } else {
            let chosen = self.columns.iter().map(|column| inputs[*column as usize]);
            out.extend(chosen.zip(parameters).map(|(x, parameters)| standard(x, parameters)));
        }
    }
}

/// An affine map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dense {
    inputs: usize,
    outputs: usize,
    /// Padded with zeros, as is the bias.
    panels: Vec<Panel>,
    bias: Vec<[f32; PANEL]>,
}

impl Dense {
    /// With `weights` by input, then by output, and one `bias` per output.
    pub(crate) fn new(weights: &[f32], bias: &[f32]) -> Self {
        let rows = weights.chunks_exact(bias.len().max(1));
        let inputs = rows.len();
        let mut panels = vec![vec![[0.0; PANEL]; inputs]; bias.len().div_ceil(PANEL)];
        for (k, row) in rows.enumerate() {
            for (panel, weights) in panels.iter_mut().zip(row.chunks(PANEL)) {
                panel[k][..weights.len()].copy_from_slice(weights);
            }
        }
        let mut padded = vec![[0.0; PANEL]; panels.len()];
        padded.as_flattened_mut()[..bias.len()].copy_from_slice(bias);
        Self { inputs, outputs: bias.len(), panels, bias: padded }
    }

    /// By input, then by output.
    pub(crate) fn weights(&self) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.inputs * self.outputs);
        for k in 0..self.inputs {
            let row = self.panels.iter().flat_map(|panel| panel[k]);
            weights.extend(row.take(self.outputs));
        }
        weights
    }

    /// One per output.
    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias.as_flattened()[..self.outputs]
    }

    /// The outputs for `rows` of `stride` numbers, of which the first are the inputs; gives the stride of `out`.
    pub(crate) fn apply(&self, rows: &[f32], stride: usize, out: &mut Vec<f32>) -> usize {
        let width = self.panels.len() * PANEL;
        out.clear();
        out.resize(rows.len() / stride * width, 0.0);
        Product { rows, stride, panels: &self.panels, bias: &self.bias, out }.compute();
        width
    }
}

/// A network with rectified hidden layers that scores the bins of the [`head`](super::head).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Perceptron {
    /// What it sees.
    pub inputs: Standardiser,
    /// From first to last.
    pub layers: Vec<Dense>,
}

impl Perceptron {
    /// The score of each bin, for each row.
    pub(crate) fn scores<'a>(
        &self,
        rows: impl ExactSizeIterator<Item = &'a [f32; FeatureRow::INPUTS]>,
    ) -> Vec<[f32; BINS]> {
        let mut stride = self.inputs.columns.len();
        let (mut x, mut y) = (Vec::with_capacity(rows.len() * stride), vec![]);
        rows.for_each(|row| self.inputs.extend(row, &mut x));
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x.iter_mut().for_each(|x| *x = x.max(0.0));
            }
            stride = layer.apply(&x, stride, &mut y);
            std::mem::swap(&mut x, &mut y);
        }
        let bins = |row: &[f32]| std::array::from_fn(|k| row[k]);
        x.chunks_exact(stride).map(bins).collect()
    }

    /// Puts itself among the tensors of an artifact, under names that begin with `name`.
    pub(crate) fn write(&self, name: &str, weights: &mut Weights) {
        self.inputs.write(&format!("{name}.inputs"), weights);
        for (i, layer) in self.layers.iter().enumerate() {
            weights.put_half(format!("{name}.{i}.weights"), &[layer.inputs, layer.outputs], &layer.weights());
            weights.put_half(format!("{name}.{i}.bias"), &[layer.outputs], layer.bias());
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// When a tensor is missing or has a shape that does not fit.
    pub(crate) fn read(name: &str, weights: &Weights) -> anyhow::Result<Self> {
        let inputs = Standardiser::read(&format!("{name}.inputs"), weights)?;
        let (mut layers, mut width) = (vec![], inputs.columns.len());
        while layers.is_empty() || weights.contains(&format!("{name}.{}.bias", layers.len())) {
            let i = layers.len();
            let bias = weights.get(&format!("{name}.{i}.bias"))?.1;
            let weights = weights.get_shaped(&format!("{name}.{i}.weights"), &[width, bias.len()])?;
            ensure!(width > 0 && !bias.is_empty(), "tensor {name}.{i}.weights: is empty");
            width = bias.len();
            layers.push(Dense::new(&weights, &bias));
        }
        ensure!(width == BINS, "tensor {name}.{}.bias: must have {BINS} numbers, has {width}", layers.len() - 1);
        Ok(Self { inputs, layers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_layer_keeps_its_weights_and_multiplies_by_them() {
        let (inputs, outputs) = (7, 21);
        let weights: Vec<f32> = (0..inputs * outputs).map(|i| i as f32).collect();
        let bias: Vec<f32> = (0..outputs).map(|j| 0.5 - j as f32).collect();
        let layer = Dense::new(&weights, &bias);
        assert_eq!((layer.weights(), layer.bias()), (weights.clone(), &bias[..]));
        let x: Vec<f32> = (0..inputs).map(|i| i as f32 - 2.5).collect();
        let mut y = vec![];
        assert_eq!(layer.apply(&x, inputs, &mut y), PANEL);
        for j in 0..outputs {
            let sum: f32 = (0..inputs).map(|i| x[i] * weights[i * outputs + j]).sum();
            assert!((y[j] - sum - bias[j]).abs() < 1e-3);
        }
    }

    #[test]
    fn a_column_that_never_varied_in_training_says_nothing_later() {
        let rows = [[3.0f32, 1.0], [3.0, 2.0], [3.0, 4.0]];
        let standardiser = Standardiser::fit(vec![0, 1], &rows.iter().map(|row| (&row[..], 1.0)));
        let mut out = vec![];
        standardiser.apply(&[99.0, 2.0], &mut out);
        assert_eq!(out[0], 0.0);
        standardiser.apply(&[3.0, 1e30], &mut out);
        assert_eq!(out[1], FARTHEST);
    }

    #[test]
    fn a_network_comes_back_from_its_tensors() {
        let inputs = Standardiser { columns: vec![4, 290], mean: vec![0.5, 1.0], scale: vec![1.0, 2.0] };
        let layers = vec![Dense::new(&[0.25; 6], &[1.0; 3]), Dense::new(&[-0.5; 3 * BINS], &[0.125; BINS])];
        let network = Perceptron { inputs, layers };
        let mut weights = Weights::default();
        network.write("net", &mut weights);
        assert_eq!(Perceptron::read("net", &weights).unwrap(), network);
        for (name, shape, reason) in [
            ("net.0.weights", vec![3, 2], "net.0.weights: must have the shape [2, 3]"),
            ("net.1.bias", vec![6], "net.1.weights: must have the shape"),
            ("net.inputs.columns", vec![6], "must name columns below"),
        ] {
            let mut damaged = weights.clone();
            damaged.put(name, &shape, &[1e9; 6]);
            let error = Perceptron::read("net", &damaged).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
