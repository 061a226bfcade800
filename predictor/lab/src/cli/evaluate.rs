//! `evaluate`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use eoscast_log::reader::BadLines;
use eoscast_log::record::Outcome;
use indicatif::{ProgressBar, ProgressStyle};

use super::train::load;
use crate::evaluation::baselines::{Baseline, Ridge};
use crate::evaluation::permutation::{Permutation, permutation};
use crate::evaluation::report::{Evaluation, ModelReport};
use crate::evaluation::{FinishedReply, Judged, table, trained};
use eoscast_forecast::fitting::dataset::Dataset;
use eoscast_forecast::fitting::sample::Sample;
use eoscast_forecast::fitting::split::{Split, groups};
use eoscast_forecast::history::History;
use eoscast_forecast::models::{Artifact, LengthModel, ModelKind};

/// Judge models on the requests of a log that were kept for testing, beside the baselines.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Folder of the event log.
    #[arg(long, value_name = "DIR", env = "EOSCAST_DATA_DIR")]
    data: PathBuf,

    /// Log of replies to further prompts, to be judged on too, but for replies to prompts that --data has or that look the same.
    #[arg(long, value_name = "DIR", env = "EOSCAST_UNSEEN")]
    unseen: Option<PathBuf>,

    /// A trained model, or a folder of them; can be given several times.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT")]
    artifact: Vec<PathBuf>,

    /// A baseline; can be given several times. Without any, all are judged.
    #[arg(long, value_name = "NAME", env = "EOSCAST_EVALUATE_MODEL", value_parser = BASELINES)]
    model: Vec<String>,

    /// Log with several samples of each prompt, for the error that is left when a prompt's own lengths are known.
    #[arg(long, value_name = "DIR", env = "EOSCAST_NOISE_FLOOR")]
    noise_floor: Option<PathBuf>,

    /// Which generating model's requests to use, if the log mixes several.
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

const BASELINES: [&str; 9] = [
    "mean",
    "max-tokens",
    "prompt",
    "prior",
    "threshold",
    "oracle",
    "oracle-noise(0.2)",
    "oracle-noise(0.5)",
    "oracle-noise(1)",
];

/// Fewest requests to judge on.
const LEAST_TEST: usize = 20;

