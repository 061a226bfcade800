//! [`SequenceModel`]: what the models that read a request step by step are, whatever their [`Core`].

use std::collections::HashMap;

use anyhow::{Context, ensure};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};
use eoscast_proto::domain::limits;

use super::dense::Standardiser;
use super::forecaster::{Forecaster, Memory};
use super::head::{BINS, softmax};
use super::sequence_core::{Architecture, Core, Parameter, WIDTH};
use super::weights::Weights;
use crate::features::{FEATURE_NAMES, FeatureRow};

/// A network over steps: inputs are squeezed to [`WIDTH`] numbers, go through the core, and its output scores the bins.
pub(crate) struct Network {
    squeeze: Linear,
    core: Box<dyn Core>,
    head: Linear,
}

impl Network {
    /// Its parameters, given the number of inputs.
    pub(crate) fn parameters(architecture: &Architecture, inputs: usize) -> Vec<Parameter> {
        let mut all = vec![
            ("squeeze.weight".to_owned(), vec![WIDTH, inputs]),
            ("squeeze.bias".to_owned(), vec![WIDTH]),
            ("head.weight".to_owned(), vec![BINS, WIDTH]),
            ("head.bias".to_owned(), vec![BINS]),
        ];
        all.extend((architecture.parameters)().into_iter().map(|(name, shape)| (format!("core.{name}"), shape)));
        all
    }

    /// With these parameters.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub(crate) fn new(architecture: &Architecture, inputs: usize, parameters: HashMap<String, Tensor>) -> Result<Self> {
        let vb = VarBuilder::from_tensors(parameters, DType::F32, &Device::Cpu);
        let core = (architecture.build)(vb.pp("core"))?;
        let (squeeze, head) = (linear(inputs, WIDTH, vb.pp("squeeze"))?, linear(WIDTH, BINS, vb.pp("head"))?);
        Ok(Self { squeeze, core, head })
    }

    /// The state of `batch` requests before their first step.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn start(&self, batch: usize) -> Result<Vec<Tensor>> {
        let shapes = self.core.state_shapes().into_iter();
        shapes.map(|shape| Tensor::zeros([vec![batch], shape].concat(), DType::F32, &Device::Cpu)).collect()
    }

    /// The scores `[batch, steps, BINS]` for steps `[batch, steps, inputs]`, and the state after them.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub(crate) fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (out, state) = self.core.forward(&self.squeeze.forward(steps)?.relu()?, state)?;
        Ok((self.head.forward(&out)?, state))
    }
}

/// A network over steps as a forecaster. Its memory is the network's state.
pub(crate) struct SequenceModel {
    inputs: Standardiser,
    network: Network,
}

/// All features, the sketch of the step and that of the prompt; the network makes its own means.
pub(crate) fn columns() -> Vec<u32> {
    let sketch = FEATURE_NAMES.len()..FEATURE_NAMES.len() + limits::SKETCH;
    let prompt = sketch.start + 2 * limits::SKETCH..FeatureRow::INPUTS;
    (0..FEATURE_NAMES.len()).chain(sketch).chain(prompt).map(|column| column as u32).collect()
}

/// The tensors of an artifact.
///
/// # Errors
/// When a parameter cannot be read.
pub(crate) fn write(inputs: &Standardiser, parameters: &[(String, Tensor)], weights: &mut Weights) -> Result<()> {
    inputs.write("inputs", weights);
    for (name, tensor) in parameters {
        weights.put_half(name, tensor.dims(), &tensor.flatten_all()?.to_vec1()?);
    }
    Ok(())
}

impl SequenceModel {
    /// From the tensors of an artifact.
    ///
    /// # Errors
    /// When they are not those of a network of this architecture.
    pub(crate) fn read(architecture: &Architecture, weights: &Weights) -> anyhow::Result<Self> {
        let inputs = Standardiser::read("inputs", weights)?;
        let width = inputs.columns.len();
        ensure!(width > 0, "tensor inputs.columns: is empty");
        let mut parameters = HashMap::new();
        for (name, shape) in Network::parameters(architecture, width) {
            let values = weights.get_shaped(&name, &shape)?;
            parameters.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        let sequence = Self { network: Network::new(architecture, width, parameters)?, inputs };
        let mut memory = sequence.memory();
        sequence.scores(&[0.0; FeatureRow::INPUTS], &mut memory.numbers).context("its tensors do not fit together")?;
        Ok(sequence)
    }

    fn scores(&self, inputs: &[f32; FeatureRow::INPUTS], memory: &mut [f32]) -> Result<[f32; BINS]> {
        let mut x = vec![];
        self.inputs.apply(inputs, &mut x);
        let steps = Tensor::from_vec(x, (1, 1, self.inputs.columns.len()), &Device::Cpu)?;
        let (mut state, mut at) = (vec![], 0);
        for shape in self.network.core.state_shapes() {
            let size: usize = shape.iter().product();
            state.push(Tensor::from_slice(&memory[at..at + size], [vec![1], shape].concat(), &Device::Cpu)?);
            at += size;
        }
        let (scores, state) = self.network.forward(&steps, &state)?;
        at = 0;
        for tensor in state {
            let values = tensor.flatten_all()?.to_vec1()?;
            memory[at..at + values.len()].copy_from_slice(&values);
            at += values.len();
        }
        let values = scores.flatten_all()?.to_vec1()?;
        values.try_into().map_err(|_| candle_core::Error::msg("wrong number of scores"))
    }
}

impl Forecaster for SequenceModel {
    fn memory(&self) -> Memory {
        let size = self.network.core.state_shapes().iter().map(|shape| shape.iter().product::<usize>()).sum();
        Memory::of(&vec![0.0; size])
    }

    fn predict(&self, row: &FeatureRow, memory: &mut Memory) -> [f32; BINS] {
        // Reading has shown that all shapes fit, so the zeros are never used.
        let mut probabilities = self.scores(&row.inputs(), &mut memory.numbers).unwrap_or([0.0; BINS]);
        softmax(&mut probabilities);
        probabilities
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fitting::optimiser::uniform;
    use crate::models::{gru, lstm, transformer};

    #[test]
    fn a_request_read_step_by_step_gets_the_scores_of_one_read_at_once() {
        const INPUTS: usize = 5;
        const STEPS: usize = 70;
        let mut random = fastrand::Rng::with_seed(2);
        for (name, architecture) in
            [("gru", &gru::ARCHITECTURE), ("lstm", &lstm::ARCHITECTURE), ("transformer", &transformer::ARCHITECTURE)]
        {
            let parameters = Network::parameters(architecture, INPUTS).into_iter();
            let parameters = parameters.map(|(name, shape)| {
                let tensor = uniform(&shape, 0.5, &mut random).unwrap().as_detached_tensor();
                (name, tensor)
            });
            let network = Network::new(architecture, INPUTS, parameters.collect()).unwrap();
            let steps = uniform(&[2, STEPS, INPUTS], 1.0, &mut random).unwrap();
            let (at_once, _) = network.forward(&steps, &network.start(2).unwrap()).unwrap();
            let mut state = network.start(2).unwrap();
            for step in 0..STEPS {
                let (scores, after) = network.forward(&steps.narrow(1, step, 1).unwrap(), &state).unwrap();
                let apart = (scores - at_once.narrow(1, step, 1).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
                assert!(apart.to_scalar::<f32>().unwrap() < 1e-4, "{name}, step {step}");
                state = after;
            }
        }
    }
}
