//! `train`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use clap::Args;
use eoscast_cli::progress::Progress;
use eoscast_log::reader::BadLines;

use super::dataset::load;
use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::fitting::progress::{FitEvent, FitProgress};
use eoscast_forecast::fitting::train::{TrainingOptions, train};
use eoscast_forecast::models::{Artifact, ModelKind};

/// Train models on a log, as collect, serve or another engine writes it, and write artifacts for eoscast-predictor serve --artifact.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  eoscast-lab train --data data/collected --out survival.safetensors\n  \
        eoscast-lab train --data data/collected --model all --out models --resume\n\n\
    Parts of the data are fitted side by side, one on each core. Set CANDLE_NUM_THREADS=1, or each of them wants\n\
    all cores and waits for them in a loop, over 40 % of the time where gru was measured on 2 cores.")]
pub(super) struct TrainArgs {
    /// Folder of the event log, or of another log with the twelve classic fields.
    #[arg(long, value_name = "DIR", env = "EOSCAST_DATA_DIR")]
    data: PathBuf,

    /// The model to train, or all.
    #[arg(long, env = "EOSCAST_TRAIN_MODEL", default_value = "survival")]
    model: Models,

    /// The artifact to write; with --model all, a folder for one of each model.
    #[arg(long, value_name = "FILE", env = "EOSCAST_TRAIN_OUT")]
    out: PathBuf,

    /// Keep what the same command has made of the same log before, and train the rest; after an interrupt.
    #[arg(long, env = "EOSCAST_RESUME")]
    resume: bool,

    /// Which generating model's requests to use, if the log mixes several; or how to call the model, if the log does not.
    #[arg(long, value_name = "NAME", env = "EOSCAST_MODEL_NAME")]
    model_name: Option<String>,

    /// Another name under which workers serve the same generating model; can be given several times.
    #[arg(long, value_name = "NAME", env = "EOSCAST_ALSO_FOR", value_delimiter = ',')]
    also_for: Vec<String>,

    /// What becomes of broken, impossible or repeated lines, and of gaps.
    #[arg(long, env = "EOSCAST_BAD_LINES", default_value = "skip")]
    bad_lines: BadLines,

    /// Seed of training.
    #[arg(long, value_name = "N", env = "EOSCAST_SEED", default_value_t = 0)]
    seed: u64,

    /// Seed of the division in requests for training and test; evaluate takes the same.
    #[arg(long, value_name = "N", env = "EOSCAST_SPLIT_SEED", default_value_t = 0)]
    split_seed: u64,

    /// Most passes over the data; training ends earlier when nothing gets better.
    #[arg(long, value_name = "N", env = "EOSCAST_EPOCHS", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Models {
    One(ModelKind),
    All,
}

impl FromStr for Models {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "all" {
            return Ok(Self::All);
        }
        let kind = ModelKind::parse(name).filter(|kind| *kind != ModelKind::Threshold);
        kind.map(Self::One).ok_or_else(|| {
            let names: Vec<_> = Self::All.kinds().into_iter().map(ModelKind::as_str).collect();
            format!("there is no such model to train; choose all or one of {}", names.join(", "))
        })
    }
}

impl Models {
    /// `threshold` is a rule on top of the prior, and has nothing to train.
    fn kinds(self) -> Vec<ModelKind> {
        match self {
            Self::One(kind) => vec![kind],
            Self::All => ModelKind::ALL.into_iter().filter(|kind| *kind != ModelKind::Threshold).collect(),
        }
    }
}

/// As a file of this kind is called in the folder of `--model all`.
fn file_name(kind: ModelKind) -> String {
    format!("{}.safetensors", kind.as_str())
}

impl TrainArgs {
    #[expect(clippy::print_stdout, reason = "what was written is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dataset = load(&self.data, self.model_name.as_deref(), self.bad_lines)?;
        if self.model == Models::All {
            std::fs::create_dir_all(&self.out).with_context(|| {
                format!("{} cannot be made; with --model all, --out is a folder", self.out.display())
            })?;
        }
        for kind in self.model.kinds() {
            let path = if self.model == Models::All { self.out.join(file_name(kind)) } else { self.out.clone() };
            let options = self.options(kind);
            if self.resume
                && let Ok(artifact) = Artifact::load(&path)
                && artifact.is_made_by(&options.command, &dataset.hash)
            {
                println!("{} (found, {})", path.display(), artifact.start.digest);
                continue;
            }
            let bytes = fit(kind, &dataset, &options)?;
            std::fs::write(&path, &bytes)
                .with_context(|| format!("{} cannot be written; choose another --out", path.display()))?;
            let artifact = Artifact::load(&path)?;
            println!("{} ({} bytes, {})", path.display(), bytes.len(), artifact.start.digest);
        }
        Ok(())
    }

    fn options(&self, kind: ModelKind) -> TrainingOptions {
        TrainingOptions {
            seed: self.seed,
            split_seed: self.split_seed,
            epochs: self.epochs,
            command: format!(
                "eoscast-lab train --data DIR --model {} --out FILE --seed {} --split-seed {} --epochs {}{}",
                kind.as_str(),
                self.seed,
                self.split_seed,
                self.epochs,
                self.also_for.iter().map(|name| format!(" --also-for {name}")).collect::<String>()
            ),
            also_for: self.also_for.clone(),
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

/// Trains one model with a progress bar and a line an epoch; gives the bytes of its artifact.
fn fit(kind: ModelKind, dataset: &Dataset, options: &TrainingOptions) -> anyhow::Result<Vec<u8>> {
    let bar = Progress::items(format!("training {}", kind.as_str()), options.epochs as usize);
    let bytes = train(kind, dataset, options, &mut |FitProgress { what, event }| {
        let line = match &event {
            FitEvent::Note(note) => format!("{what}: {note}"),
            FitEvent::Epoch(epoch) => {
                let validation = epoch.validation_loss.map_or_else(String::new, |loss| {
                    let best = if epoch.best { ", best so far" } else { "" };
                    format!(", validation {loss:.4}{best}")
                });
                format!("{what}: epoch {}/{}, loss {:.4}{validation}", epoch.number, epoch.epochs, epoch.train_loss)
            }
        };
        bar.suspend(|| eprintln!("{line}"));
        if let FitEvent::Epoch(epoch) = event {
            bar.set_message(what);
            bar.set_done(u64::from(epoch.number));
        }
    })?;
    bar.finish();
    Ok(bytes)
}