impl EvaluateArgs {
    #[expect(clippy::print_stdout, reason = "the evaluation is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let artifacts = self.artifacts()?;
        let dataset = load(&self.data, self.model_name.as_deref(), self.bad_lines)?;
        let unseen = self.unseen(&dataset)?;
        let further = unseen.as_ref().map_or(&[][..], |log| &log.samples);
        let all: Vec<&Sample> = dataset.samples.iter().chain(further).collect();
        let groups = groups(all.iter().copied());
        let split = Split::with_further(&dataset.samples, further, self.split_seed);
        let replies = |part: &[usize]| -> (Vec<&Sample>, Vec<FinishedReply>) {
            let judged = part.iter().filter(|i| all[**i].is_served_out());
            judged.map(|i| (all[*i], trained::reply(all[*i], groups[*i].clone()))).unzip()
        };
        let (samples, test) = replies(&split.test);
        let (past_samples, past) = replies(&split.train);
        ensure!(
            test.len() >= LEAST_TEST,
            "there are {} requests to judge on, at least {LEAST_TEST} are needed; collect about {} requests",
            test.len(),
            10 * LEAST_TEST
        );
        ensure!(
            !past.is_empty(),
            "--data {}: no request of it was for training, and the baselines learn from those; name the whole log",
            self.data.display()
        );
        let bar = ProgressBar::new((BASELINES.len() + artifacts.len()) as u64)
            .with_style(ProgressStyle::with_template("judging {msg} {bar:40} {pos}/{len} {eta}")?);
        let mut reports = vec![];
        let mut history = History::default();
        past_samples.iter().for_each(|sample| history.push(Outcome::new(sample.length, !sample.ended)));
        for name in BASELINES.iter().filter(|name| self.model.is_empty() || self.model.iter().any(|m| m == *name)) {
            bar.set_message(*name);
            reports.push(match ModelKind::parse(name) {
                Some(kind) => report(kind.build(None, &history).as_ref(), &samples, &test),
                None => {
                    let rule = rule(name, &past)?;
                    ModelReport::new(name, &test.iter().map(|reply| rule.judge(reply)).collect::<Vec<_>>(), None)
                }
            });
            bar.inc(1);
        }
        for artifact in &artifacts {
            bar.set_message(artifact.kind.as_str());
            if !artifact.is_for(&dataset.model) {
                let note = format!(
                    "{} was trained for {}, these requests are of {}",
                    artifact.path.display(),
                    artifact.start.trained_for.join(", "),
                    dataset.model
                );
                bar.suspend(|| eprintln!("{note}"));
            }
            let model = artifact.kind.build(Some(artifact), &History::default());
            reports.push(report(model.as_ref(), &samples, &test));
            bar.inc(1);
        }
        bar.finish_and_clear();
        let several = self.several()?;
        let data_hashes: Vec<&str> =
            std::iter::once(&dataset).chain(&unseen).filter_map(|log| log.hash.get(..8)).collect();
        let mut evaluation =
            Evaluation::new(&test, reports, &describe(&dataset.model, all.len(), &data_hashes, &test), &several);
        if self.permutation {
            evaluation.permutation = Some(without_groups(&evaluation, &artifacts, &samples)?);
        }
        if self.json {
            println!("{}", serde_json::to_string(&evaluation)?);
        } else {
            println!("{}", table::plain(&evaluation));
        }
        Ok(())
    }

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
fn without_groups(evaluation: &Evaluation, artifacts: &[Artifact], samples: &[&Sample]) -> anyhow::Result<Permutation> {
    // Their reports come last, in order.
    let reports = &evaluation.models[evaluation.models.len() - artifacts.len()..];
    let error = |report: &ModelReport| report.mae.unwrap_or(f64::INFINITY);
    let (best, _) = artifacts
        .iter()
        .zip(reports)
        .min_by(|a, b| error(a.1).total_cmp(&error(b.1)))
        .context("--permutation needs a trained model; name one with --artifact")?;
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("without groups of features {bar:40} {pos}/{len} {eta}")?);
    let model = best.kind.build(Some(best), &History::default());
    let found = permutation(model.as_ref(), samples, 0, |groups| {
        bar.set_length(groups as u64);
        bar.inc(1);
    });
    bar.finish_and_clear();
    Ok(found)
}

fn rule(name: &str, past: &[FinishedReply]) -> anyhow::Result<Baseline> {
    Ok(match name {
        "mean" => Baseline::mean(past)?,
        "max-tokens" => Baseline::MaxTokens,
        "prompt" => Baseline::Prompt(Ridge::fit(past)?),
        "oracle" => Baseline::Oracle,
        _ => {
            let cv = name.trim_start_matches("oracle-noise(").trim_end_matches(')');
            Baseline::OracleNoise(cv.parse().with_context(|| format!("{name} is no baseline"))?)
        }
    })
}

fn report(model: &dyn LengthModel, samples: &[&Sample], replies: &[FinishedReply]) -> ModelReport {
    let (judged, times): (Vec<Judged<'_>>, Vec<Duration>) =
        samples.iter().zip(replies).map(|(sample, reply)| trained::judge(model, sample, reply)).unzip();
    let answers: usize = judged.iter().map(|one| one.answers.len()).sum();
    let took: Duration = times.iter().sum();
    ModelReport::new(model.name(), &judged, Some(took.as_secs_f64() * 1e6 / answers.max(1) as f64))
}

fn describe(model: &str, requests: usize, data_hashes: &[&str], test: &[FinishedReply]) -> String {
    let mut temperatures: Vec<f32> = test.iter().map(|reply| reply.temperature).collect();
    temperatures.sort_by(f32::total_cmp);
    temperatures.dedup();
    let temperatures: Vec<String> = temperatures.iter().map(f32::to_string).collect();
    format!(
        "{} of {requests} requests of {model}, held out by prompt; temperature {}; data {}",
        test.len(),
        temperatures.join(", "),
        data_hashes.join(", ")
    )
}
