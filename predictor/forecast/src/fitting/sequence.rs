//! Fits the networks that read a request step by step, by truncated backpropagation through time.

use candle_core::{Device, Result, Tensor, Var};

use super::optimiser::{Averaging, Best, EarlyStopping, loss, shares, uniform};
use super::progress::EpochLoss;
use super::rows::Rows;
use super::sample::Sample;
use super::stop::Stop;
use crate::models::dense::Standardiser;
use crate::models::head::{BINS, Target};
use crate::models::sequence::{Network, columns};
use crate::models::sequence_core::Architecture;

/// Requests that are run through together; of about the same length, so that few steps are padding.
const BATCH_REQUESTS: usize = 24;
/// Steps after which gradients are taken; the state goes on (Williams and Peng, Neural Computation 2, 1990).
const CHUNK_STEPS: usize = 48;
const WEIGHT_DECAY: f64 = 0.02;

/// One request, ready to be run through.
struct Prepared {
    inputs: Vec<f32>,
    length: usize,
    ended: bool,
}

fn prepare(samples: &[&Sample], standardiser: &Standardiser) -> Vec<Prepared> {
    let mut row = vec![];
    let prepare = |sample: &&Sample| {
        let mut inputs = vec![];
        for features in sample.rows() {
            standardiser.apply(&features.inputs(), &mut row);
            inputs.extend_from_slice(&row);
        }
        Prepared { length: inputs.len() / standardiser.columns.len(), inputs, ended: sample.ended }
    };
    samples.iter().map(prepare).collect()
}

/// Steps `from..from + CHUNK_STEPS` of a batch: inputs, shares and weights; steps behind a reply's end weigh nothing.
fn chunk(batch: &[&Prepared], from: usize, width: usize) -> Result<[Tensor; 3]> {
    let longest = batch.iter().map(|request| request.length).max().unwrap_or(0);
    let steps = CHUNK_STEPS.min(longest - from);
    let (mut inputs, mut targets, mut weights) = (vec![], vec![], vec![]);
    for request in batch {
        for step in from..from + steps {
            if step < request.length {
                inputs.extend_from_slice(&request.inputs[step * width..][..width]);
                weights.push(1.0 / request.length as f32);
            } else {
                inputs.resize(inputs.len() + width, 0.0);
                weights.push(0.0);
            }
            targets.push(Target { remaining: request.length.saturating_sub(step) as u32, ended: request.ended });
        }
    }
    let rows = batch.len() * steps;
    Ok([
        Tensor::from_vec(inputs, (batch.len(), steps, width), &Device::Cpu)?,
        Tensor::from_vec(shares(targets.into_iter()), (rows, BINS), &Device::Cpu)?,
        Tensor::from_vec(weights, rows, &Device::Cpu)?,
    ])
}

/// Runs a batch through from start to end; `learn` is told the loss of each chunk.
fn run(
    network: &Network,
    batch: &[&Prepared],
    width: usize,
    mut learn: impl FnMut(&Tensor) -> Result<()>,
) -> Result<f64> {
    let longest = batch.iter().map(|request| request.length).max().unwrap_or(0);
    let mut state = network.start(batch.len())?;
    let mut sum = 0.0;
    for from in (0..longest).step_by(CHUNK_STEPS) {
        let [inputs, shares, weights] = chunk(batch, from, width)?;
        let (scores, after) = network.forward(&inputs, &state)?;
        let loss = loss(&scores.flatten(0, 1)?, &shares, &weights)?;
        sum += f64::from(loss.to_scalar::<f32>()?);
        learn(&loss)?;
        state = after.iter().map(Tensor::detach).collect();
    }
    Ok(sum)
}

/// Requests of about the same length, as batches.
fn batches(requests: &[Prepared]) -> Vec<Vec<&Prepared>> {
    let mut by_length: Vec<&Prepared> = requests.iter().collect();
    by_length.sort_by_key(|request| request.length);
    by_length.chunks(BATCH_REQUESTS).map(<[_]>::to_vec).collect()
}

