//! [`Architecture`]: how an architecture is recognised and read.

use super::decoder::Decoder;
use super::loader::Loader;
use crate::checkpoint::{CheckpointError, HubConventions};

/// One architecture: its file exports a constant of this type.
pub(crate) struct Architecture {
    /// Its name in GGUF files (`general.architecture`).
    pub(crate) name: &'static str,
    /// Its name on the hub (`model_type`).
    pub(crate) hub_name: &'static str,
    /// What its folders on the hub have otherwise than Llama's.
    pub(crate) hub_conventions: HubConventions,
    pub(crate) load: fn(&mut Loader<'_>) -> Result<Decoder, CheckpointError>,
}
