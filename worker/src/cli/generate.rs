//! `generate`: one reply in this process, with its forecast as a bar.

use std::io::{IsTerminal, Write};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use eoscast_cli::address::OptionalServer;
use eoscast_proto::domain::{
    ChatMessage, Chunk, Complete, Conversation, Forecast, GenerateSpec, Input, LengthControl, LengthEstimate,
    ReplyEvent, SamplingParams,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio_stream::StreamExt;

use super::engine_args::EngineArgs;
use super::local_engine::LocalEngine;
use crate::engine::ReplyStream;

/// Options of `generate`.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// What to say to the model.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    prompt: String,
    /// System message of the chat.
    #[arg(long, env = "EOSCAST_SYSTEM")]
    system: Option<String>,
    /// Continue the prompt as it is, without the chat template.
    #[arg(long, env = "EOSCAST_RAW", conflicts_with = "system")]
    raw: bool,
    /// Most tokens of the reply.
    #[arg(long, env = "EOSCAST_MAX_TOKENS", default_value_t = 512)]
    max_tokens: u32,
    /// Raise EOS as the reply approaches this many tokens, so that it ends at a natural place instead of being cut.
    #[arg(long, env = "EOSCAST_TARGET_TOKENS")]
    target_tokens: Option<u32>,
    /// 0 is greedy.
    #[arg(long, env = "EOSCAST_TEMPERATURE", default_value_t = 0.7)]
    temperature: f32,
    /// Smallest set of tokens with at least this probability.
    #[arg(long, env = "EOSCAST_TOP_P", default_value_t = 1.0)]
    top_p: f32,
    /// Same seed, same reply.
    #[arg(long, env = "EOSCAST_SEED")]
    seed: Option<u64>,
    /// A predictor for the forecast, or none; without one the bar shows max-tokens alone.
    #[arg(long, env = "EOSCAST_PREDICTOR", default_value = "127.0.0.1:50052", value_name = "HOST:PORT|none")]
    predictor: OptionalServer,
    /// Print one JSON object instead of text and bar.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Generates one reply.
pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(generate(args))
}

async fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let spec = args.spec()?;
    let local = LocalEngine::start("generate", &args.engine, args.predictor.url()).await?;
    if let Some(url) = args.predictor.url().filter(|_| !local.has_predictor && !args.json) {
        eprintln!("no predictor at {url}: no forecast (start one with `eoscast-predictor serve`)");
    }
    let request = local.preparer.prepare(spec, None)?;
    let max_tokens = request.max_tokens;
    let reply = local.engine.submit(request)?;
    let shown = if args.json { print_json(reply).await } else { print_text(reply, max_tokens).await };
    local.stop().await?;
    shown
}

impl GenerateArgs {
    fn spec(&self) -> anyhow::Result<GenerateSpec> {
        let message = |role: &str, content: &str| ChatMessage::new(role.to_owned(), content.to_owned());
        let system = self.system.iter().map(|text| message("system", text));
        let sampling = SamplingParams {
            temperature: self.temperature,
            top_p: self.top_p,
            max_tokens: Some(self.max_tokens),
            seed: self.seed,
            length_control: self
                .target_tokens
                .map(|target_tokens| LengthControl { target_tokens, strength: LengthControl::DEFAULT_STRENGTH }),
            ..Default::default()
        };
        sampling.validate()?;
        Ok(GenerateSpec {
            request_id: None,
            input: if self.raw {
                Input::Text(self.prompt.clone())
            } else {
                let messages = system.chain([message("user", &self.prompt)]).collect::<Result<_, _>>()?;
                Input::Chat(Conversation::new(messages))
            },
            sampling,
            priority: 0,
            task: None,
            include_eos_logprob: true,
            include_estimate: true,
        })
    }
}

