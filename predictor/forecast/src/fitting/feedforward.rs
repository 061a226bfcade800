//! Fits the feed-forward networks of [`dense`](crate::models::dense) by Adam.
//!
//! Everything random comes from a seed, and every sum has one order, so that equal data and seeds give equal bits.

use candle_core::{Device, Result, Tensor};

use super::optimiser::{Averaging, Best, EarlyStopping, loss, shares, uniform};
use super::progress::EpochLoss;
use super::rows::Rows;
use crate::models::dense::{Dense, Perceptron, Standardiser};
use crate::models::head::BINS;

/// How a network is fitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Share of the inputs and hidden units that each row goes without, in turn.
    pub dropout: [f32; 2],
    /// Decoupled, as in AdamW (Loshchilov and Hutter, ICLR 2019).
    pub weight_decay: f64,
    /// Most passes over the data.
    pub epochs: u32,
    /// Of weights, order of rows and dropout.
    pub seed: u64,
}

/// Rows of one step of the optimiser.
const BATCH_ROWS: usize = 256;
struct Prepared {
    inputs: Vec<f32>,
    width: usize,
}

impl Prepared {
    fn new(rows: &Rows, standardiser: &Standardiser) -> Self {
        let (mut inputs, mut row) = (vec![], vec![]);
        for i in 0..rows.len() {
            standardiser.apply(rows.input(i), &mut row);
            inputs.extend_from_slice(&row);
        }
        Self { inputs, width: standardiser.columns.len() }
    }

    fn batch(&self, rows: &Rows, order: &[usize]) -> Result<[Tensor; 3]> {
        let gather = |i: &usize| self.inputs[i * self.width..][..self.width].iter().copied();
        let inputs: Vec<f32> = order.iter().flat_map(gather).collect();
        let weights: Vec<f32> = order.iter().map(|i| rows.weights[*i]).collect();
        Ok([
            Tensor::from_vec(inputs, (order.len(), self.width), &Device::Cpu)?,
            Tensor::from_vec(shares(order.iter().map(|i| rows.targets[*i])), (order.len(), BINS), &Device::Cpu)?,
            Tensor::from_vec(weights, order.len(), &Device::Cpu)?,
        ])
    }
}

/// Sets a share of the entries to 0 and raises the others, so that the mean stays.
fn drop(x: &Tensor, share: f32, random: &mut fastrand::Rng) -> Result<Tensor> {
    if share == 0.0 {
        return Ok(x.clone());
    }
    let kept = 1.0 / (1.0 - share);
    let mask: Vec<f32> = (0..x.elem_count()).map(|_| if random.f32() < share { 0.0 } else { kept }).collect();
    x * Tensor::from_vec(mask, x.shape(), x.device())?
}

/// `layers` are weights and biases in turn.
fn forward(layers: &[Tensor], x: &Tensor, mut dropout: Option<([f32; 2], &mut fastrand::Rng)>) -> Result<Tensor> {
    let mut x = x.clone();
    for (i, layer) in layers.chunks_exact(2).enumerate() {
        if i > 0 {
            x = x.relu()?;
        }
        if let Some((share, random)) = &mut dropout {
            x = drop(&x, share[i.min(1)], random)?;
        }
        x = x.matmul(&layer[0])?.broadcast_add(&layer[1])?;
    }
    Ok(x)
}

