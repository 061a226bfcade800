//! The probability that the batch will hold more than the budget stays within EPS, by the whole forecasts.
//!
//! In step j request i, if it still runs, holds b_i(j) blocks, and runs with probability S_i(j). Lengths being
//! independent given the forecasts, the batch then holds
//!
//! ```text
//! mean(j) = sum of b_i(j) S_i(j),    variance(j) = sum of b_i(j)^2 S_i(j) (1 - S_i(j))
//! ```
//!
//! and, as a sum of many, about normally. The rule is `mean(j) + z sqrt(variance(j)) <= budget` in every step j, where z
//! is exceeded with probability EPS. A margin of z standard deviations grows as the root of the batch: quantiles of each
//! request grow with the batch, and either reserve for the case that all run long at once or for none. With certain
//! forecasts the variance is 0 and the rule is `peak`, exactly so while each ending is looked at, in batches of up to 16.
//!
//! Steps looked at: the next, the median of each of up to 16 requests evenly spread over the batch by length (between
//! endings use grows, so the maximum lies in an ending), and two further quantiles of every fourth of them. A request
//! that is admitted adds its median.

use super::rule::{AdmissionControl, AdmissionRule};
use crate::signature::{Argument, Bounds};
use std::cmp::Reverse;

use super::future::PrefillQueue;
use crate::config::SchedulerConfig;
use crate::sharing::charged_before;
use crate::view::Outlook;

/// Default bound on the probability.
const EPS: f64 = 0.05;

/// Requests whose median is looked at.
const MEDIANS: usize = 16;
/// Those of them whose other quantiles are, too.
const OTHERS_EVERY: usize = 4;
/// Where the quantiles 0.2, 0.5 and 0.9 are among the knots.
const EARLY: usize = 4;
const MEDIAN: usize = 7;
const LATE: usize = 11;

/// Survival probabilities at the knots: those of [`LEVELS`](crate::LEVELS), and the ends.
const SURVIVAL: [f32; 15] = [1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01, 0.0];

const PROBABILITIES: Bounds = Bounds { expected: "a probability between 0 and 1", holds: |eps| eps > 0.0 && eps < 1.0 };

const ARGUMENT: Argument = Argument::Optional { placeholder: "EPS", default: EPS, bounds: PROBABILITIES };

pub(super) static RULE: AdmissionRule =
    AdmissionRule::on_forecast("risk", ARGUMENT, |eps, config| Box::new(PooledRisk::new(eps, config)));

#[derive(Debug)]
struct PooledRisk {
    config: SchedulerConfig,
    /// Standard deviations kept free.
    z: f64,
    prefill: PrefillQueue,
    batch: Vec<Member>,
    uses: Vec<Use>,
}

/// A request of the batch: its survival function falls straight from knot to knot.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Tokens held in the next step.
    held: u32,
    /// Steps of prefill before the one that samples.
    delay: u32,
    /// Quantiles of the remaining length at [`SURVIVAL`], tokens.
    knots: [f32; 15],
}

/// What the batch holds in a step, blocks.
#[derive(Clone, Copy, Debug)]
struct Use {
    step: u32,
    mean: f64,
    variance: f64,
}

impl Member {
    fn new(outlook: &Outlook, prefill: &mut PrefillQueue) -> Self {
        let mut knots = [0.0; 15];
        knots[1..14].copy_from_slice(&outlook.quantiles());
        // The outermost hundredths reach as far beyond the last level as that is from the one before.
        knots[0] = (2.0 * knots[1] - knots[2]).max(0.0);
        knots[14] = (2.0 * knots[13] - knots[12]).min(outlook.view.max_remaining() as f32);
        Self { held: outlook.view.known(), delay: prefill.delay_of_next(&outlook.view), knots }
    }

    /// The step in which it ends at a quantile.
    fn end(&self, knot: usize) -> u32 {
        // At least 1, and the cast saturates.
        (self.knots[knot].ceil() as u32).saturating_add(self.delay)
    }

    /// Probability that it runs in a step: that more than `step - 1` tokens remain. `passed` counts knots that are
    /// known to be no more than that, and is brought up to date.
    fn runs_in(&self, step: u32, passed: &mut usize) -> f64 {
        if step <= self.delay {
            return 1.0;
        }
        let tokens = (step - 1 - self.delay) as f32;
        while self.knots.get(*passed).is_some_and(|&knot| knot <= tokens) {
            *passed += 1;
        }
        match *passed {
            0 => 1.0,
            15 => 0.0,
            next => {
                let part = (tokens - self.knots[next - 1]) / (self.knots[next] - self.knots[next - 1]);
                f64::from(SURVIVAL[next - 1] + part * (SURVIVAL[next] - SURVIVAL[next - 1]))
            }
        }
    }

