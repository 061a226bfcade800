//! The load of a worker by its forecasts: what a balancer needs to see memory become free before it is.
//!
//! Of the next [`WINDOW`] steps, step j = 0, 1, ... has an expected use. A running request that holds h tokens and runs
//! in step j with probability S(j) adds
//!
//! ```text
//! (h + j) S(j)
//! ```
//!
//! A waiting request adds its known tokens k until it is admitted, in step d, and (k + j - d) S(j - d) from then on: it
//! asks for its memory already, so that a queue counts and the load may exceed 1. Requests are admitted in rank order.
//! Each joins in the first step from which on the expected use of those that run leaves it room, and one of the places
//! of the batch is free.
//!
//! The load is the mean of the expected use over the window, over the KV budget. The largest use would not do: while
//! nobody ends it stays the same, however near the ends are.

use crate::config::SchedulerConfig;
use crate::sharing::charged_before;
use crate::view::Outlook;

/// Steps that are looked ahead.
pub const WINDOW: usize = 256;

/// The standard normal distribution stays below this with probability 0.9.
const Z_90: f64 = 1.281_551_565_5;

/// What the running and waiting requests of a worker will need, by their forecasts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ForecastLoad {
    /// Expected KV tokens held, averaged over the next [`WINDOW`] steps, over the KV budget; what waiting requests ask
    /// for counts, so it may exceed 1.
    pub mean: f64,
    /// The same in the step of these in which it is largest.
    pub peak: f64,
    /// Expected tokens that all requests will still generate.
    pub outstanding_mean: f64,
    /// Tokens that all requests together will not exceed with probability 0.9: a sum of independent lengths is taken to be
    /// normal.
    pub outstanding_p90: f64,
}

/// Adds up the requests of a worker: first all that run, then those that wait, in rank order.
#[derive(Debug)]
pub(crate) struct ForecastUse {
    config: SchedulerConfig,
    /// Expected tokens that admitted requests hold in each step.
    held: [f64; WINDOW],
    /// Expected number of them that run in each step.
    running: [f64; WINDOW],
    /// Tokens that waiting requests ask for in each step.
    asked: [f64; WINDOW],
    /// The step in which the last of the waiting was admitted; [`WINDOW`] once one was not.
    admitted_in: usize,
    outstanding: Outstanding,
}

/// Mean and variance of the tokens still to generate.
#[derive(Clone, Copy, Debug, Default)]
struct Outstanding {
    requests: usize,
    mean: f64,
    variance: f64,
}

impl ForecastUse {
    /// The use of a running batch with its block tables, in running order; empty tables if no block is shared.
    ///
    /// A shared block is counted once, for that of its requests which is expected to end last.
    pub(crate) fn of_running(config: SchedulerConfig, running: &[Outlook], tables: &[&[u32]]) -> Self {
        let mut used = Self {
            config,
            held: [0.0; WINDOW],
            running: [0.0; WINDOW],
            asked: [0.0; WINDOW],
            admitted_in: 0,
            outstanding: Outstanding::default(),
        };
        let mut batch: Vec<(&Outlook, &[u32])> = running.iter().zip(tables.iter().copied()).collect();
        batch.sort_by(|(a, _), (b, _)| b.mean_remaining().total_cmp(&a.mean_remaining()));
        let shared = charged_before(batch.iter().map(|&(_, table)| table), config.num_blocks);
        for (&(outlook, _), shared_blocks) in batch.iter().zip(shared) {
            used.hold(outlook, outlook.view.known().saturating_sub(shared_blocks * config.block_size), 0);
            used.outstanding.add(outlook);
        }
        used
    }

    /// Adds the next of the waiting.
    pub(crate) fn add_waiting(&mut self, outlook: &Outlook) {
        let known = outlook.view.known();
        self.outstanding.add(outlook);
        self.admitted_in = self.admission_of(f64::from(known));
        self.asked[..self.admitted_in].iter_mut().for_each(|asked| *asked += f64::from(known));
        self.hold(outlook, known, self.admitted_in);
    }

    /// Adds the rest of a long queue: so many requests, with so many known tokens. They are taken to be as long as those
    /// added before, and to wait for the whole window.
    pub(crate) fn add_rest(&mut self, requests: usize, known_tokens: u64) {
        self.asked.iter_mut().for_each(|asked| *asked += known_tokens as f64);
        let counted = self.outstanding;
        let share = requests as f64 / counted.requests.max(1) as f64;
        self.outstanding.mean += counted.mean * share;
        self.outstanding.variance += counted.variance * share;
    }

    /// The figures of all that was added.
    pub(crate) fn load(&self) -> ForecastLoad {
        let budget = self.config.kv_tokens() as f64;
        let shares = || self.held.iter().zip(&self.asked).map(|(held, asked)| (held + asked) / budget);
        let Outstanding { mean, variance, .. } = self.outstanding;
        ForecastLoad {
            mean: shares().sum::<f64>() / WINDOW as f64,
            peak: shares().fold(0.0, f64::max),
            outstanding_mean: mean,
            outstanding_p90: mean + Z_90 * variance.sqrt(),
        }
    }

    /// The first step from which on there is room for `known` tokens and a place; [`WINDOW`] if there is none.
    fn admission_of(&self, known: f64) -> usize {
        let (budget, places) = (self.config.kv_tokens() as f64, f64::from(self.config.max_running));
        let fits = |step: &usize| self.held[*step] + known <= budget && self.running[*step] + 1.0 <= places;
        let full = (self.admitted_in..WINDOW).rev().find(|step| !fits(step));
        full.map_or(self.admitted_in, |step| step + 1)
    }

    /// A request with so many tokens joins in step `from`.
    fn hold(&mut self, outlook: &Outlook, mut tokens: u32, from: usize) {
        for (step, runs) in (from..WINDOW).zip(outlook.survival_by_token()) {
            self.held[step] += f64::from(tokens) * runs;
            self.running[step] += runs;
            tokens = tokens.saturating_add(1);
        }
    }
}

impl Outstanding {
    fn add(&mut self, outlook: &Outlook) {
        self.requests += 1;
        self.mean += f64::from(outlook.mean_remaining());
        self.variance += outlook.variance();
    }
}
