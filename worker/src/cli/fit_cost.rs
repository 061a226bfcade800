//! `bench --fit-cost`: times single steps of the engine, and fits what each part of one costs.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::ensure;
use eoscast_cli::progress::Progress;
use eoscast_sim::{CostModel, StepWork};
use tokio::task::JoinSet;

use super::bench_args::BenchArgs;
use super::bench_load::{arrivals, request};
use super::local_engine::{LocalEngine, worker_run};
use crate::link::PredictorLink;
use crate::runner::{ModelRunner, ModelSpec, Output, RunnerError, SequenceSlice};
use eoscast_sim::cost_file::write_cost;

/// Tokens of the prompts.
const PROMPT_TOKENS: [u32; 4] = [16, 96, 384, 1024];
/// Most prompt tokens of a run, so that prefill does not take for ever.
const MAX_PREFILL_TOKENS_PER_RUN: u32 = 4096;
/// A step further from the fit than so many times the median distance was disturbed by something else.
const DISTURBED_OVER_MEDIAN_ERROR: f64 = 4.0;

/// When each step began to compute, and what.
type Steps = Arc<Mutex<Vec<(Instant, StepWork)>>>;

/// Notes what passes to the model. From one step's computation to the next lies a whole turn of the engine's loop.
struct RecordingRunner {
    inner: Box<dyn ModelRunner>,
    steps: Steps,
}

impl ModelRunner for RecordingRunner {
    fn spec(&self) -> &ModelSpec {
        self.inner.spec()
    }

    fn forward(&mut self, batch: &[SequenceSlice<'_>], output: &mut Output) -> Result<(), RunnerError> {
        let mut work = StepWork::default();
        for slice in batch {
            // Positions are below the context length, which is read as at most u32::MAX.
            work.add(slice.start as u32, slice.tokens.len() as u32);
        }
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), work));
        self.inner.forward(batch, output)
    }
}

/// Measures, fits, prints, and writes the prices to `file`.
pub(super) async fn run(args: &BenchArgs, file: &Path) -> anyhow::Result<()> {
    let steps = Steps::default();
    let link = PredictorLink::new(args.predictor.url(), worker_run("bench")?);
    let recorded = Arc::clone(&steps);
    let wrap =
        |runner| -> Box<dyn ModelRunner> { Box::new(RecordingRunner { inner: Box::new(runner), steps: recorded }) };
    let local = LocalEngine::with_runner(&args.engine, link, wrap).await?;
    let spec = local.engine.model().clone();
    let mut runs = Vec::new();
    for &concurrency in &args.concurrency {
        for prompt_tokens in PROMPT_TOKENS {
            let prefill = concurrency as u64 * u64::from(prompt_tokens);
            let kv = prefill + concurrency as u64 * u64::from(args.output_tokens);
            let fits = kv <= (spec.num_blocks * spec.block_size) as u64
                && (prompt_tokens + args.output_tokens) as usize <= spec.context_length;
            if fits && prefill <= u64::from(MAX_PREFILL_TOKENS_PER_RUN) {
                runs.push((concurrency, prompt_tokens));
            }
        }
    }
    ensure!(!runs.is_empty(), "--concurrency: nothing fits the KV budget and the context of {}", spec.context_length);
    let bar = Progress::items("measuring", runs.len() * (args.repeats as usize + 1));
    let mut measured = Vec::new();
    // The first pass warms caches and page tables.
    for repeat in 0..=args.repeats {
        for (index, (concurrency, prompt_tokens)) in runs.iter().enumerate() {
            let mut replies = JoinSet::new();
            for i in 0..*concurrency {
                let seed = (u64::from(repeat) << 40) + ((index as u64) << 20) + i as u64;
                let request = request([*prompt_tokens, args.output_tokens], seed, spec.vocab_size as u64)?;
                replies.spawn(arrivals(local.engine.submit(request)?));
            }
            while let Some(reply) = replies.join_next().await {
                reply??;
            }
            let steps = std::mem::take(&mut *steps.lock().unwrap_or_else(PoisonError::into_inner));
            if repeat > 0 {
                measured.extend(durations(&steps));
            }
            bar.add(1);
        }
    }
    bar.finish();
    local.stop().await?;
    let Fit { cost, steps, kept, raised, median_error, errors_within_90 } = fit(&measured)?;
    write_cost(file, cost)?;
    let mut out = std::io::stdout().lock();
    for (name, price) in cost.named() {
        writeln!(out, "{name:15} {:>12.4} us", 1e6 * price)?;
    }
    writeln!(
        out,
        "{kept} of {steps} steps, times {raised:.3} to cost what all took; off by {:.1} % at the median, by {:.1} % at most in \
         90 % of them; wrote {}",
        100.0 * median_error,
        100.0 * errors_within_90,
        file.display()
    )?;
    Ok(())
}

