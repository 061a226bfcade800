//! The demo: both services, a dozen prompts at once, a live forecast of each reply, and how good it was.
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use eoscast_pair::client::chat;
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::predictor::v1::LengthEstimate;
use eoscast_proto::worker::v1 as pb;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pb::generate_response::Event;
use pb::worker_service_client::WorkerServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Tokens between two progress lines where there is no terminal to draw on.
const LINE_EVERY: u32 = 48;
const DRAIN: Duration = Duration::from_secs(30);

/// Starts a predictor and a worker, runs a dozen prompts at once, and compares the forecasts with what came.
#[derive(Debug, Parser)]
#[command(name = "eoscast-demo")]
struct Args {
    /// A GGUF file or a model name.
    #[arg(long, env = "EOSCAST_MODEL", default_value = "smollm2-135m")]
    model: String,
    /// Most tokens of a reply.
    #[arg(long, env = "EOSCAST_MAX_TOKENS", default_value_t = 256)]
    max_tokens: u32,
    /// Where the predictor writes its JSONL.
    #[arg(long, env = "EOSCAST_DATA_DIR", default_value = "data/demo")]
    data: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tokio::runtime::Runtime::new()?.block_on(demo(&args))
}

async fn demo(args: &Args) -> anyhow::Result<()> {
    let loading = ProgressBar::new_spinner().with_message(format!("starting predictor and worker ({})", args.model));
    loading.enable_steady_tick(Duration::from_millis(100));
    let options = PairOptions { data: Some(args.data.clone()), ..PairOptions::worker(&["--model", &args.model]) };
    let mut pair = Pair::start(&options)?;
    loading.finish_and_clear();
    println!("predictor on {}, worker on {} (model {})\n", pair.predictor_addr, pair.worker_addr, args.model);

    let screen = MultiProgress::new();
    let mut replies = JoinSet::new();
    for (i, (task, prompt)) in PROMPTS.iter().enumerate() {
        let mut request = chat(&format!("demo-{i:02}"), prompt, i as u64, args.max_tokens);
        request.task = (*task).to_owned();
        let (client, view) = (pair.worker_client().await?, View::new(&screen, i, task));
        replies.spawn(async move { follow(client, request, view).await.map(|reply| (i, reply)) });
    }
    let mut finished = Vec::new();
    while let Some(reply) = replies.join_next().await {
        finished.push(reply??);
    }
    finished.sort_by_key(|(i, _)| *i);
    for (i, reply) in &finished {
        println!("[{i:02}] {}\n{}\n", PROMPTS[*i].1, reply.text.trim());
    }
    print_table(&finished);

    pair.worker.terminate()?;
    pair.worker.wait(DRAIN)?;
    pair.predictor.terminate()?;
    pair.predictor.wait(DRAIN)?;
    let folder = std::fs::canonicalize(&args.data).context("the predictor left no data folder")?;
    println!("\nEvery step's EOS log-probability: {}/steps-*.jsonl", folder.display());
    println!("One line per request:             {}/requests-*.jsonl", folder.display());
    Ok(())
}

/// A reply, with the estimate that stood after each number of tokens.
struct DemoReply {
    text: String,
    length: u32,
    finish_reason: &'static str,
    arrival: Option<LengthEstimate>,
    estimates: Vec<(u32, LengthEstimate)>,
}

impl DemoReply {
    /// The forecast of the total length that stood at `share` of the reply, tokens.
    fn forecast_at(&self, share: f32) -> Option<f32> {
        let at = (self.length as f32 * share) as u32;
        let standing = self.estimates.iter().rev().find(|(generated, _)| *generated <= at.max(1));
        standing.map(|(_, estimate)| estimate.step as f32 + estimate.mean)
    }
}

