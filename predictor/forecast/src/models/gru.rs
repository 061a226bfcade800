//! `gru`: a recurrent network with gated units.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::{GRU, GRUConfig, GRUState, RNN};

use super::forecaster::Forecaster;
use super::recurrent::recurrent_parameters;
use super::sequence::SequenceModel;
use super::sequence_core::{Architecture, Core, Parameter, WIDTH};
use super::weights::Weights;

/// One layer of gated units (Cho et al., EMNLP 2014).
struct Gru(GRU);

/// Its parameters.
fn parameters() -> Vec<Parameter> {
    recurrent_parameters(3)
}

/// How its core is made.
pub(crate) const ARCHITECTURE: Architecture = Architecture { parameters, build: |vb| Ok(Box::new(Gru::new(vb)?)) };

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(SequenceModel::read(&ARCHITECTURE, weights)?))
}

impl Gru {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(GRU::new(WIDTH, WIDTH, GRUConfig::default(), vb)?))
    }
}

impl Core for Gru {
    fn state_shapes(&self) -> Vec<Vec<usize>> {
        vec![vec![WIDTH]]
    }

    fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let states = self.0.seq_init(steps, &GRUState { h: state[0].clone() })?;
        let out: Vec<Tensor> = states.into_iter().map(|state| state.h).collect();
        Ok((Tensor::stack(&out, 1)?, out.last().cloned().into_iter().collect()))
    }
}
