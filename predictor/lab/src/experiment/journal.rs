//! What was measured so far, as JSONL: the first pass, then each run as it ends, so that an interrupted experiment goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use eoscast_sim::cost_file::CostFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::open_loop::Served;
use super::options::ExperimentOptions;
use super::run::{DetailedRun, MeasuredRun};

/// What replies and arrivals hang on. Policies, loads and rounds may be added to an experiment later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// A GGUF file or a model name.
    pub(crate) model: String,
    /// Ids of the prompts, in the order in which they were drawn.
    pub(crate) prompts: Vec<String>,
    /// Decides replies and arrivals.
    pub(crate) seed: u64,
    /// Sampling temperature.
    pub(crate) temperature: f32,
    /// Most tokens of a reply.
    pub(crate) max_tokens: u32,
    /// KV budget in tokens.
    pub(crate) kv_tokens: u32,
    /// Most requests in the running batch.
    pub(crate) max_running: u32,
}

impl Setting {
    /// Of an experiment with these prompts.
    pub(crate) fn new(options: &ExperimentOptions, prompts: impl Iterator<Item = String>) -> Self {
        Self {
            model: options.model.clone(),
            prompts: prompts.collect(),
            seed: options.seed,
            temperature: options.temperature,
            max_tokens: options.max_tokens,
            kv_tokens: options.kv_tokens,
            max_running: options.max_running,
        }
    }
}

/// What the first pass found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FirstPass {
    /// Of what.
    pub(crate) setting: Setting,
    /// What became of each prompt; none where the worker refused it.
    pub(crate) served: Vec<Option<Served>>,
    /// Prices with which the simulator would have taken as long.
    pub(crate) cost: CostFile,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: String,
}

impl Journal {
    /// Opens the journal at `path`, or begins one; gives what stands in it. A line that was cut off is removed.
    ///
    /// # Errors
    /// The file cannot be read or written, or tells of another experiment.
    pub(crate) fn open(path: &Path, setting: &Setting) -> anyhow::Result<(Self, Option<FirstPass>, Vec<MeasuredRun>)> {
        let name = path.display().to_string();
        let open = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = open.with_context(|| format!("--out: cannot open {name}"))?;
        let text = std::fs::read_to_string(path).with_context(|| format!("--out: cannot read {name}"))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines().zip(1..);
        let first: Option<FirstPass> = lines.next().map(|line| parse(line, &name)).transpose()?;
        ensure!(
            first.as_ref().is_none_or(|first| first.setting == *setting),
            "--out: {name} tells of an experiment with other prompts, seed, model or limits; name another folder, or remove that file"
        );
        let outcomes =
            lines.map(|line| Ok(parse::<DetailedRun>(line, &name)?.outcome)).collect::<anyhow::Result<_>>()?;
        file.set_len(whole as u64).with_context(|| format!("--out: cannot write {name}"))?;
        Ok((Self { file, path: name }, first, outcomes))
    }

    /// Writes down what the first pass or a run found.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn add(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(line)? + "\n";
        self.file.write_all(line.as_bytes()).with_context(|| format!("--out: cannot write {}", self.path))
    }
}

fn parse<T: DeserializeOwned>((line, number): (&str, u32), name: &str) -> anyhow::Result<T> {
    serde_json::from_str(line).with_context(|| format!("--out: {name}, line {number}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::outcome;
    use super::*;
    use eoscast_sim::CostModel;

    fn first(seed: u64) -> FirstPass {
        let setting = Setting {
            model: "m".to_owned(),
            prompts: vec!["a".to_owned(), "b".to_owned()],
            seed,
            temperature: 0.8,
            max_tokens: 768,
            kv_tokens: 4096,
            max_running: 64,
        };
        FirstPass { setting, served: vec![None, Some(Served::default())], cost: CostModel::WORKER.into() }
    }

    #[test]
    fn an_experiment_goes_on_behind_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.jsonl");
        let first = first(1);
        let runs = [outcome("fcfs", 0.5, 0, 3.0), outcome("srpt-pred", 0.5, 0, 4.0)];
        let detailed =
            runs.clone().map(|outcome| DetailedRun { outcome, served: vec![("a".to_owned(), Served::default())] });
        let (mut journal, found, outcomes) = Journal::open(&path, &first.setting).unwrap();
        assert!(found.is_none() && outcomes.is_empty());
        journal.add(&first).unwrap();
        journal.add(&detailed[0]).unwrap();
        journal.file.write_all(b"{\"policy\":\"srpt").unwrap();
        let (mut journal, found, outcomes) = Journal::open(&path, &first.setting).unwrap();
        assert_eq!((found.as_ref(), outcomes.as_slice()), (Some(&first), &runs[..1]));
        journal.add(&detailed[1]).unwrap();
        let (_, _, outcomes) = Journal::open(&path, &first.setting).unwrap();
        assert_eq!(outcomes, runs);
    }

    #[test]
    fn the_journal_of_another_experiment_or_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.jsonl");
        let (mut journal, ..) = Journal::open(&path, &first(1).setting).unwrap();
        journal.add(&first(1)).unwrap();
        let error = Journal::open(&path, &first(2).setting).unwrap_err().to_string();
        assert!(error.contains("runs.jsonl tells of an experiment with other prompts"), "{error}");
        journal.add(&7).unwrap();
        let error = Journal::open(&path, &first(1).setting).unwrap_err().to_string();
        assert!(error.contains("runs.jsonl, line 2"), "{error}");
    }
}
