//! Flags that choose a model, and loading it with a progress bar: shared by the commands.

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::kernels::Compute;
use crate::models::{LoadOptions, LoadedModel, ModelError, load, locate};

/// Which model, and with which arithmetic.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// Path of a GGUF file, or a known model name.
    #[arg(long, env = "EOSCAST_MODEL", default_value = "smollm2-135m")]
    pub model: String,
    /// Arithmetic of the matrix products.
    #[arg(long, env = "EOSCAST_COMPUTE", value_enum, default_value_t = ComputeArg::Quantized)]
    pub compute: ComputeArg,
}

/// Command-line spelling of [`Compute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ComputeArg {
    /// Dequantised weights, f32 arithmetic.
    F32,
    /// Quantised weights, int8 activations.
    Quantized,
}

impl From<ComputeArg> for Compute {
    fn from(compute: ComputeArg) -> Self {
        match compute {
            ComputeArg::F32 => Self::F32,
            ComputeArg::Quantized => Self::Quantized,
        }
    }
}

impl ModelArgs {
    /// Loads the model with a cache of `kv_tokens` tokens.
    ///
    /// # Errors
    /// The model is not found, broken or of an unsupported kind; the cache cannot be had.
    pub fn load(&self, block_size: usize, kv_tokens: usize) -> Result<LoadedModel, ModelError> {
        let options = LoadOptions {
            path: locate(&self.model)?,
            name: self.model.clone(),
            compute: self.compute.into(),
            block_size,
            kv_tokens,
        };
        let bar = progress_bar("loading");
        let model = load(&options, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok(model)
    }
}

/// A bar on standard error; silent where that is not a terminal.
pub(super) fn progress_bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:8} {wide_bar} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style).with_prefix(what)
}
