//! What a fit has to tell while it runs.

/// What one pass over the data brought. Losses are -ln of the likelihood, weighted once per request.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochLoss {
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

/// What a training has to tell while it runs.
#[derive(Debug)]
pub struct FitProgress {
    /// Model, and which of its fits.
    pub what: String,
    /// What happened.
    pub event: FitEvent,
}

/// What happens in a fit.
#[derive(Debug)]
pub enum FitEvent {
    /// A pass over the data is done.
    Epoch(EpochLoss),
    /// Anything else.
    Note(String),
}