/// Parameters to start from.
fn initial(architecture: &Architecture, width: usize, random: &mut fastrand::Rng) -> Result<Vec<(String, Var)>> {
    let variable = |(name, shape): (String, Vec<usize>)| {
        let bound =
            if shape.len() < 2 || name.ends_with("relative_bias") { 0.0 } else { (3.0 / shape[1] as f32).sqrt() };
        Ok((name, uniform(&shape, bound, random)?))
    };
    Network::parameters(architecture, width).into_iter().map(variable).collect()
}

/// The network that changes with `vars`.
fn network(architecture: &Architecture, width: usize, vars: &[(String, Var)]) -> Result<Network> {
    Network::new(architecture, width, vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect())
}

/// Fits the parameters of the network of `architecture`.
///
/// # Errors
/// When the tensor library fails, which it has no reason to.
pub(crate) fn fit(
    architecture: &Architecture,
    train: &[&Sample],
    stop: &Stop<'_>,
    standardiser: &Standardiser,
    seed: u64,
    progress: &mut dyn FnMut(EpochLoss),
) -> Result<Best<Vec<(String, Tensor)>>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let width = standardiser.columns.len();
    let vars = initial(architecture, width, &mut random)?;
    let named = |tensors: &[Tensor]| -> Vec<(String, Tensor)> {
        vars.iter().zip(tensors).map(|((name, _), tensor)| (name.clone(), tensor.clone())).collect()
    };
    let network = network(architecture, width, &vars)?;
    let mut averaging = Averaging::new(vars.iter().map(|(_, var)| var.clone()).collect(), WEIGHT_DECAY)?;
    let data = prepare(train, standardiser);
    let held_out = stop.validation().map(|samples| prepare(samples, standardiser));
    let mut order = batches(&data);
    let epochs = stop.most();
    let mut stopping = EarlyStopping::default();
    for number in 1..=epochs {
        random.shuffle(&mut order);
        let mut sum = 0.0;
        for batch in &order {
            let share = 1.0 / batch.len() as f64;
            sum += run(&network, batch, width, |loss| averaging.step(&(loss * share)?))?;
        }
        let mean = Network::new(architecture, width, named(averaging.mean()).into_iter().collect())?;
        let evaluate = |requests: &Vec<Prepared>| -> Result<f64> {
            let losses = batches(requests).into_iter().map(|batch| run(&mean, &batch, width, |_| Ok(())));
            Ok(losses.sum::<Result<f64>>()? / requests.len() as f64)
        };
        let validation_loss = held_out.as_ref().map(evaluate).transpose()?;
        let best = stopping.show(validation_loss, || Ok(named(averaging.mean())))?;
        let train_loss = sum / data.len() as f64;
        progress(EpochLoss { number, epochs, train_loss, validation_loss, best });
        if stopping.is_over() {
            break;
        }
    }
    stopping.into_best()
}

/// What such networks see, brought to one scale over training rows.
pub(crate) fn standardiser(rows: &Rows) -> Standardiser {
    Standardiser::fit(columns(), &rows.weighted())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{gru, lstm, transformer};

    #[test]
    fn every_parameter_of_a_network_over_steps_has_a_gradient() {
        const INPUTS: usize = 5;
        let mut random = fastrand::Rng::with_seed(3);
        let request = |length: usize, random: &mut fastrand::Rng| Prepared {
            inputs: (0..length * INPUTS).map(|_| 2.0 * random.f32() - 1.0).collect(),
            length,
            ended: true,
        };
        let requests = [request(40, &mut random), request(48, &mut random)];
        for (model, architecture) in
            [("gru", &gru::ARCHITECTURE), ("lstm", &lstm::ARCHITECTURE), ("transformer", &transformer::ARCHITECTURE)]
        {
            let vars = initial(architecture, INPUTS, &mut random).unwrap();
            let network = network(architecture, INPUTS, &vars).unwrap();
            let batch: Vec<&Prepared> = requests.iter().collect();
            run(&network, &batch, INPUTS, |loss| {
                let gradients = loss.backward()?;
                for (name, var) in &vars {
                    let gradient =
                        gradients.get(var.as_tensor()).map(|gradient| gradient.abs()?.max_all()?.to_scalar());
                    let largest: f32 = gradient.transpose()?.unwrap_or_default();
                    assert!(largest > 0.0, "{model}: {name}");
                }
                Ok(())
            })
            .unwrap();
        }
    }
}
