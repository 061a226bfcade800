//! `collect`: runs prompts through the engine in this process and writes the event log.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Args;
use eoscast_cli::interrupt::shutdown_signal;
use eoscast_cli::progress::Progress;
use eoscast_log::record::RequestLine;
use serde::Serialize;

use super::engine_args::EngineArgs;
use super::local_engine::{LocalEngine, worker_run};
use crate::collection::folder::{Terms, open_collection};
use crate::collection::requests::{Sampling, requests};
use crate::collection::{StepProgress, collect};
use crate::link::PredictorLink;
use eoscast_log::prompts::{draw, read_prompts};

/// Options of `collect`.
#[derive(Debug, Args)]
pub(super) struct CollectArgs {
    /// JSONL file, one prompt a line: prompt and, if known, id and task. A prompt without an id is named line-N.
    #[arg(long, env = "EOSCAST_PROMPTS", value_name = "FILE")]
    prompts: PathBuf,
    /// Folder for the event log.
    #[arg(long, env = "EOSCAST_OUT", value_name = "FOLDER")]
    out: PathBuf,
    /// Continue an interrupted collection: requests that the folder holds are not run again.
    #[arg(long, env = "EOSCAST_RESUME")]
    resume: bool,
    /// Use so many of the prompts only, drawn by the seed.
    #[arg(long, env = "EOSCAST_LIMIT", value_name = "PROMPTS")]
    limit: Option<usize>,
    /// Replies to each prompt; with several, request ids are ID#1, ID#2 and so on.
    #[arg(long, env = "EOSCAST_SAMPLES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// 0 is greedy.
    #[arg(long, env = "EOSCAST_TEMPERATURE", default_value_t = 1.0)]
    temperature: f32,
    /// Smallest set of tokens with at least this probability.
    #[arg(long, env = "EOSCAST_TOP_P", default_value_t = 1.0)]
    top_p: f32,
    /// Most tokens of a reply; one that is cut counts as censored.
    #[arg(long, env = "EOSCAST_MAX_TOKENS", default_value_t = 1024)]
    max_tokens: u32,
    /// Requests at a time.
    #[arg(long, env = "EOSCAST_CONCURRENCY", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Same seed, same replies, whatever the order and the number of requests at a time.
    #[arg(long, env = "EOSCAST_SEED", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object at the end instead of a table.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Collects until every prompt has its replies, or an interrupt.
pub(super) fn run(args: &CollectArgs) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(collect_all(args))
}

async fn collect_all(args: &CollectArgs) -> anyhow::Result<()> {
    let most = args.engine.max_running;
    ensure!(args.concurrency <= most, "--concurrency: must be at most --max-running {most}, got {}", args.concurrency);
    let mut prompts = read_prompts(&args.prompts)?;
    if let Some(limit) = args.limit {
        prompts = draw(prompts, limit, args.seed);
    }
    let stop = shutdown_signal()?;
    let (link, batches) = PredictorLink::local(worker_run("collect")?);
    let local = LocalEngine::with_link(&args.engine, link).await?;
    let terms = Terms {
        model: local.engine.model().name.clone(),
        temperature: args.temperature,
        top_p: args.top_p,
        max_tokens: args.max_tokens,
        seed: args.seed,
    };
    let mut folder = open_collection(&args.out, &terms, args.resume)?;
    let sampling = Sampling {
        samples: args.samples,
        temperature: args.temperature,
        top_p: args.top_p,
        max_tokens: args.max_tokens,
        seed: args.seed,
    };
    let requests = requests(&prompts, &sampling, folder.done(), &local.preparer)
        .with_context(|| format!("--prompts {}", args.prompts.display()))?;
    let mut progress = CollectProgress::new(folder.done().len(), requests.len());
    collect(&local.engine, batches, requests, args.concurrency as usize, &mut folder, &stop, &mut |step| {
        progress.on_step(step)
    })
    .await?;
    folder.sync()?;
    local.stop().await?;
    progress.bar.finish();
    let summary = progress.summary();
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&summary)?)?,
        false => write!(out, "{summary}")?,
    }
    if summary.remaining > 0 {
        let out = args.out.display();
        bail!(
            "interrupted with {} requests to go: {out} is whole; go on with the same command and --resume",
            summary.remaining
        );
    }
    Ok(())
}

/// What has happened so far.
struct CollectProgress {
    bar: Progress,
    begin: Instant,
    already_there: usize,
    to_do: usize,
    tokens: usize,
    lengths: Vec<u32>,
    cut: usize,
}

/// What a collection did.
#[derive(Debug, Serialize)]
struct CollectSummary {
    /// Run now.
    requests: usize,
    /// Found in the folder.
    already_there: usize,
    /// Left undone by an interrupt.
    remaining: usize,
    tokens: usize,
    seconds: f64,
    tokens_per_s: f64,
    mean_length: f64,
    median_length: u32,
    /// Share of the replies that did not end by themselves.
    share_cut: f64,
}

impl CollectProgress {
    fn new(already_there: usize, to_do: usize) -> Self {
        let bar = Progress::requests("collecting", to_do as u64);
        Self { bar, begin: Instant::now(), already_there, to_do, tokens: 0, lengths: Vec::new(), cut: 0 }
    }

    fn on_step(&mut self, step: StepProgress<'_>) {
        self.tokens += step.tokens;
        self.lengths.extend(step.finished.iter().map(|line| line.output_length));
        self.cut += step.finished.iter().filter(|line: &&RequestLine| line.censored).count();
        self.bar.set_message(format!("{:.0} tokens/s", self.tokens as f64 / self.begin.elapsed().as_secs_f64()));
        self.bar.add(step.finished.len() as u64);
    }

    fn summary(&mut self) -> CollectSummary {
        self.lengths.sort_unstable();
        let requests = self.lengths.len();
        let share = |count: f64| if requests == 0 { 0.0 } else { count / requests as f64 };
        let seconds = self.begin.elapsed().as_secs_f64();
        CollectSummary {
            requests,
            already_there: self.already_there,
            remaining: self.to_do - requests,
            tokens: self.tokens,
            seconds,
            tokens_per_s: self.tokens as f64 / seconds,
            mean_length: share(self.lengths.iter().map(|length| f64::from(*length)).sum()),
            median_length: self.lengths.get(requests / 2).copied().unwrap_or(0),
            share_cut: share(self.cut as f64),
        }
    }
}

impl std::fmt::Display for CollectSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "requests      {:>10}   (found done: {}, left: {})",
            self.requests, self.already_there, self.remaining
        )?;
        writeln!(f, "tokens        {:>10}   in {:.0} s, {:.0} a second", self.tokens, self.seconds, self.tokens_per_s)?;
        writeln!(f, "mean length   {:>10.1}   median {}", self.mean_length, self.median_length)?;
        writeln!(f, "cut           {:>9.1}%", self.share_cut * 100.0)
    }
}
