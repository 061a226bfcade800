//! Options that say which model to load and how, and the bar that shows it.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::device::DeviceArg;
use crate::runner::load::{LoadedRunner, RunnerOptions, load};
use eoscast_kernels::{Compute, Pool};
use eoscast_model::locate;

/// Which model, and with which arithmetic.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// A GGUF file; a folder with config.json, safetensors and tokenizer.json; ORGANISATION/REPOSITORY or
    /// ORGANISATION/REPOSITORY:FILE.gguf on the Hugging Face hub ($HF_ENDPOINT, $HF_HOME, $HF_TOKEN); or a name: smollm2-135m
    /// (looked up in $EOSCAST_MODELS, ./models and the user's cache folder).
    #[arg(long, env = "EOSCAST_MODEL", default_value = "smollm2-135m", value_name = "PATH|REPOSITORY|NAME")]
    pub(super) model: String,
    /// Arithmetic of the matrix products.
    #[arg(long, env = "EOSCAST_COMPUTE", value_enum, default_value_t = ComputeArg::Quantized)]
    compute: ComputeArg,
    /// Where the model runs: cpu, or cuda:N for the N-th NVIDIA GPU (a build with `--features cuda`).
    #[arg(long, env = "EOSCAST_DEVICE", default_value_t = DeviceArg::Cpu, value_name = "cpu|cuda:N")]
    device: DeviceArg,
    /// Threads of the matrix products [default: one per physical core].
    #[arg(long, env = "EOSCAST_THREADS")]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ComputeArg {
    /// Dequantised weights, f32 arithmetic: the reference.
    F32,
    /// Quantised weights, 8-bit activations: fast.
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
    /// Loads the model with a cache of `kv_tokens`, showing a bar.
    pub(super) fn load(&self, kv_tokens: usize, block_size: usize) -> anyhow::Result<LoadedRunner> {
        if let Some(threads) = self.threads
            && !Pool::set_global(threads)
        {
            bail!("--threads: the thread pool is running already");
        }
        let path = locate(&self.model)?;
        let options = RunnerOptions {
            name: self.served_name(&path),
            path,
            compute: self.compute.into(),
            device: self.device.open()?,
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

    /// A name given is served as it is, a path by the name of its file (without extension) or folder.
    fn served_name(&self, path: &Path) -> String {
        let is_path = Path::new(&self.model).exists();
        let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
        let name = name.filter(|_| is_path).map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.model.clone())
    }
}

/// A bar on stderr for `what`; its length comes later.
pub(super) fn progress_bar(what: &'static str) -> ProgressBar {
    // A template that does not parse would only cost the looks.
    let style = ProgressStyle::with_template("{prefix:8} [{bar:40}] {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(0).with_style(style).with_prefix(what)
}
