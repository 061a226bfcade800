//! Causal attention of each step over a window of steps, as one operation with a gradient: scores of a whole sequence against
//! itself would be mostly outside of the window.

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};

use super::sequence_core::WIDTH;

/// Heads of attention.
pub(super) const HEADS: usize = 4;
const HEAD_WIDTH: usize = WIDTH / HEADS;
/// Steps that are looked at, the present one included.
pub(super) const WINDOW_STEPS: usize = 32;
/// Of these, how many came before.
pub(super) const PAST_STEPS: usize = WINDOW_STEPS - 1;

type Head = [f32; HEAD_WIDTH];

/// Attends from new steps to these and to those that were kept.
///
/// `new` `[batch, steps, 3 * WIDTH]` holds queries, keys and values, `kept` `[batch, PAST_STEPS, 2 * WIDTH]` keys and values of the
/// steps before, of which only the last `known` ever were; `bias` `[HEADS, WINDOW_STEPS]` is added to scores by how many steps ago
/// (Raffel et al., JMLR 21, 2020, without buckets). Gives `[batch, steps, WIDTH]`. `kept` has no gradient.
///
/// # Errors
/// When a tensor has another shape, or is not contiguous.
pub(super) fn attend(new: &Tensor, kept: &Tensor, bias: &Tensor, known: usize) -> Result<Tensor> {
    new.apply_op3(kept, bias, Window { known })
}

struct Window {
    known: usize,
}

/// The heads of what a [`Window`] looks at.
struct View<'a> {
    new: &'a [Head],
    kept: &'a [Head],
    bias: &'a [[f32; WINDOW_STEPS]],
    steps: usize,
}

/// Part of a step's projections.
#[derive(Clone, Copy)]
enum Part {
    Query,
    Key,
    Value,
}

/// Where in all new steps the head of a step stands.
fn at(row: usize, part: Part, head: usize) -> usize {
    (3 * row + part as usize) * HEADS + head
}

impl View<'_> {
    /// Key or value of the step `ago` before a step of a request.
    fn past(&self, request: usize, step: usize, ago: usize, part: Part, head: usize) -> &Head {
        if ago <= step {
            &self.new[at(request * self.steps + step - ago, part, head)]
        } else {
            &self.kept[(2 * (request * PAST_STEPS + PAST_STEPS + step - ago) + part as usize - 1) * HEADS + head]
        }
    }

    /// How much a step attends to each of the steps in its window, by how many steps ago; they sum to 1.
    fn weights(&self, request: usize, step: usize, head: usize, seen: usize) -> [f32; WINDOW_STEPS] {
        let query = &self.new[at(request * self.steps + step, Part::Query, head)];
        let mut weights = [0.0; WINDOW_STEPS];
        for (ago, weight) in weights[..seen].iter_mut().enumerate() {
            let key = self.past(request, step, ago, Part::Key, head);
            *weight = dot(query, key) * scale() + self.bias[head][ago];
        }
        let most = weights[..seen].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for weight in &mut weights[..seen] {
            *weight = (*weight - most).exp();
            sum += *weight;
        }
        for weight in &mut weights[..seen] {
            *weight /= sum;
        }
        weights
    }

    /// Each head of each step: request, step, head.
    fn heads(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let rows = 0..self.new.len() / (3 * HEADS);
        let steps = self.steps;
        rows.flat_map(move |row| (0..HEADS).map(move |head| (row / steps, row % steps, head)))
    }
}

/// Of scores, so that they do not grow with the width of a head.
fn scale() -> f32 {
    (HEAD_WIDTH as f32).sqrt().recip()
}

// Loops over a constant number of indices, which the compiler turns into a few vector instructions; it did not do so with
// iterators, and the first epoch took 38 s instead of 26.

fn dot(a: &Head, b: &Head) -> f32 {
    let mut sums = [0.0; 4];
    for i in 0..HEAD_WIDTH {
        sums[i % 4] += a[i] * b[i];
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}

/// `to += factor * from`.
fn add(to: &mut Head, factor: f32, from: &Head) {
    for i in 0..HEAD_WIDTH {
        to[i] += factor * from[i];
    }
}

impl Window {
    /// Steps in the window of a step: so many.
    fn seen(&self, step: usize) -> usize {
        WINDOW_STEPS.min(step + 1 + self.known)
    }
}

fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => bail!("attention over a window: a tensor is not contiguous"),
    }
}

