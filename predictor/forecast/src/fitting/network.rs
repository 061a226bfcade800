//! Fits the feed-forward networks of [`dense`](crate::models::dense) by Adam.
//!
//! Everything random comes from a seed, and every sum has one order, so that equal data and seeds give equal bits.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, ops};

use super::rows::Rows;
use crate::models::dense::{Dense, Perceptron, Standardiser};
use crate::models::head::{BINS, Target};

/// How a network is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
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
const BATCH: usize = 256;
const LEARNING_RATE: f64 = 1e-3;
/// Training ends when this many epochs brought nothing better.
pub const PATIENCE: u32 = 6;
/// The weights that are kept are a running mean of those that the optimiser went through (Polyak and Juditsky, SIAM J. Control
/// Optim. 30, 1992), over about this many steps.
const AVERAGED_STEPS: f64 = 200.0;

/// What one pass over the data brought. Losses are -ln of the likelihood, weighted once per request.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub number: u32,
    /// Most there will be.
    pub epochs: u32,
    /// On the training rows, with dropout.
    pub train_loss: f64,
    /// On the validation rows, if there are any.
    pub validation_loss: Option<f64>,
    /// Better than all before.
    pub best: bool,
}

/// What was best of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Best<T> {
    /// What was fitted.
    pub candidate: T,
    /// After so many epochs.
    pub epoch: u32,
    /// On the validation rows, if there are any.
    pub loss: Option<f64>,
}

/// Keeps the best of what it is shown, and tells when there is no hope of better.
pub struct EarlyStopping<T> {
    best: Option<Best<T>>,
    epoch: u32,
}

impl<T> Default for EarlyStopping<T> {
    fn default() -> Self {
        Self { best: None, epoch: 0 }
    }
}

impl<T> EarlyStopping<T> {
    /// Whether what came of the next epoch is the best so far; then `candidate` is kept. Without a loss the last is the best.
    pub fn show(&mut self, loss: Option<f64>, candidate: impl FnOnce() -> Result<T>) -> Result<bool> {
        self.epoch += 1;
        let known = self.best.as_ref().and_then(|best| best.loss);
        // NaN is no better than anything.
        let better = loss.zip(known).is_none_or(|(loss, known)| loss < known);
        if better {
            self.best = Some(Best { candidate: candidate()?, epoch: self.epoch, loss });
        }
        Ok(better)
    }

    /// Whether to stop.
    pub fn is_over(&self) -> bool {
        self.best.as_ref().is_some_and(|best| self.epoch - best.epoch >= PATIENCE)
    }

    /// What was best.
    ///
    /// # Errors
    /// When nothing was shown.
    pub fn into_best(self) -> Result<Best<T>> {
        self.best.ok_or_else(|| candle_core::Error::msg("no epoch was run"))
    }
}

/// Mean of -ln likelihood over rows of scores `[rows, BINS]`, given shares of the same shape and weights `[rows]`, times the
/// sum of the weights.
pub fn loss(scores: &Tensor, shares: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let likelihood = (ops::softmax(scores, 1)? * shares)?.sum(1)?;
    // No row may pull with unbounded force.
    (weights * (likelihood + 1e-6)?.log()?)?.sum_all()?.neg()
}

/// The shares of the targets, row by row.
pub fn shares(targets: impl Iterator<Item = Target>) -> Vec<f32> {
    targets.flat_map(Target::shares).collect()
}

/// Adam over named variables that also keeps their running mean.
pub struct Averaging {
    optimiser: AdamW,
    vars: Vec<Var>,
    mean: Vec<Tensor>,
    steps: f64,
}

impl Averaging {
    /// Over `vars`, with this weight decay.
    pub fn new(vars: Vec<Var>, weight_decay: f64) -> Result<Self> {
        let params = ParamsAdamW { lr: LEARNING_RATE, weight_decay, ..ParamsAdamW::default() };
        // Detached, or each mean would keep all before it, for a gradient that nobody asks for.
        let mean = vars.iter().map(|var| var.as_tensor().detach().copy()).collect::<Result<_>>()?;
        Ok(Self { optimiser: AdamW::new(vars.clone(), params)?, vars, mean, steps: 0.0 })
    }

    /// One step down the gradient of `loss`.
    pub fn step(&mut self, loss: &Tensor) -> Result<()> {
        self.optimiser.backward_step(loss)?;
        self.steps += 1.0;
        let share = 1.0 / self.steps.min(AVERAGED_STEPS);
        for (mean, var) in self.mean.iter_mut().zip(&self.vars) {
            let now = var.as_tensor().detach();
            *mean = ((&*mean * (1.0 - share))? + (now * share)?)?;
        }
        Ok(())
    }

    /// The running mean of each variable.
    pub fn mean(&self) -> &[Tensor] {
        &self.mean
    }
}

/// A variable with entries uniform in ±`bound`.
pub fn uniform(shape: &[usize], bound: f32, random: &mut fastrand::Rng) -> Result<Var> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (2.0 * random.f32() - 1.0) * bound).collect();
    Var::from_vec(values, shape, &Device::Cpu)
}

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
pub fn fit(
    columns: Vec<u32>,
    train: &Rows,
    validation: Option<&Rows>,
    settings: &Settings,
    progress: &mut dyn FnMut(Epoch),
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
        for batch in order.chunks(BATCH) {
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
        progress(Epoch { number, epochs: settings.epochs, train_loss, validation_loss, best });
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
    for batch in all.chunks(4 * BATCH) {
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

    #[test]
    fn the_running_mean_keeps_nothing_of_the_steps_before() {
        let var = Var::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut averaging = Averaging::new(vec![var.clone()], 0.0).unwrap();
        averaging.step(&var.as_tensor().sum_all().unwrap()).unwrap();
        let gradients = averaging.mean()[0].sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&var).is_none(), "the mean leads back to the variable, and so through all steps");
    }

    #[test]
    fn training_ends_early_when_nothing_gets_better() {
        let mut stopping = EarlyStopping::default();
        assert!(stopping.show(Some(1.0), || Ok(1)).unwrap());
        for _ in 0..PATIENCE {
            assert!(!stopping.is_over());
            assert!(!stopping.show(Some(f64::NAN), || Ok(2)).unwrap());
        }
        assert!(stopping.is_over());
        assert_eq!(stopping.into_best().unwrap(), Best { candidate: 1, epoch: 1, loss: Some(1.0) });
    }

    #[test]
    fn without_validation_the_last_epoch_is_kept() {
        let mut stopping = EarlyStopping::default();
        for number in 1..=9 {
            assert!(stopping.show(None, || Ok(number)).unwrap() && !stopping.is_over());
        }
        assert_eq!(stopping.into_best().unwrap(), Best { candidate: 9, epoch: 9, loss: None });
    }
}
