//! `transformer`: causal attention over the last steps, with the keys and values of these kept, so that a step costs the same
//! at any length.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear, linear_no_bias, ops};

use super::sequence::{Core, Parameter, WIDTH};

const LAYERS: usize = 2;
const HEADS: usize = 4;
const HEAD_WIDTH: usize = WIDTH / HEADS;
/// Steps that each layer looks at, the present one included.
const WINDOW: usize = 32;
/// Of these, how many came before.
const PAST: usize = WINDOW - 1;

/// Layer normalisation of single operations, since candle-nn's `LayerNorm` has no gradient and gives none to what comes before it.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: vb.get(WIDTH, "weight")?, bias: vb.get(WIDTH, "bias")? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}

struct Layer {
    norms: [Norm; 2],
    queries_keys_values: Linear,
    out: Linear,
    /// Added to the scores, by head and by how many steps ago (Raffel et al., JMLR 21, 2020, without buckets).
    bias: Tensor,
    up: Linear,
    down: Linear,
}

/// Pre-norm layers of attention and feed-forward networks.
pub struct Transformer {
    layers: Vec<Layer>,
    norm: Norm,
}

/// Its parameters.
pub fn parameters() -> Vec<Parameter> {
    let mut all = vec![("norm.weight".to_owned(), vec![WIDTH]), ("norm.bias".to_owned(), vec![WIDTH])];
    for i in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| all.push((format!("{i}.{name}"), shape.to_vec()));
        for norm in ["norm0", "norm1"] {
            add(&format!("{norm}.weight"), &[WIDTH]);
            add(&format!("{norm}.bias"), &[WIDTH]);
        }
        add("qkv.weight", &[3 * WIDTH, WIDTH]);
        add("out.weight", &[WIDTH, WIDTH]);
        add("relative_bias", &[HEADS, WINDOW]);
        for (name, rows, columns) in [("up", 2 * WIDTH, WIDTH), ("down", WIDTH, 2 * WIDTH)] {
            add(&format!("{name}.weight"), &[rows, columns]);
            add(&format!("{name}.bias"), &[rows]);
        }
    }
    all
}

impl Transformer {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(vb: &VarBuilder<'_>) -> Result<Self> {
        let layer = |i: usize| {
            let vb = vb.pp(i);
            Ok(Layer {
                norms: [Norm::new(&vb.pp("norm0"))?, Norm::new(&vb.pp("norm1"))?],
                queries_keys_values: linear_no_bias(WIDTH, 3 * WIDTH, vb.pp("qkv"))?,
                out: linear_no_bias(WIDTH, WIDTH, vb.pp("out"))?,
                bias: vb.get((HEADS, WINDOW), "relative_bias")?,
                up: linear(WIDTH, 2 * WIDTH, vb.pp("up"))?,
                down: linear(2 * WIDTH, WIDTH, vb.pp("down"))?,
            })
        };
        let layers = (0..LAYERS).map(layer).collect::<Result<_>>()?;
        Ok(Self { layers, norm: Norm::new(&vb.pp("norm"))? })
    }
}

/// Which of the kept and new steps a new one looks at: (how many steps ago, what to add to its score) for `steps` x
/// `PAST + steps` pairs. Of the kept, only the last `known` were ever seen.
fn pairs(steps: usize, known: usize) -> (Vec<u32>, Vec<f32>) {
    let mut ago = vec![];
    let mut mask = vec![];
    for query in PAST..PAST + steps {
        for key in 0..PAST + steps {
            let seen = key <= query && query - key < WINDOW && key + known >= PAST;
            ago.push(if seen { (query - key) as u32 } else { 0 });
            mask.push(if seen { 0.0 } else { f32::NEG_INFINITY });
        }
    }
    (ago, mask)
}

impl Layer {
    /// New steps `[batch, steps, WIDTH]` after kept keys and values `[batch, PAST, WIDTH]`.
    fn forward(&self, x: &Tensor, kept: &[Tensor], pairs: &[Tensor; 2]) -> Result<(Tensor, [Tensor; 2])> {
        let (batch, steps, _) = x.dims3()?;
        let projected = self.queries_keys_values.forward(&self.norms[0].forward(x)?)?.chunk(3, D::Minus1)?;
        let keys = Tensor::cat(&[&kept[0], &projected[1]], 1)?;
        let values = Tensor::cat(&[&kept[1], &projected[2]], 1)?;
        let heads = |t: &Tensor| {
            let length = t.dim(1)?;
            t.reshape((batch, length, HEADS, HEAD_WIDTH))?.transpose(1, 2)?.contiguous()
        };
        let scores = heads(&projected[0])?.matmul(&heads(&keys)?.transpose(2, 3)?.contiguous()?)?;
        let scores = (scores / (HEAD_WIDTH as f64).sqrt())?;
        let bias = self.bias.index_select(&pairs[0], 1)?.reshape((1, HEADS, steps, PAST + steps))?;
        let scores = scores.broadcast_add(&bias)?.broadcast_add(&pairs[1])?;
        let attended = ops::softmax(&scores, 3)?.matmul(&heads(&values)?)?;
        let attended = attended.transpose(1, 2)?.reshape((batch, steps, WIDTH))?;
        let x = (x + self.out.forward(&attended)?)?;
        let x = (&x + self.down.forward(&self.up.forward(&self.norms[1].forward(&x)?)?.relu()?)?)?;
        let last = |t: Tensor| t.narrow(1, steps, PAST)?.contiguous();
        Ok((x, [last(keys)?, last(values)?]))
    }
}

impl Core for Transformer {
    /// How many steps there were, up to `PAST`; then keys and values of each layer, the latest last.
    fn state_shapes(&self) -> Vec<Vec<usize>> {
        let mut shapes = vec![vec![1]];
        shapes.extend(vec![vec![PAST, WIDTH]; 2 * LAYERS]);
        shapes
    }

    fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let count = steps.dim(1)?;
        let known = state[0].flatten_all()?.max(0)?.to_scalar::<f32>()? as usize;
        let (ago, mask) = pairs(count, known);
        let pairs = [
            Tensor::from_vec(ago, count * (PAST + count), &Device::Cpu)?,
            Tensor::from_vec(mask, (1, 1, count, PAST + count), &Device::Cpu)?,
        ];
        let mut x = steps.clone();
        let mut after = vec![Tensor::full((known + count).min(PAST) as f32, state[0].shape(), &Device::Cpu)?];
        for (layer, kept) in self.layers.iter().zip(state[1..].chunks_exact(2)) {
            let (next, kept) = layer.forward(&x, kept, &pairs)?;
            x = next;
            after.extend(kept);
        }
        Ok((self.norm.forward(&x)?, after))
    }
}
