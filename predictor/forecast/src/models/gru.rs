//! `gru`: a recurrent network with gated units.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_nn::rnn::{GRU, GRUConfig, GRUState, RNN};

use super::sequence::{Core, Parameter, WIDTH};

/// One layer of gated units (Cho et al., EMNLP 2014).
pub struct Gru(GRU);

/// Its parameters.
pub fn parameters() -> Vec<Parameter> {
    recurrent_parameters(3)
}

/// Those of one recurrent layer with so many gates.
pub(super) fn recurrent_parameters(gates: usize) -> Vec<Parameter> {
    ["weight_ih_l0", "weight_hh_l0"]
        .map(|name| (name.to_owned(), vec![gates * WIDTH, WIDTH]))
        .into_iter()
        .chain(["bias_ih_l0", "bias_hh_l0"].map(|name| (name.to_owned(), vec![gates * WIDTH])))
        .collect()
}

impl Gru {
    /// With the parameters of `vb`.
    ///
    /// # Errors
    /// When one is missing or has another shape.
    pub fn new(vb: VarBuilder<'_>) -> Result<Self> {
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
