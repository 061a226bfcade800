//! `evaluate`.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use eoscast_cli::progress::Progress;
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::history::History;
use eoscast_forecast::models::Artifact;
use eoscast_log::reader::BadLines;

use super::dataset::load;
use crate::evaluation::candidate::{BASELINES, Candidate, LENGTH_ONLY, best};
use crate::evaluation::held_out::HeldOut;
use crate::evaluation::permutation::{Permutation, permutation};
use crate::evaluation::report::EvaluationReport;
use crate::evaluation::{FinishedReply, length_only, table, trained};

/// Judge models on the requests of a log that were kept for testing, beside the baselines.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  eoscast-lab evaluate --data data/collected\n  eoscast-lab evaluate --data data/collected --artifact survival.safetensors"
)]
pub(super) struct EvaluateArgs {
    /// Folder of the event log, or of another log with the twelve classic fields.
    #[arg(long, value_name = "DIR", env = "EOSCAST_DATA_DIR")]
    data: PathBuf,

    /// Log of replies to further prompts, to be judged on too, but for replies to prompts that --data has or that look the same.
    #[arg(long, value_name = "DIR", env = "EOSCAST_UNSEEN")]
    unseen: Option<PathBuf>,

    /// A trained model, or a folder of them; can be given several times. Without any, and without --model, it is the one that ships.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT")]
    artifact: Vec<PathBuf>,

    /// A baseline; can be given several times. Without any, all are judged; length-only is fitted on the requests for training.
    #[arg(long, value_name = "NAME", env = "EOSCAST_EVALUATE_MODEL", value_parser = BASELINES)]
    model: Vec<String>,

    /// Log with several samples of each prompt, for the error that is left when a prompt's own lengths are known.
    #[arg(long, value_name = "DIR", env = "EOSCAST_NOISE_FLOOR")]
    noise_floor: Option<PathBuf>,

    /// Which generating model's requests to use, if the log mixes several; or how to call the model, if the log does not.
    #[arg(long, value_name = "NAME", env = "EOSCAST_MODEL_NAME")]
    model_name: Option<String>,

    /// Seed of the division in requests for training and test: that of train.
    #[arg(long, value_name = "N", env = "EOSCAST_SPLIT_SEED", default_value_t = 0)]
    split_seed: u64,

    /// What becomes of broken, impossible or repeated lines, and of gaps.
    #[arg(long, env = "EOSCAST_BAD_LINES", default_value = "skip")]
    bad_lines: BadLines,

    /// Say what the best of the trained models loses without each group of features (permutation importance).
    #[arg(long, env = "EOSCAST_PERMUTATION")]
    permutation: bool,

    /// Print one JSON object.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
}

impl EvaluateArgs {
    #[expect(clippy::print_stdout, reason = "the evaluation is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let given = self.artifacts()?;
        let log = load(&self.data, self.model_name.as_deref(), self.bad_lines)?;
        let unseen = self.unseen(&log)?;
        let data = HeldOut::new(&log, unseen.as_ref(), self.split_seed)
            .with_context(|| format!("--data {}", self.data.display()))?;
        let artifacts = self.artifacts_for(given, &log.model)?;
        let length_only = self.length_only(&log, &data, &artifacts)?;
        let names = BASELINES.iter().filter(|name| self.is_asked(name));
        let names: Vec<&str> = names.copied().filter(|name| *name != LENGTH_ONLY || length_only.is_some()).collect();