async fn print_json(mut reply: ReplyStream) -> anyhow::Result<()> {
    let (mut text, mut eos_logprobs, mut forecasts) = (String::new(), Vec::new(), Vec::new());
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Chunk(chunk) => {
                text.push_str(&chunk.text);
                eos_logprobs.extend(chunk.eos_logprobs);
                forecasts.push(chunk.estimate.map(|estimate| estimate.forecast.remaining.mean));
            }
            ReplyEvent::Complete(complete) => {
                let line = json!({
                    "text": text,
                    "finish_reason": complete.finish_reason,
                    "prompt_tokens": complete.prompt_tokens,
                    "cached_prompt_tokens": complete.cached_prompt_tokens,
                    "completion_tokens": complete.completion_tokens,
                    "seed": complete.seed,
                    "first_token_s": complete.first_token.as_secs_f64(),
                    "total_s": complete.total.as_secs_f64(),
                    "eos_logprobs": eos_logprobs,
                    "forecast_mean_remaining": forecasts,
                    "first_estimate": complete.first_estimate,
                });
                writeln!(std::io::stdout(), "{line}")?;
            }
        }
    }
    Ok(())
}

async fn print_text(mut reply: ReplyStream, max_tokens: u32) -> anyhow::Result<()> {
    let mut screen = Screen::new(max_tokens);
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Chunk(chunk) => screen.show(&chunk)?,
            ReplyEvent::Complete(complete) => screen.end(&complete)?,
        }
    }
    Ok(())
}

/// Text on stdout and, on a terminal, the forecast as a bar below the line that is being written.
struct Screen {
    bar: ProgressBar,
    /// The line that is not complete yet; shown above the bar.
    line: String,
    generated: u64,
    on_terminal: bool,
}

impl Screen {
    fn new(max_tokens: u32) -> Self {
        let on_terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new(max_tokens.into()) } else { ProgressBar::hidden() };
        // A template that does not parse would only cost the looks.
        let style = ProgressStyle::with_template("{prefix}\n[{bar:40}] {pos} tokens, {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        bar.set_message("no forecast yet");
        Self { bar, line: String::new(), generated: 0, on_terminal }
    }

    fn show(&mut self, chunk: &Chunk) -> std::io::Result<()> {
        self.generated += chunk.token_ids.len() as u64;
        if let Some(estimate) = &chunk.estimate {
            self.bar.set_length(self.generated + estimate.forecast.remaining.mean.round() as u64);
            self.bar.set_message(forecast_text(estimate));
        }
        self.bar.set_position(self.generated);
        if !self.on_terminal {
            let mut out = std::io::stdout().lock();
            out.write_all(chunk.text.as_bytes())?;
            return out.flush();
        }
        self.line.push_str(&chunk.text);
        if let Some(end) = self.line.rfind('\n') {
            let rest = self.line.split_off(end + 1);
            let lines = std::mem::replace(&mut self.line, rest);
            self.bar.suspend(|| std::io::stdout().write_all(lines.as_bytes()))?;
        }
        self.bar.set_prefix(self.line.clone());
        Ok(())
    }

    fn end(&mut self, complete: &Complete) -> std::io::Result<()> {
        self.bar.finish_and_clear();
        writeln!(std::io::stdout(), "{}", self.line)?;
        let seconds = complete.total.as_secs_f64();
        let forecast = complete
            .first_estimate
            .as_ref()
            .map_or_else(String::new, |first| format!("; forecast on arrival: {}", forecast_text(first)));
        writeln!(
            std::io::stderr(),
            "[{}] {} tokens in {seconds:.1} s (first after {:.2} s, seed {}){forecast}",
            complete.finish_reason.as_str(),
            complete.completion_tokens,
            complete.first_token.as_secs_f64(),
            complete.seed,
        )
    }
}

/// The mean with the 80 % interval.
fn forecast_text(estimate: &LengthEstimate) -> String {
    let Forecast { mean, quantiles: [_, _, low, .., high, _, _], .. } = estimate.forecast.remaining;
    format!("about {mean:.0} to come ({low:.0} to {high:.0})")
}
