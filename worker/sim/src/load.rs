//! How hard a workload presses: on time, and on memory. Both follow from the requests and the engine alone, so that
//! policies are compared at the same load.

use crate::cost::CostModel;
use crate::trace::TraceRequest;
use eoscast_sched::SchedulerConfig;

/// Means over the requests of a workload, and what an engine makes of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    output_tokens: f64,
    /// KV tokens held, summed over the steps of a reply.
    kv_token_steps: f64,
    config: SchedulerConfig,
    /// Seconds of a request at a full batch: its part of the steps it is in, and its own work.
    service_seconds: f64,
    /// Of a decode step, what each sequence adds, its part of prefill included.
    sequence_seconds: f64,
    step_seconds: f64,
}

impl Demand {
    /// The demand of `requests` on an engine.
    pub fn of(requests: &[TraceRequest], config: SchedulerConfig, cost: &CostModel) -> Self {
        let count = requests.len().max(1) as f64;
        let mean = |of: &dyn Fn(&TraceRequest) -> f64| requests.iter().map(of).sum::<f64>() / count;
        let prompt = |request: &TraceRequest| f64::from(request.prompt_tokens);
        let output = |request: &TraceRequest| f64::from(request.output_tokens);
        let (prompt_tokens, output_tokens) = (mean(&prompt), mean(&output));
        // In step j a reply holds prompt + j - 1 tokens, and on average half a block that is not full.
        let unfilled = f64::from(config.block_size - 1) / 2.0;
        let held = |request: &TraceRequest| prompt(request) + (output(request) - 1.0) / 2.0 + unfilled;
        let kv_token_steps = mean(&|request| output(request) * held(request));
        let prefill_pairs = mean(&|request| prompt(request) * (prompt(request) + 1.0) / 2.0);
        // What limits the batch decides how many steps a request costs when the batch is full.
        let steps = (kv_token_steps / config.kv_tokens() as f64)
            .max(output_tokens / f64::from(config.max_running))
            .max((prompt_tokens + output_tokens) / f64::from(config.max_batched_tokens));
        let own_seconds = output_tokens * cost.decode
            + kv_token_steps * cost.decode_context
            + prompt_tokens * cost.prefill_token
            + prefill_pairs * cost.prefill_pair;
        Self {
            output_tokens,
            kv_token_steps,
            config,
            service_seconds: steps * cost.step + own_seconds,
            sequence_seconds: own_seconds / output_tokens.max(1.0),
            step_seconds: cost.step,
        }
    }

    /// Load: the share of time that the engine would need if its batch were full always and nothing were computed twice.
    pub fn rho(&self, rate: f64) -> f64 {
        rate * self.service_seconds
    }

    /// Requests a second at load `rho`.
    pub fn rate(&self, rho: f64) -> f64 {
        rho / self.service_seconds
    }

    /// KV tokens that the batch would hold on average if memory were no limit, over the budget. By Little's law such a
    /// batch is b = rate * output * step(b), with the time of a step linear in b; `max_running` bounds it.
    pub fn kv_pressure(&self, rate: f64) -> f64 {
        let tokens_per_second = rate * self.output_tokens;
        let left = 1.0 - tokens_per_second * self.sequence_seconds;
        let most = f64::from(self.config.max_running);
        let batch = if left > 0.0 { (tokens_per_second * self.step_seconds / left).min(most) } else { most };
        batch * self.kv_token_steps / self.output_tokens.max(1.0) / self.config.kv_tokens() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_the_time_of_full_batches_and_pressure_the_kv_of_an_unlimited_one() {
        let request = TraceRequest { row: 0, arrival: None, prompt_tokens: 100, output_tokens: 101, max_tokens: 200 };
        let config = SchedulerConfig { block_size: 1, num_blocks: 1500, max_running: 40, max_batched_tokens: 256 };
        let cost = CostModel { step: 10e-3, decode: 1e-3, decode_context: 0.0, prefill_token: 1e-3, prefill_pair: 0.0 };
        // 150 tokens on average in 101 steps: ten fit, so a request costs 10.1 steps of 10 ms, and 201 ms of its own.
        let demand = Demand::of(&[request], config, &cost);
        assert!((demand.rho(2.0) - 2.0 * (0.101 + 0.201)).abs() < 1e-9, "{}", demand.rho(2.0));
        assert!((demand.rho(demand.rate(0.7)) - 0.7).abs() < 1e-12);
        // b = 202 tokens/s * (10 ms + b * 201/101 ms): 3.38.
        let batch = 2.02 / (1.0 - 0.402);
        assert!((demand.kv_pressure(2.0) - batch * 150.0 / 1500.0).abs() < 1e-9);
        // Beyond what the work itself allows, as many run as may.
        assert_eq!(demand.kv_pressure(f64::INFINITY), 4.0);
    }
}