        let bar = Progress::items("judging", names.len() + artifacts.len());
        let mut reports = vec![];
        for name in names {
            bar.set_message(name);
            let candidate = match &length_only {
                Some(fitted) if name == LENGTH_ONLY => Candidate::Trained(fitted),
                _ => Candidate::baseline(name, &data)?,
            };
            reports.push(candidate.judge(&data));
            bar.add(1);
        }
        for artifact in &artifacts {
            bar.set_message(artifact.kind.as_str());
            reports.push(Candidate::Trained(artifact).judge(&data));
            bar.add(1);
        }
        bar.finish();
        let several = self.several()?;
        let mut evaluation = EvaluationReport::new(&data.replies, reports, &data.description(), &several);
        if self.permutation {
            evaluation.permutation = Some(without_groups(&evaluation, &artifacts, &data)?);
        }
        if self.json {
            println!("{}", serde_json::to_string(&evaluation)?);
        } else {
            println!("{}", table::plain(&evaluation));
        }
        Ok(())
    }

    fn is_asked(&self, baseline: &str) -> bool {
        self.model.is_empty() || self.model.iter().any(|name| name == baseline)
    }

    /// The artifacts that were given.
    fn artifacts(&self) -> anyhow::Result<Vec<Artifact>> {
        let mut files = vec![];
        for path in &self.artifact {
            if path.is_dir() {
                let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
                let mut found: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
                found.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
                ensure!(!found.is_empty(), "{} holds no artifact (*.safetensors)", path.display());
                found.sort();
                files.extend(found);
            } else {
                files.push(path.clone());
            }
        }
        // The prior is judged as a baseline, with what it has seen of the training requests.
        let loaded = files.iter().map(|path| Artifact::load(path)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(loaded.into_iter().filter(|artifact| artifact.kind.is_trained()).collect())
    }

    /// The artifacts to judge on replies of `model`: those `given`, else the one that ships, if it was trained for `model`.
    fn artifacts_for(&self, given: Vec<Artifact>, model: &str) -> anyhow::Result<Vec<Artifact>> {
        let is_shipped = self.artifact.is_empty() && self.model.is_empty();
        let mut artifacts = if is_shipped { vec![ArtifactSource::Shipped.load()?] } else { given };
        let others = artifacts.iter().filter(|artifact| !artifact.is_for(model));
        for artifact in others {
            let left_out = if is_shipped { "; it is left out" } else { "" };
            eprintln!(
                "{} was trained for {}, these requests are of {model}{left_out}",
                artifact.path.display(),
                artifact.start.trained_for.join(", "),
            );
        }
        artifacts.retain(|artifact| !is_shipped || artifact.is_for(model));
        Ok(artifacts)
    }

    /// The model that sees lengths only, fitted unless one of the artifacts is such a model. With too few requests it is left out, if
    /// nobody asked for it by name.
    fn length_only(
        &self,
        log: &Dataset,
        data: &HeldOut<'_>,
        artifacts: &[Artifact],
    ) -> anyhow::Result<Option<Artifact>> {
        let is_named = self.model.iter().any(|name| name == LENGTH_ONLY);
        let is_given = artifacts.iter().any(|artifact| artifact.kind.as_str() == LENGTH_ONLY);
        if !self.is_asked(LENGTH_ONLY) || is_given && !is_named {
            return Ok(None);
        }
        let bar = Progress::uncounted("fitting length-only", "passes over the data");
        let fitted = length_only::fit(log, &data.train, self.split_seed, || bar.add(1));
        bar.finish();
        match fitted {
            Err(error) if !is_named => {
                eprintln!("length-only is left out: {error:#}");
                Ok(None)
            }
            fitted => fitted.context("--model length-only").map(Some),
        }
    }

    /// The log of further prompts.
    fn unseen(&self, dataset: &Dataset) -> anyhow::Result<Option<Dataset>> {
        let Some(path) = &self.unseen else { return Ok(None) };
        let unseen = load(path, self.model_name.as_deref(), self.bad_lines)?;
        ensure!(
            unseen.model == dataset.model,
            "--unseen {}: replies of {}, but --data has those of {}",
            path.display(),
            unseen.model,
            dataset.model
        );
        Ok(Some(unseen))
    }

    fn several(&self) -> anyhow::Result<Vec<FinishedReply>> {
        let Some(path) = &self.noise_floor else { return Ok(vec![]) };
        let dataset = load(path, self.model_name.as_deref(), self.bad_lines)?;
        let samples = dataset.samples.iter().filter(|sample| sample.is_served_out());
        let replies: Vec<FinishedReply> =
            samples.map(|sample| trained::reply(sample, sample.prompt_name().to_owned())).collect();
        let prompts: HashSet<&str> = replies.iter().map(|reply| reply.group.as_str()).collect();
        ensure!(
            prompts.len() < replies.len(),
            "--noise-floor {}: {} requests of {} prompts, but at least one prompt needs several; collect with --samples",
            path.display(),
            replies.len(),
            prompts.len()
        );
        Ok(replies)
    }
}

/// What the best of `artifacts` loses without each group of features.
fn without_groups(
    evaluation: &EvaluationReport,
    artifacts: &[Artifact],
    data: &HeldOut<'_>,
) -> anyhow::Result<Permutation> {
    // Their reports come last, in order.
    let reports = &evaluation.models[evaluation.models.len() - artifacts.len()..];
    let best = best(artifacts, reports).context("--permutation needs a trained model; name one with --artifact")?;
    let model = best.kind.build(Some(best), &History::default());
    let bar = Progress::items("judging without groups of features", 0);
    let found = permutation(model.as_ref(), &data.samples, 0, |groups| {
        bar.set_total(groups as u64);
        bar.add(1);
    });
    bar.finish();
    Ok(found)
}