    /// Adds itself to what is held in steps that ascend.
    fn add_to(&self, uses: &mut [Use], block_size: u32) {
        let mut passed = 0;
        for in_step in uses {
            *in_step = in_step.and(self, self.runs_in(in_step.step, &mut passed), block_size);
        }
    }
}

impl Use {
    fn none(step: u32) -> Self {
        Self { step, mean: 0.0, variance: 0.0 }
    }

    /// With a member that runs in this step with a probability of `runs`.
    fn and(self, member: &Member, runs: f64, block_size: u32) -> Self {
        let held = member.held.saturating_add(self.step - 1);
        let blocks = f64::from(held.div_ceil(block_size));
        let variance = self.variance + blocks * blocks * runs * (1.0 - runs);
        Self { mean: self.mean + blocks * runs, variance, ..self }
    }
}

impl PooledRisk {
    fn new(eps: f64, config: SchedulerConfig) -> Self {
        let prefill = PrefillQueue::new(config.max_batched_tokens);
        Self { config, z: normal_quantile(1.0 - eps), prefill, batch: Vec::new(), uses: Vec::new() }
    }

    /// What the batch holds in the steps looked at, and in the one in which `new` ends at its median.
    fn uses_with_end_of(&self, new: &Member) -> Vec<Use> {
        let mut uses = self.uses.clone();
        let end = new.end(MEDIAN);
        if let Err(at) = uses.binary_search_by_key(&end, |in_step| in_step.step) {
            let mut own = [Use::none(end)];
            self.batch.iter().for_each(|member| member.add_to(&mut own, self.config.block_size));
            uses.insert(at, own[0]);
        }
        uses
    }
}

impl AdmissionControl for PooledRisk {
    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        self.prefill = PrefillQueue::new(self.config.max_batched_tokens);
        let members = running.iter().map(|outlook| Member::new(outlook, &mut self.prefill));
        let mut batch: Vec<(Member, &[u32])> = members.zip(tables.iter().copied()).collect();
        batch.sort_by_key(|(member, _)| Reverse(member.end(MEDIAN)));
        let shared = charged_before(batch.iter().map(|&(_, table)| table), self.config.num_blocks);
        let block_size = self.config.block_size;
        // A shared block is full, and the token computed next is in none: `held` stays above 0.
        let charged =
            |(&(member, _), blocks): (&(Member, _), u32)| Member { held: member.held - blocks * block_size, ..member };
        self.batch = batch.iter().zip(shared).map(charged).collect();

        let mut steps = vec![1];
        let apart = self.batch.len().div_ceil(MEDIANS).max(1);
        for (i, member) in self.batch.iter().step_by(apart).enumerate() {
            steps.push(member.end(MEDIAN));
            if i % OTHERS_EVERY == 0 {
                steps.extend([member.end(EARLY), member.end(LATE)]);
            }
        }
        steps.sort_unstable();
        steps.dedup();
        self.uses = steps.into_iter().map(Use::none).collect();
        self.batch.iter().for_each(|member| member.add_to(&mut self.uses, block_size));
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        let new = Member::new(candidate, &mut self.prefill.clone());
        let mut uses = self.uses_with_end_of(&new);
        new.add_to(&mut uses, self.config.block_size);
        let budget = f64::from(self.config.num_blocks);
        uses.iter().all(|in_step| in_step.mean + self.z * in_step.variance.sqrt() <= budget)
    }

    fn add(&mut self, admitted: &Outlook) {
        let new = Member::new(admitted, &mut self.prefill);
        self.uses = self.uses_with_end_of(&new);
        new.add_to(&mut self.uses, self.config.block_size);
        self.batch.push(new);
    }
}

