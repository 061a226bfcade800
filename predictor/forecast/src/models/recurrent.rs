//! Parameters of recurrent layers, as candle-nn names them.

use super::sequence_core::{Parameter, WIDTH};

/// The parameters of one recurrent layer with so many gates.
pub(super) fn recurrent_parameters(gates: usize) -> Vec<Parameter> {
    ["weight_ih_l0", "weight_hh_l0"]
        .map(|name| (name.to_owned(), vec![gates * WIDTH, WIDTH]))
        .into_iter()
        .chain(["bias_ih_l0", "bias_hh_l0"].map(|name| (name.to_owned(), vec![gates * WIDTH])))
        .collect()
}
