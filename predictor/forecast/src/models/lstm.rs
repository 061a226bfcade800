//! `lstm`: a recurrent network with long short-term memory.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::{LSTM, LSTMConfig, LSTMState, RNN};

use super::forecaster::Forecaster;
use super::recurrent::recurrent_parameters;
use super::sequence::SequenceModel;
use super::sequence_core::{Architecture, Core, Parameter, WIDTH};
use super::weights::Weights;

/// One layer of long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997).
struct Lstm(LSTM);

/// Its parameters.
fn parameters() -> Vec<Parameter> {
    recurrent_parameters(4)
}

/// How its core is made.
pub(crate) const ARCHITECTURE: Architecture = Architecture { parameters, build: |vb| Ok(Box::new(Lstm::new(vb)?)) };

/// A model from the tensors of an artifact.
pub(super) fn read(weights: &Weights) -> anyhow::Result<Arc<dyn Forecaster>> {
    Ok(Arc::new(SequenceModel::read(&ARCHITECTURE, weights)?))
}

impl Lstm {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(LSTM::new(WIDTH, WIDTH, LSTMConfig::default(), vb)?))
    }
}

impl Core for Lstm {
    fn state_shapes(&self) -> Vec<Vec<usize>> {
        vec![vec![WIDTH]; 2]
    }

    fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let states = self.0.seq_init(steps, &LSTMState::new(state[0].clone(), state[1].clone()))?;
        let last = states.last().map(|state| vec![state.h.clone(), state.c.clone()]).unwrap_or_default();
        Ok((self.0.states_to_tensor(&states)?, last))
    }
}