/// What a standard normal variable stays below with this probability, to 4.5e-4 (Abramowitz and Stegun 26.2.23).
fn normal_quantile(probability: f64) -> f64 {
    let tail = probability.min(1.0 - probability);
    let t = (-2.0 * tail.ln()).sqrt();
    let numerator = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let denominator = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let magnitude = t - numerator / denominator;
    if probability < 0.5 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::super::peak::QuantilePeak;
    use super::*;
    use crate::remaining::{LEVELS, RemainingLength};
    use crate::view::{Request, RequestView, tests::view};
    use proptest::prelude::*;

    fn config(num_blocks: u32, block_size: u32) -> SchedulerConfig {
        SchedulerConfig { block_size, num_blocks, max_running: 64, max_batched_tokens: 64 }
    }

    fn outlook(prompt_tokens: u32, generated: u32, forecast: RemainingLength) -> Outlook {
        let request = Request { prompt_tokens, max_tokens: 1000, ..view(1).request };
        let computed = if generated > 0 { prompt_tokens + generated - 1 } else { 0 };
        Outlook::new(RequestView { request, generated, computed, ..view(1) }, Some(forecast))
    }

    fn uniform(from: f32, to: f32) -> RemainingLength {
        RemainingLength { mean: (from + to) / 2.0, quantiles: LEVELS.map(|level| from + level * (to - from)) }
    }

    fn admits(eps: f64, config: SchedulerConfig, running: &[Outlook], candidate: &Outlook) -> bool {
        let mut gate = PooledRisk::new(eps, config);
        gate.reset(running, &vec![&[][..]; running.len()]);
        gate.fits(candidate)
    }

    /// The least budget with which `candidate` joins.
    fn least_blocks(eps: f64, running: &[Outlook], candidate: &Outlook) -> u32 {
        (1..100_000).find(|&blocks| admits(eps, config(blocks, 1), running, candidate)).unwrap()
    }

    #[test]
    fn the_margin_is_that_many_standard_deviations_of_the_sum() {
        // In step 101 each of 100 requests holds 101 tokens, or with probability 0.5 none.
        let member = Member::new(&outlook(1, 0, uniform(0.0, 200.0)), &mut PrefillQueue::new(1000));
        let mut uses = [Use::none(101)];
        (0..100).for_each(|_| member.add_to(&mut uses, 1));
        let [sum] = uses;
        assert!((sum.mean - 5050.0).abs() < 0.1);
        assert!((sum.variance.sqrt() - 505.0).abs() < 0.1);
    }

    #[test]
    fn a_pool_needs_less_for_each_than_one_alone() {
        let request = outlook(100, 0, uniform(1.0, 400.0));
        let running = outlook(100, 1, uniform(1.0, 400.0));
        let alone = least_blocks(0.05, &[], &request);
        let pooled = least_blocks(0.05, &vec![running; 49], &request);
        assert!(f64::from(pooled) < 0.6 * 50.0 * f64::from(alone), "{pooled} of 50 * {alone}");
    }

    #[test]
    fn an_admitted_request_counts_for_the_next() {
        let request = outlook(100, 0, RemainingLength::certain(20));
        let mut gate = PooledRisk::new(0.05, config(200, 1));
        gate.reset(&[], &[]);
        assert!(gate.fits(&request));
        gate.add(&request);
        assert!(!gate.fits(&request));
    }

    #[test]
    fn the_normal_quantile_is_that_of_the_tables() {
        for (probability, z) in [(0.5, 0.0), (0.95, 1.6449), (0.99, 2.3263), (0.999, 3.0902), (0.2, -0.8416)] {
            assert!((normal_quantile(probability) - z).abs() < 1e-3, "{probability}");
        }
    }

    fn batch(forecast: impl Strategy<Value = RemainingLength>) -> impl Strategy<Value = Vec<Outlook>> {
        let request = (1u32..200, 0u32..100, forecast);
        prop::collection::vec(
            request.prop_map(|(prompt, generated, forecast)| outlook(prompt, generated, forecast)),
            1..=MEDIANS + 1,
        )
    }

    proptest! {
        #[test]
        fn with_certain_forecasts_the_rule_is_peak(
            batch in batch((1u32..300).prop_map(RemainingLength::certain)),
            block_size in 1u32..17,
            num_blocks in 1u32..600,
            eps in 0.01f64..0.5,
        ) {
            let config = config(num_blocks, block_size);
            let (candidate, running) = batch.split_first().unwrap();
            let mut peak = QuantilePeak::new(0.5, config);
            peak.reset(running, &vec![&[][..]; running.len()]);
            prop_assert_eq!(admits(eps, config, running, candidate), peak.fits(candidate));
        }

        #[test]
        fn what_a_smaller_risk_admits_a_larger_one_does(
            batch in batch((1f32..200.0, 0f32..300.0).prop_map(|(from, more)| uniform(from, from + more))),
            num_blocks in 1u32..4000,
            small in 0.001f64..0.999,
            large in 0.001f64..0.999,
        ) {
            let (candidate, running) = batch.split_first().unwrap();
            let admits = |eps| admits(eps, config(num_blocks, 1), running, candidate);
            prop_assert!(!admits(small.min(large)) || admits(small.max(large)));
        }
    }
}