impl CustomOp3 for Window {
    fn name(&self) -> &'static str {
        "attention over a window"
    }

    fn cpu_fwd(
        &self,
        new: &CpuStorage,
        new_layout: &Layout,
        kept: &CpuStorage,
        kept_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, steps, width) = new_layout.shape().dims3()?;
        if width != 3 * WIDTH
            || kept_layout.dims() != [batch, PAST_STEPS, 2 * WIDTH]
            || bias_layout.dims() != [HEADS, WINDOW_STEPS]
        {
            bail!(
                "{}: shapes {:?}, {:?}, {:?}",
                self.name(),
                new_layout.dims(),
                kept_layout.dims(),
                bias_layout.dims()
            );
        }
        let view = View {
            new: contiguous(new, new_layout)?.as_chunks().0,
            kept: contiguous(kept, kept_layout)?.as_chunks().0,
            bias: contiguous(bias, bias_layout)?.as_chunks().0,
            steps,
        };
        let mut out: Vec<Head> = vec![];
        for (request, step, head) in view.heads() {
            let mut sum = Head::default();
            let seen = self.seen(step);
            for (ago, weight) in view.weights(request, step, head, seen).iter().enumerate().take(seen) {
                add(&mut sum, *weight, view.past(request, step, ago, Part::Value, head));
            }
            out.push(sum);
        }
        Ok((CpuStorage::F32(out.into_flattened()), (batch, steps, WIDTH).into()))
    }

    fn bwd(
        &self,
        new: &Tensor,
        kept: &Tensor,
        bias: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let [new_values, kept_values, bias_values, gradient] =
            [values(new)?, values(kept)?, values(bias)?, values(gradient)?];
        let view = View {
            new: new_values.as_chunks().0,
            kept: kept_values.as_chunks().0,
            bias: bias_values.as_chunks().0,
            steps: new.dim(1)?,
        };
        let mut of_new = vec![Head::default(); view.new.len()];
        let mut of_bias = vec![[0.0; WINDOW_STEPS]; HEADS];
        for ((request, step, head), gradient) in view.heads().zip(gradient.as_chunks::<HEAD_WIDTH>().0) {
            let row = request * view.steps + step;
            let seen = self.seen(step);
            let weights = view.weights(request, step, head, seen);
            let mut of_weights = [0.0; WINDOW_STEPS];
            let mut mean = 0.0;
            for ago in 0..seen {
                of_weights[ago] = dot(gradient, view.past(request, step, ago, Part::Value, head));
                mean += weights[ago] * of_weights[ago];
            }
            let mut of_query = Head::default();
            for ago in 0..seen {
                let of_score = weights[ago] * (of_weights[ago] - mean);
                of_bias[head][ago] += of_score;
                add(&mut of_query, of_score * scale(), view.past(request, step, ago, Part::Key, head));
                if ago <= step {
                    let query = &view.new[at(row, Part::Query, head)];
                    add(&mut of_new[at(row - ago, Part::Key, head)], of_score * scale(), query);
                    add(&mut of_new[at(row - ago, Part::Value, head)], weights[ago], gradient);
                }
            }
            of_new[at(row, Part::Query, head)] = of_query;
        }
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((Some(tensor(of_new.into_flattened(), new)?), None, Some(tensor(of_bias.into_flattened(), bias)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Var};
    use candle_nn::ops;

    use super::*;
    use crate::fitting::optimiser::uniform;

    /// The same of single operations, which have gradients of their own: all scores, with those outside of the window masked.
    fn plain(new: &Tensor, kept: &Tensor, bias: &Tensor, known: usize) -> Result<Tensor> {
        let (batch, steps, _) = new.dims3()?;
        let [mut ago, mut mask] = [const { vec![] }; 2];
        for query in PAST_STEPS..PAST_STEPS + steps {
            for key in 0..PAST_STEPS + steps {
                let seen = key <= query && query - key < WINDOW_STEPS && key + known >= PAST_STEPS;
                ago.push(if seen { (query - key) as f32 } else { 0.0 });
                mask.push(if seen { 0.0 } else { f32::NEG_INFINITY });
            }
        }
        let shape = (steps, PAST_STEPS + steps);
        let ago = Tensor::from_vec(ago, shape, &Device::Cpu)?.to_dtype(candle_core::DType::U32)?;
        let bias = bias.index_select(&ago.flatten_all()?, 1)?.reshape((1, HEADS, shape.0, shape.1))?;
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?;
        let parts = new.chunk(3, D::Minus1)?;
        let past = kept.chunk(2, D::Minus1)?;
        let heads =
            |tensor: &Tensor| tensor.reshape((batch, tensor.dim(1)?, HEADS, HEAD_WIDTH))?.transpose(1, 2)?.contiguous();
        let keys = heads(&Tensor::cat(&[&past[0], &parts[1]], 1)?)?;
        let values = heads(&Tensor::cat(&[&past[1], &parts[2]], 1)?)?;
        let scores = (heads(&parts[0])?.matmul(&keys.transpose(2, 3)?.contiguous()?)? * f64::from(scale()))?;
        let weights = ops::softmax(&scores.broadcast_add(&bias)?.broadcast_add(&mask)?, 3)?;
        weights.matmul(&values)?.transpose(1, 2)?.reshape((batch, steps, WIDTH))
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn attention_and_its_gradients_are_those_of_single_operations() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut var = |shape: &[usize]| uniform(shape, 1.5, &mut random).unwrap();
        for (steps, known) in [(1, 0), (1, PAST_STEPS), (7, 3), (40, 0), (40, PAST_STEPS)] {
            let (new, kept, bias) =
                (var(&[2, steps, 3 * WIDTH]), var(&[2, PAST_STEPS, 2 * WIDTH]), var(&[HEADS, WINDOW_STEPS]));
            let pull = var(&[2, steps, WIDTH]);
            let run = |attention: fn(&Tensor, &Tensor, &Tensor, usize) -> Result<Tensor>| {
                let out = attention(&new, &kept.detach(), &bias, known).unwrap();
                let gradients = (&out * pull.detach()).unwrap().sum_all().unwrap().backward().unwrap();
                let of = |var: &Var| gradients.get(var).unwrap().clone();
                [out, of(&new), of(&bias)]
            };
            for (ours, theirs) in run(attend).iter().zip(&run(plain)) {
                assert!(distance(ours, theirs) < 1e-4, "{steps} steps after {known}");
            }
        }
    }
}
