//! What the networks that read a request step by step share: [`Core`], and how an [`Architecture`] makes one.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Numbers that travel from step to step within a network.
pub(crate) const WIDTH: usize = 48;

/// Name and shape of a parameter.
pub(crate) type Parameter = (String, Vec<usize>);

/// The part between input and output that carries state from step to step.
pub(crate) trait Core: Send + Sync {
    /// Shapes of the tensors of its state, without the dimension of the batch. A state begins as zeros.
    fn state_shapes(&self) -> Vec<Vec<usize>>;
    /// Takes in steps `[batch, steps, WIDTH]`; gives as much, and the state after them.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn forward(&self, steps: &Tensor, state: &[Tensor]) -> Result<(Tensor, Vec<Tensor>)>;
}

/// How the core of one model is made.
pub(crate) struct Architecture {
    /// Name and shape of each of its parameters.
    pub parameters: fn() -> Vec<Parameter>,
    /// A core with the parameters of a builder; an error where one is missing or has another shape.
    pub build: fn(VarBuilder<'_>) -> Result<Box<dyn Core>>,
}