/// The last step has no next one that would tell when it was over.
fn durations(steps: &[(Instant, StepWork)]) -> impl Iterator<Item = (StepWork, f64)> {
    steps.windows(2).map(|pair| (pair[0].1, (pair[1].0 - pair[0].0).as_secs_f64()))
}

struct Fit {
    cost: CostModel,
    /// Measured.
    steps: usize,
    /// Those that the fit rests on.
    kept: usize,
    /// Factor by which that was too cheap for all steps together.
    raised: f64,
    /// Relative errors of those that were kept.
    median_error: f64,
    errors_within_90: f64,
}

/// Fits twice: the second time without steps that something else disturbed. These take time all the same, so prices are then
/// raised until all steps together cost what they took, and a load of 1 is what can really be served.
fn fit(measured: &[(StepWork, f64)]) -> anyhow::Result<Fit> {
    ensure!(!measured.is_empty(), "--output-tokens: too few to time a step");
    let error = |cost: &CostModel, (work, seconds): &(StepWork, f64)| (cost.seconds(work) / seconds - 1.0).abs();
    let sorted = |cost: &CostModel, steps: &[(StepWork, f64)]| {
        let mut errors: Vec<f64> = steps.iter().map(|step| error(cost, step)).collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors
    };
    let first = CostModel::fit(measured);
    let bound = DISTURBED_OVER_MEDIAN_ERROR * sorted(&first, measured)[measured.len() / 2];
    let kept: Vec<_> = measured.iter().filter(|step| error(&first, step) <= bound).copied().collect();
    let undisturbed = CostModel::fit(&kept);
    let took: f64 = measured.iter().map(|(_, seconds)| seconds).sum();
    let predicted: f64 = measured.iter().map(|(work, _)| undisturbed.seconds(work)).sum();
    let raised = took / predicted;
    let cost = undisturbed.times(raised);
    let errors = sorted(&cost, &kept);
    Ok(Fit {
        cost,
        steps: measured.len(),
        kept: kept.len(),
        raised,
        median_error: errors[errors.len() / 2],
        errors_within_90: errors[errors.len() * 9 / 10],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_were_disturbed_count_in_the_sum_only() {
        let truth = CostModel::WORKER;
        let mut measured = Vec::new();
        for batch in 1..=32 {
            for context in [50, 700] {
                let mut work = StepWork::default();
                (0..batch).for_each(|_| work.add(context, 1));
                work.add(context, 16 * (batch % 5));
                let jitter = 1.0 + 0.01 * f64::from(batch % 3) - 0.01;
                measured.push((work, jitter * truth.seconds(&work)));
            }
        }
        let undisturbed = measured.len();
        measured[5].1 *= 3.0;
        measured[40].1 *= 2.0;
        let Fit { cost, kept, steps, median_error, .. } = fit(&measured).unwrap();
        assert!(steps == undisturbed && kept <= steps - 2 && kept > steps / 2, "{kept} of {steps}");
        let shape = |cost: &CostModel| cost.decode / cost.prefill_token;
        assert!((shape(&cost) / shape(&truth) - 1.0).abs() < 0.05 && median_error < 0.05, "{cost:?} {median_error}");
        let sum = |time: &dyn Fn(&(StepWork, f64)) -> f64| measured.iter().map(time).sum::<f64>();
        assert!((sum(&|step| cost.seconds(&step.0)) / sum(&|step| step.1) - 1.0).abs() < 1e-6, "{cost:?}");
        assert!(fit(&[]).is_err());
    }
}
