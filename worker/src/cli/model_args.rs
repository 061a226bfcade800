//! Options that say which model to load and how.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::bail;
use clap::Args;
use eoscast_cli::progress::Progress;
use tracing::warn;

use super::device::DeviceArg;
use super::template_arg::TemplateArg;
use crate::runner::load::{LoadedRunner, RunnerOptions, load};
use eoscast_kernels::{Compute, Pool};
use eoscast_model::locate;
use eoscast_model::text::ChatTemplate;

/// Which model, and with which arithmetic.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct ModelArgs {
    /// A GGUF file (any one of a split model); a folder with config.json, safetensors and tokenizer.json; ORGANISATION/REPOSITORY
    /// or ORGANISATION/REPOSITORY:FILE.gguf on the Hugging Face hub ($HF_ENDPOINT, $HF_HOME, $HF_TOKEN); or a name: smollm2-135m
    /// (looked up in $EOSCAST_MODELS, ./models and the user's cache folder).
    #[arg(long, env = "EOSCAST_MODEL", default_value = "smollm2-135m", value_name = "PATH|REPOSITORY|NAME")]
    pub(super) model: String,
    /// Chat template to use instead of the model's own: a file, or the template itself, in the Jinja dialect of Hugging Face's
    /// `apply_chat_template`.
    #[arg(long, env = "EOSCAST_CHAT_TEMPLATE", value_name = "FILE|TEMPLATE")]
    chat_template: Option<TemplateArg>,
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
        let bar = Progress::items("loading", 0);
        let mut model = load(&options, &mut |done, total| {
            bar.set_total(total as u64);
            bar.set_done(done as u64);
        })?;
        bar.finish();
        if let Some(given) = &self.chat_template {
            model.chat_template = Some(given.template(&model.tokenizer)?);
        }
        for warning in &model.warnings {
            warn!(model = options.name, "{warning}");
        }
        if let Some(fault) = model.chat_template.as_ref().and_then(ChatTemplate::fault) {
            let what = "chat requests are refused, as the chat template cannot be used; --chat-template sets another";
            warn!(model = options.name, fault, "{what}");
        }
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
