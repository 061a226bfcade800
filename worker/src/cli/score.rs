//! `score`: feeds given replies through the serving path and prints the log-probabilities that the model gives them, or writes
//! them as an event log.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use eoscast_cli::progress::Progress;
use eoscast_proto::domain::{RequestId, RequestStarted, StepSignals, task_label};
use serde::{Deserialize, Serialize};

use super::local_engine::worker_run;
use super::model_args::ModelArgs;
use super::signal_args::SignalArgs;
use crate::collection::scored::ScoredLog;
use crate::engine::prepare::last_characters;
use crate::runner::{ModelRunner, ModelSpec, TokenSets};
use crate::scoring::{ScoredText, Scores, kv_tokens, score};
use eoscast_model::text::{ChatTemplate, RenderOptions, Tokenizer, Turn};

/// Tokens per KV block; nothing is shared here, so any size will do.
const BLOCK_TOKENS: usize = 16;

/// Options of `score`.
#[derive(Debug, Args)]
pub(super) struct ScoreArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// JSONL file, one request a line: id, prompt, input_ids, output_ids and, if known, task.
    #[arg(long, env = "EOSCAST_INPUT")]
    input: PathBuf,
    /// Print one JSON object a request instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
    /// Folder for an event log of the replies, as if they had been generated at temperature 1.
    #[arg(long, env = "EOSCAST_OUT", value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    signals: SignalArgs,
}

/// One line of the input; other fields are ignored.
#[derive(Debug, Deserialize)]
struct ScoreInput {
    id: String,
    prompt: String,
    input_ids: Vec<u32>,
    output_ids: Vec<u32>,
    task: Option<String>,
}

/// One line of the output. `input_ids` come from our template and tokenizer, not from the input.
#[derive(Debug, Serialize)]
struct ScoreOutput<'a> {
    id: &'a str,
    input_ids: Vec<u32>,
    top1: &'a [u32],
    token_logprob: Vec<f32>,
    eos_logprob: Vec<f32>,
    entropy: Vec<f32>,
}

/// Scores every request of the input file.
pub(super) fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let requests = read_requests(&args.input)?;
    let longest = requests.iter().map(|request| request.input_ids.len() + request.output_ids.len()).max().unwrap_or(0);
    let mut model = args.model.load(kv_tokens(longest.max(1), BLOCK_TOKENS), BLOCK_TOKENS)?;
    let texts = requests
        .iter()
        .map(|request| scored_text(request, model.runner.spec()).with_context(|| format!("request {}", request.id)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut ids = HashSet::new();
    if let Some(twice) = requests.iter().find(|request| !ids.insert(&request.id) && args.out.is_some()) {
        bail!("--out: two requests of {} have the id {}", args.input.display(), twice.id);
    }
    let mut log = match &args.out {
        Some(out) => Some(ScoredLog::open(out, worker_run("score")?)?),
        None => None,
    };
    if log.is_some() {
        model.runner = model.runner.with_sketch(args.signals.sketch())?;
    }
    let spec = model.runner.spec().clone();
    let sets = match args.signals.token_classes {
        true => TokenSets::of_vocabulary(&spec.eos_token_ids, &model.tokenizer, spec.vocab_size),
        false => TokenSets::of_eos(&spec.eos_token_ids),
    };
    let bar = Progress::items("scoring", texts.len());
    let print = |line: &str| bar.suspend(|| writeln!(std::io::stdout(), "{line}"));
    if !args.json {
        print(&table_header())?;
    }
    let mut requests = requests.into_iter();
    for batch in score(&mut model.runner, &texts, &sets) {
        for (scores, request) in batch?.iter().zip(&mut requests) {
            print(&match args.json {
                true => json_line(
                    &request,
                    prompt_tokens(&model.tokenizer, model.chat_template.as_ref(), &request.prompt)?,
                    scores,
                )?,
                false => table_row(&request, scores),
            })?;
            if let Some(log) = &mut log {
                log.append(request.started(&spec, args.signals.prompt_text)?, &request.output_ids, scores)?;
            }
            bar.add(1);
        }
    }
    bar.finish();
    Ok(())
}

impl ScoreInput {
    /// Its arrival, as a worker would tell it.
    fn started(&self, spec: &ModelSpec, tells_prompt: bool) -> anyhow::Result<RequestStarted> {
        let ends = self.output_ids.last().is_some_and(|token| spec.eos_token_ids.contains(token));
        // What a reply that ended by itself might have had is not known; at most the rest of the context.
        let most = if ends { spec.context_length - self.input_ids.len() } else { self.output_ids.len() };
        Ok(RequestStarted {
            request_id: RequestId::try_from(self.id.clone())?,
            model: spec.name.clone(),
            eos_token_ids: spec.eos_token_ids.clone(),
            // Both are bounded by the context, which is read as at most u32::MAX.
            prompt_length: self.input_ids.len() as u32,
            max_tokens: most as u32,
            temperature: 1.0,
            task: task_label(self.task.clone().unwrap_or_default())?,
            output_length: 0,
            ignore_eos: false,
            target_tokens: None,
            prompt: tells_prompt.then(|| last_characters(&self.prompt)),
        })
    }
}

fn read_requests(path: &Path) -> anyhow::Result<Vec<ScoreInput>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut requests = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let place = || format!("{} line {number}", path.display());
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let request: ScoreInput = serde_json::from_str(&line).with_context(place)?;
        ensure!(!request.input_ids.is_empty(), "{}: input_ids is empty", place());
        ensure!(!request.output_ids.is_empty(), "{}: output_ids is empty", place());
        requests.push(request);
    }
    ensure!(!requests.is_empty(), "{} holds no requests", path.display());
    Ok(requests)
}

