//! `lstm`: a recurrent network with long short-term memory.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::{LSTM, LSTMConfig, LSTMState, RNN};

use super::gru::recurrent_parameters;
use super::sequence::{Core, Parameter, WIDTH};

/// One layer of long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997).
pub struct Lstm(LSTM);

/// Its parameters.
pub fn parameters() -> Vec<Parameter> {
    recurrent_parameters(4)
}

impl Lstm {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
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
