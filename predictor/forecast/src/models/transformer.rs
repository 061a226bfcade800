//! `transformer`: causal attention over the last steps, with the keys and values of these kept, so that a step costs the same
//! at any length.

use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear_no_bias};

use super::attention::{HEADS, PAST_STEPS, WINDOW_STEPS, attend};
use super::forecaster::Forecaster;
use super::sequence::SequenceModel;
use super::sequence_core::{Architecture, Core, Parameter, WIDTH};
use super::weights::Weights;

const LAYERS: usize = 2;

/// Root mean square normalisation (Zhang and Sennrich, NeurIPS 2019) over `[.., WIDTH]`, without weights, as the linear layers
/// behind it have them. Of single operations, since candle-nn's norms have no gradient and give none to what comes before them.
fn normalise(x: &Tensor) -> Result<Tensor> {
    let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / WIDTH as f64)?;
    x.broadcast_div(&(mean + 1e-5)?.sqrt()?)
}

struct Layer {
    queries_keys_values: Linear,
    out: Linear,
    /// Of [`attend`].
    bias: Tensor,
    up: Linear,
    down: Linear,
}

/// Pre-norm layers of attention and feed-forward networks.
struct Transformer {
    layers: Vec<Layer>,
}

/// Its parameters.
fn parameters() -> Vec<Parameter> {
    let mut all = vec![];
    for i in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| all.push((format!("{i}.{name}"), shape.to_vec()));
        add("qkv.weight", &[3 * WIDTH, WIDTH]);
        add("out.weight", &[WIDTH, WIDTH]);
        add("relative_bias", &[HEADS, WINDOW_STEPS]);
        add("up.weight", &[2 * WIDTH, WIDTH]);
        add("down.weight", &[WIDTH, 2 * WIDTH]);
    }
    all
}

/// How its core is made.
pub(crate) const ARCHITECTURE: Architecture =
    Architecture { parameters, build: |vb| Ok(Box::new(Transformer::new(&vb)?)) };

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(SequenceModel::read(&ARCHITECTURE, weights)?))
}

impl Transformer {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    fn new(vb: &VarBuilder<'_>) -> Result<Self> {
        let layer = |i: usize| {
            let vb = vb.pp(i);
            Ok(Layer {
                queries_keys_values: linear_no_bias(WIDTH, 3 * WIDTH, vb.pp("qkv"))?,
                out: linear_no_bias(WIDTH, WIDTH, vb.pp("out"))?,
                bias: vb.get((HEADS, WINDOW_STEPS), "relative_bias")?,
                up: linear_no_bias(WIDTH, 2 * WIDTH, vb.pp("up"))?,
                down: linear_no_bias(2 * WIDTH, WIDTH, vb.pp("down"))?,
            })
        };
        Ok(Self { layers: (0..LAYERS).map(layer).collect::<Result<_>>()? })
    }
}

impl Layer {
    /// New steps `[batch, steps, WIDTH]` after kept keys and values `[batch, PAST_STEPS, 2 * WIDTH]`, of which `known` ever were.
    fn forward(&self, x: &Tensor, kept: &Tensor, known: usize) -> Result<(Tensor, Tensor)> {
        let projected = self.queries_keys_values.forward(&normalise(x)?)?;
        let attended = attend(&projected, kept, &self.bias, known)?;
        let x = (x + self.out.forward(&attended)?)?;
        let x = (&x + self.down.forward(&self.up.forward(&normalise(&x)?)?.relu()?)?)?;
        let new = projected.detach().narrow(2, WIDTH, 2 * WIDTH)?;
        let kept = Tensor::cat(&[kept, &new], 1)?.narrow(1, x.dim(1)?, PAST_STEPS)?.contiguous()?;
        Ok((x, kept))
    }
}

impl Core for Transformer {
    /// How many steps there were, up to `PAST_STEPS`; then keys and values of each layer, the latest last.
    fn state_shapes(&self) -> Vec<Vec<usize>> {
        let mut shapes = vec![vec![1]];
        shapes.extend(vec![vec![PAST_STEPS, 2 * WIDTH]; LAYERS]);
        shapes
    }

    fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let known = state[0].flatten_all()?.max(0)?.to_scalar::<f32>()? as usize;
        let after = (known + steps.dim(1)?).min(PAST_STEPS) as f32;
        let mut after = vec![Tensor::full(after, state[0].shape(), &Device::Cpu)?];
        let mut x = steps.clone();
        for (layer, kept) in self.layers.iter().zip(&state[1..]) {
            let (next, kept) = layer.forward(&x, kept, known)?;
            x = next;
            after.push(kept);
        }
        Ok((normalise(&x)?, after))
    }
}