fn scored_text(request: &ScoreInput, spec: &ModelSpec) -> anyhow::Result<ScoredText> {
    for (field, ids) in [("input_ids", &request.input_ids), ("output_ids", &request.output_ids)] {
        if let Some(id) = ids.iter().find(|id| **id as usize >= spec.vocab_size) {
            bail!("{field}: token {id} is outside the vocabulary of {}", spec.vocab_size);
        }
    }
    let tokens = [request.input_ids.as_slice(), &request.output_ids].concat();
    ensure!(
        tokens.len() <= spec.context_length,
        "input_ids and output_ids: {} tokens exceed the context of {}",
        tokens.len(),
        spec.context_length
    );
    Ok(ScoredText { tokens, prompt_length: request.input_ids.len() })
}

/// The prompt as a single user turn; as plain text if the model has no chat template.
fn prompt_tokens(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, prompt: &str) -> anyhow::Result<Vec<u32>> {
    let Some(template) = template else {
        return Ok(tokenizer.encode_prompt(prompt)?);
    };
    let message = Turn { role: "user", content: prompt };
    Ok(tokenizer.encode(&template.render(&[message], RenderOptions::default())?)?)
}

fn json_line(request: &ScoreInput, input_ids: Vec<u32>, scores: &Scores) -> anyhow::Result<String> {
    let each = |measure: fn(&StepSignals) -> f32| scores.signals.iter().map(measure).collect();
    let line = ScoreOutput {
        id: &request.id,
        input_ids,
        top1: &scores.top1,
        token_logprob: each(|signals| signals.token_logprob),
        eos_logprob: each(|signals| signals.eos_logprob),
        entropy: each(|signals| signals.entropy),
    };
    Ok(serde_json::to_string(&line)?)
}

fn table_header() -> String {
    format!(
        "{:<12} {:>6} {:>8} {:>12} {:>12} {:>10}",
        "request", "tokens", "top-1 %", "logprob/tok", "last eos lp", "entropy"
    )
}

fn table_row(request: &ScoreInput, scores: &Scores) -> String {
    let count = scores.top1.len();
    let mean = |measure: fn(&StepSignals) -> f32| scores.signals.iter().map(measure).sum::<f32>() / count as f32;
    let agreeing = scores.top1.iter().zip(&request.output_ids).filter(|(top, token)| top == token).count();
    format!(
        "{:<12} {:>6} {:>8.1} {:>12.4} {:>12.4} {:>10.4}",
        request.id,
        count,
        100.0 * agreeing as f32 / count as f32,
        mean(|signals| signals.token_logprob),
        scores.signals.last().map_or(f32::NAN, |signals| signals.eos_logprob),
        mean(|signals| signals.entropy),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> anyhow::Result<Vec<ScoreInput>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read_requests(file.path())
    }

    const GOOD: &str = r#"{"id":"a","prompt":"p","input_ids":[1],"output_ids":[2],"entropy":[0.5]}"#;

    #[test]
    fn requests_are_read_with_blank_lines_and_other_fields_ignored() {
        let requests = read(&format!("{GOOD}\n\n{GOOD}\n")).unwrap();
        assert_eq!(requests.len(), 2);
    }

    #[test]
    fn a_bad_line_is_named_by_file_and_number() {
        for (bad, reason) in [
            ("{", "EOF"),
            (r#"{"id":"b"}"#, "prompt"),
            (r#"{"id":"b","prompt":"","input_ids":[],"output_ids":[1]}"#, "input_ids is empty"),
            (r#"{"id":"b","prompt":"","input_ids":[1],"output_ids":[]}"#, "output_ids is empty"),
            (r#"{"id":"b","prompt":"","input_ids":[-1],"output_ids":[1]}"#, "-1"),
        ] {
            let error = format!("{:#}", read(&format!("{GOOD}\n{bad}\n")).unwrap_err());
            assert!(error.contains("line 2") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_missing_or_empty_input_is_named() {
        let error = format!("{:#}", read_requests(Path::new("/nowhere.jsonl")).unwrap_err());
        assert!(error.contains("cannot open /nowhere.jsonl"), "{error}");
        assert!(format!("{:#}", read("").unwrap_err()).contains("holds no requests"));
    }
}