/// Fits a network that sees `columns`: until nothing gets better on the `validation` rows, or without them for all epochs.
///
/// # Errors
/// When the tensor library fails, which it has no reason to.
pub(crate) fn fit(
    columns: Vec<u32>,
    train: &Rows,
    validation: Option<&Rows>,
    settings: &Settings,
    progress: &mut dyn FnMut(EpochLoss),
) -> Result<Best<Perceptron>> {
    let mut random = fastrand::Rng::with_seed(settings.seed);
    let standardiser = Standardiser::fit(columns, &train.weighted());
    let data = Prepared::new(train, &standardiser);
    let held_out = validation.map(|rows| (rows, Prepared::new(rows, &standardiser)));
    let widths: Vec<usize> = [data.width].into_iter().chain(settings.hidden.iter().copied()).chain([BINS]).collect();
    let mut vars = vec![];
    for pair in widths.windows(2) {
        // He et al., ICCV 2015.
        vars.push(uniform(pair, (6.0 / pair[0] as f32).sqrt(), &mut random)?);
        vars.push(uniform(&pair[1..], 0.0, &mut random)?);
    }
    let layers: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let mut averaging = Averaging::new(vars, settings.weight_decay)?;
    let mut stopping = EarlyStopping::default();
    let mut order: Vec<usize> = (0..train.len()).collect();
    let total: f64 = train.weights.iter().map(|w| f64::from(*w)).sum();
    let mean_weight = total / train.len().max(1) as f64;
    for number in 1..=settings.epochs {
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for batch in order.chunks(BATCH_ROWS) {
            let [x, shares, weights] = data.batch(train, batch)?;
            let scores = forward(&layers, &x, Some((settings.dropout, &mut random)))?;
            let loss = loss(&scores, &shares, &weights)?;
            averaging.step(&(&loss / (mean_weight * batch.len() as f64))?)?;
            sum += f64::from(loss.to_scalar::<f32>()?);
        }
        let evaluate = |(rows, data): &(&Rows, Prepared)| evaluate(averaging.mean(), data, rows);
        let validation_loss = held_out.as_ref().map(evaluate).transpose()?;
        let best = stopping.show(validation_loss, || layers_of(averaging.mean()))?;
        let train_loss = sum / total;
        progress(EpochLoss { number, epochs: settings.epochs, train_loss, validation_loss, best });
        if stopping.is_over() {
            break;
        }
    }
    let Best { candidate, epoch, loss } = stopping.into_best()?;
    Ok(Best { candidate: Perceptron { inputs: standardiser, layers: candidate }, epoch, loss })
}

fn evaluate(layers: &[Tensor], data: &Prepared, rows: &Rows) -> Result<f64> {
    let all: Vec<usize> = (0..rows.len()).collect();
    let mut sum = 0.0;
    for batch in all.chunks(4 * BATCH_ROWS) {
        let [x, shares, weights] = data.batch(rows, batch)?;
        sum += f64::from(loss(&forward(layers, &x, None)?, &shares, &weights)?.to_scalar::<f32>()?);
    }
    Ok(sum / rows.weights.iter().map(|w| f64::from(*w)).sum::<f64>())
}

fn layers_of(tensors: &[Tensor]) -> Result<Vec<Dense>> {
    tensors
        .chunks_exact(2)
        .map(|layer| Ok(Dense::new(&layer[0].flatten_all()?.to_vec1::<f32>()?, &layer[1].to_vec1::<f32>()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureRow;
    use crate::fitting::synthetic::samples;
    use crate::models::head::softmax;

    fn settings(epochs: u32) -> Settings {
        Settings { hidden: vec![16], dropout: [0.0, 0.1], weight_decay: 0.01, epochs, seed: 9 }
    }

    #[test]
    fn equal_seeds_give_equal_bits_and_the_plain_network_agrees_with_the_trained_one() {
        let all = samples(60, 3);
        let rows = Rows::sample(&all.iter().collect::<Vec<_>>(), 1);
        let columns: Vec<u32> = (0..FeatureRow::INPUTS as u32).collect();
        let run = || fit(columns.clone(), &rows, Some(&rows), &settings(2), &mut |_| {}).unwrap();
        let best = run();
        assert_eq!(run(), best);
        let (network, loss) = (best.candidate, best.loss.unwrap());
        let plain: f64 = (0..rows.len())
            .map(|i| {
                let mut p = network.scores([rows.input(i).try_into().unwrap()].into_iter())[0];
                softmax(&mut p);
                rows.targets[i].loss(&p) * f64::from(rows.weights[i])
            })
            .sum();
        assert!((plain / 60.0 - loss).abs() < 1e-3, "{} and {loss}", plain / 60.0);
    }
}