async fn follow(
    mut client: WorkerServiceClient<Channel>,
    request: pb::GenerateRequest,
    mut view: View,
) -> anyhow::Result<DemoReply> {
    let mut stream = client.generate(request).await?.into_inner();
    let mut reply =
        DemoReply { text: String::new(), length: 0, finish_reason: "", arrival: None, estimates: Vec::new() };
    while let Some(response) = stream.message().await? {
        match response.event.context("a response without an event")? {
            Event::Chunk(chunk) => {
                reply.text.push_str(&chunk.text);
                reply.length += u32::try_from(chunk.token_ids.len())?;
                view.show(reply.length, &reply.text, chunk.estimate.as_ref());
                reply.estimates.extend(chunk.estimate.map(|estimate| (reply.length, estimate)));
            }
            Event::Complete(complete) => {
                reply.finish_reason = complete.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_");
                reply.arrival = complete.first_estimate;
            }
        }
    }
    view.end(reply.length);
    Ok(reply)
}

/// One request's line on the screen.
struct View {
    bar: ProgressBar,
    name: String,
    on_terminal: bool,
}

impl View {
    fn new(screen: &MultiProgress, i: usize, task: &str) -> Self {
        // The template is a constant; one that does not parse would only cost the looks.
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos:>3} tokens, {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let name = format!("[{i:02}] {task:<11}");
        let bar = screen.add(ProgressBar::new(1).with_style(style).with_prefix(name.clone()));
        Self { bar, name, on_terminal: std::io::stderr().is_terminal() }
    }

    fn show(&mut self, generated: u32, text: &str, estimate: Option<&LengthEstimate>) {
        let tail: String = text.chars().rev().take(32).collect::<Vec<_>>().into_iter().rev().collect();
        let tail = tail.replace('\n', " ");
        let forecast = estimate.map_or_else(|| "no forecast yet".to_owned(), forecast_text);
        if self.on_terminal {
            let to_come = estimate.map_or(0.0, |estimate| estimate.mean);
            self.bar.set_length(u64::from(generated) + to_come.round() as u64);
            self.bar.set_position(generated.into());
            self.bar.set_message(format!("{forecast:<32} {tail}"));
        } else if generated == 1 || generated.is_multiple_of(LINE_EVERY) {
            println!("{} {generated:>3} tokens, {forecast:<32} {tail}", self.name);
        }
    }

    fn end(&self, length: u32) {
        self.bar.set_length(length.into());
        self.bar.finish_with_message("done");
    }
}

/// The mean with the 80 % interval.
fn forecast_text(estimate: &LengthEstimate) -> String {
    match estimate.quantiles.as_slice() {
        [_, _, low, .., high, _, _] => format!("about {:.0} to come ({low:.0} to {high:.0})", estimate.mean),
        _ => format!("about {:.0} to come", estimate.mean),
    }
}

fn print_table(finished: &[(usize, DemoReply)]) {
    let header = ["", "task", "end", "length", "arrival", "at 25%", "at 50%", "at 75%", "error at 50%"];
    println!(
        "{:<4} {:<12} {:<7} {:>6} {:>8} {:>7} {:>7} {:>7} {:>13}",
        header[0], header[1], header[2], header[3], header[4], header[5], header[6], header[7], header[8]
    );
    let mut errors = Vec::new();
    for (i, reply) in finished {
        let tokens = |forecast: Option<f32>| forecast.map_or_else(|| "-".to_owned(), |tokens| format!("{tokens:.0}"));
        let half = reply.forecast_at(0.5);
        let error = half.map(|forecast| forecast - reply.length as f32);
        errors.extend(error.map(f32::abs));
        println!(
            "[{i:02}] {:<12} {:<7} {:>6} {:>8} {:>7} {:>7} {:>7} {:>13}",
            PROMPTS[*i].0,
            reply.finish_reason.to_lowercase(),
            reply.length,
            tokens(reply.arrival.as_ref().map(|estimate| estimate.mean)),
            tokens(reply.forecast_at(0.25)),
            tokens(half),
            tokens(reply.forecast_at(0.75)),
            error.map_or_else(|| "-".to_owned(), |error| format!("{error:+.0}")),
        );
    }
    if !errors.is_empty() {
        let mean = errors.iter().sum::<f32>() / errors.len() as f32;
        println!(
            "\nForecasts are of the total length in tokens. Mean absolute error at half of the reply: {mean:.0}.\n\
             The predictor learns from finished requests; for a model other than SmolLM2-135M-Instruct it begins knowing nothing."
        );
    }
}
