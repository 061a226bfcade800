//! A line of load in the log every ten seconds, as long as there is any.

use std::time::{Duration, Instant};

use eoscast_proto::domain::EngineLoad;
use tracing::info;

use crate::engine::EngineHandle;
use crate::metrics::TokenTotals;

/// Time from one line to the next.
const INTERVAL: Duration = Duration::from_secs(10);

/// Logs the load until it is dropped.
pub(crate) async fn log(engine: EngineHandle) {
    let mut before = (Instant::now(), engine.metrics().totals());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = (Instant::now(), engine.metrics().totals());
        let (load, _) = engine.metrics().load();
        if let Some(line) = LoadLine::between(before, now, load) {
            line.log();
        }
        before = now;
    }
}

/// What a line says.
#[derive(Debug, PartialEq)]
struct LoadLine {
    running: u32,
    waiting: u32,
    kv_usage: f64,
    prompt_tokens_per_second: f64,
    generated_tokens_per_second: f64,
    /// None if nothing was looked for.
    prefix_cache_hit_rate: Option<f64>,
}

impl LoadLine {
    /// Of the time between two readings. Nothing if the worker was idle.
    fn between(before: (Instant, TokenTotals), now: (Instant, TokenTotals), load: EngineLoad) -> Option<Self> {
        let ((began, before), (ended, now)) = (before, now);
        let is_idle = load.running_requests == 0 && load.waiting_requests == 0 && before == now;
        let seconds = (ended - began).as_secs_f64();
        let per_second = |from: u64, to: u64| rounded(to.saturating_sub(from) as f64 / seconds, 1);
        let queries = now.cache_queries.saturating_sub(before.cache_queries);
        let hits = now.cache_hits.saturating_sub(before.cache_hits);
        (!is_idle).then(|| Self {
            running: load.running_requests,
            waiting: load.waiting_requests,
            kv_usage: rounded(load.kv_usage(), 3),
            prompt_tokens_per_second: per_second(before.prompt, now.prompt),
            generated_tokens_per_second: per_second(before.generated, now.generated),
            prefix_cache_hit_rate: (queries > 0).then(|| rounded(hits as f64 / queries as f64, 3)),
        })
    }

    fn log(&self) {
        info!(
            running = self.running,
            waiting = self.waiting,
            kv_usage = self.kv_usage,
            prompt_tokens_per_second = self.prompt_tokens_per_second,
            generated_tokens_per_second = self.generated_tokens_per_second,
            prefix_cache_hit_rate = self.prefix_cache_hit_rate,
            "load"
        );
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: TokenTotals, now: TokenTotals, load: EngineLoad) -> Option<LoadLine> {
        let began = Instant::now();
        LoadLine::between((began, before), (began + INTERVAL, now), load)
    }

    #[test]
    fn the_line_tells_rates_over_the_time_since_the_last_one() {
        let before = TokenTotals { prompt: 100, generated: 1000, cache_queries: 64, cache_hits: 64 };
        let now = TokenTotals { prompt: 350, generated: 1501, cache_queries: 96, cache_hits: 80 };
        let load = EngineLoad {
            running_requests: 3,
            waiting_requests: 2,
            kv_blocks_used: 1,
            kv_blocks_total: 3,
            ..Default::default()
        };
        let expected = LoadLine {
            running: 3,
            waiting: 2,
            kv_usage: 0.333,
            prompt_tokens_per_second: 25.0,
            generated_tokens_per_second: 50.1,
            prefix_cache_hit_rate: Some(0.5),
        };
        assert_eq!(between(before, now, load), Some(expected));
    }

    #[test]
    fn an_idle_worker_is_quiet_and_one_that_was_busy_meanwhile_is_not() {
        let totals = TokenTotals { generated: 7, ..Default::default() };
        assert_eq!(between(totals, totals, EngineLoad::default()), None);
        assert!(between(TokenTotals::default(), totals, EngineLoad::default()).is_some());
        let waiting = EngineLoad { waiting_requests: 1, ..Default::default() };
        assert!(between(totals, totals, waiting).is_some());
    }
}
