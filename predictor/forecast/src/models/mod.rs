//! Models that forecast remaining length. [`kind`] is the table of them: a new one is a file here and a line there.
//!
//! From the bottom up:
//! - `head`: what trained models put out, probabilities of bins of length; `horizons`: those bins from a few horizons
//! - `weights`: the tensors of an artifact; `dense`: feed-forward networks, over `product`
//! - [`forecaster`]: the trait of what is trained, and what it keeps of a request; [`warm_start`]: what an artifact gives a model
//! - [`prior`]: the law of lengths, which every model has; [`length_model`]: the trait of models
//! - `prior_model`, `threshold`: models of outcomes alone; `trained`: a trained forecaster with calibration and prior
//! - `logistic`, `forest`, `mlp`, `gru`, `lstm`, `transformer`: what is trained. The last three read a request step by
//!   step: over `sequence`, `sequence_core`, `recurrent` and `attention`
//! - [`kind`]: the table of models
//! - [`artifact`]: reads and writes artifacts; `shipped`: the one that this crate carries
//! - `build`: a model from its kind and an artifact; `serving`: the model that answers, and when the prior does

pub mod artifact;
mod attention;
mod build;
pub(crate) mod dense;
pub mod forecaster;
pub(crate) mod forest;
pub(crate) mod gru;
pub(crate) mod head;
mod horizons;
pub mod kind;
pub mod length_model;
pub(crate) mod logistic;
pub(crate) mod lstm;
pub(crate) mod mlp;
pub mod prior;
mod prior_model;
pub(crate) mod product;
mod recurrent;
pub(crate) mod sequence;
pub(crate) mod sequence_core;
mod serving;
mod shipped;
mod threshold;
mod trained;
pub(crate) mod transformer;
pub mod warm_start;
pub(crate) mod weights;

pub use artifact::Artifact;
pub use forecaster::{Asked, Forecaster, Memory};
pub use kind::ModelKind;
pub use length_model::{LengthModel, ModelVersion};
pub use prior::Prior;
pub use serving::Serving;
pub use shipped::shipped;
