//! How long a step takes: a sum of what is computed, each term with a constant price.

use std::fmt;

use crate::fit::non_negative_least_squares;
use eoscast_sched::StepPlan;

/// What one step computes, in the units that the cost model prices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepWork {
    /// Sequences that decode a token.
    pub decodes: u32,
    /// KV entries that these read, over all of them.
    pub decode_context: u64,
    /// Tokens computed by prefill.
    pub prefill_tokens: u32,
    /// Pairs of such a token with one that it attends to.
    pub prefill_pairs: u64,
}

impl StepWork {
    /// The work of a plan. One token is a decode; so is the last of a prefill if it comes alone, which costs the same.
    pub fn of(plan: &StepPlan) -> Self {
        let mut sum = Self::default();
        for work in &plan.work {
            sum.add(work.start, work.tokens);
        }
        sum
    }

    /// Adds `tokens` computed from position `start` on.
    pub fn add(&mut self, start: u32, tokens: u32) {
        let (start, tokens64) = (u64::from(start), u64::from(tokens));
        if tokens == 1 {
            self.decodes += 1;
            self.decode_context += start + 1;
        } else {
            self.prefill_tokens += tokens;
            self.prefill_pairs += tokens64 * start + tokens64 * (tokens64 + 1) / 2;
        }
    }

    fn terms(&self) -> [f64; 5] {
        [
            1.0,
            f64::from(self.decodes),
            self.decode_context as f64,
            f64::from(self.prefill_tokens),
            self.prefill_pairs as f64,
        ]
    }
}

/// Prices in seconds. Whatever is computed again after preemption is paid again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostModel {
    /// Of a step, whatever is in it: reading the weights, launching, scheduling.
    pub step: f64,
    /// Of a sequence that decodes.
    pub decode: f64,
    /// Of a KV entry that a decode reads.
    pub decode_context: f64,
    /// Of a token in prefill.
    pub prefill_token: f64,
    /// Of a pair of a token in prefill and one that it attends to.
    pub prefill_pair: f64,
}

impl CostModel {
    /// SmolLM2-135M-Instruct Q4_1 on a machine of two CPU cores that others used too, by `eoscast-worker bench
    /// --fit-cost`: 982 steps, off by 13 % at the median. Measured on a machine of one's own it is nearer.
    pub const WORKER: Self =
        Self { step: 7.76e-3, decode: 7.79e-4, decode_context: 9.48e-7, prefill_token: 8.37e-4, prefill_pair: 7.21e-7 };

    /// Llama 2 70B on two H100 80GB, tensor-parallel: fitted to the times published with Patel et al., "Splitwise:
    /// Efficient Generative LLM Inference Using Phase Splitting", ISCA'24 (splitwise-sim, `data/perf_model.csv`). It is
    /// furthest off, 28 % too slow, for a short prompt alone, whose tokens cost nothing beside the reading of weights.
    pub const H100: Self = Self {
        step: 0.0350,
        decode: 3.43e-4,
        decode_context: 3.57e-7,
        prefill_token: 1.206e-4,
        prefill_pair: 1.061e-8,
    };

    /// Seconds that `work` takes.
    pub fn seconds(&self, work: &StepWork) -> f64 {
        self.prices().iter().zip(work.terms()).map(|(price, amount)| price * amount).sum()
    }

    /// The prices, none negative, for which the squared relative errors of the measured `(work, seconds)` are least in
    /// sum: a slow step counts no more than a fast one.
    pub fn fit(measured: &[(StepWork, f64)]) -> Self {
        let rows = measured.iter().map(|(work, seconds)| (work.terms().map(|term| term / seconds), 1.0));
        let [step, decode, decode_context, prefill_token, prefill_pair] = non_negative_least_squares(rows);
        Self { step, decode, decode_context, prefill_token, prefill_pair }
    }

    /// Every price times `factor`.
    pub fn times(&self, factor: f64) -> Self {
        let [step, decode, decode_context, prefill_token, prefill_pair] = self.prices().map(|price| price * factor);
        Self { step, decode, decode_context, prefill_token, prefill_pair }
    }

    fn prices(&self) -> [f64; 5] {
        [self.step, self.decode, self.decode_context, self.prefill_token, self.prefill_pair]
    }

    /// The names and prices, for a table.
    pub fn named(&self) -> [(&'static str, f64); 5] {
        let names = ["step", "decode", "decode_context", "prefill_token", "prefill_pair"];
        std::array::from_fn(|i| (names[i], self.prices()[i]))
    }

    /// # Errors
    /// A price is negative or no number, or time would stand still.
    pub fn check(&self) -> Result<(), CostError> {
        for (name, price) in self.named() {
            if !(price >= 0.0 && price.is_finite()) {
                return Err(CostError { name, price });
            }
        }
        if self.step + self.decode <= 0.0 { Err(CostError { name: "step", price: self.step }) } else { Ok(()) }
    }
}

/// A price that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostError {
    name: &'static str,
    price: f64,
}

impl fmt::Display for CostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, price } = self;
        write!(f, "cost model: {name} is {price}: prices are seconds, finite, not negative, and a step must cost some")
    }
}

impl std::error::Error for CostError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(parts: &[(u32, u32)]) -> StepWork {
        let mut work = StepWork::default();
        parts.iter().for_each(|&(start, tokens)| work.add(start, tokens));
        work
    }

    #[test]
    fn a_decode_reads_its_context_and_prefill_attends_to_all_before() {
        let expected = StepWork { decodes: 2, decode_context: 101 + 1, prefill_tokens: 3, prefill_pairs: 11 + 12 + 13 };
        assert_eq!(work(&[(100, 1), (0, 1), (10, 3)]), expected);
    }

    #[test]
    fn a_fit_finds_the_prices_that_the_steps_were_made_with() {
        let truth =
            CostModel { step: 5e-3, decode: 8e-4, decode_context: 2e-6, prefill_token: 9e-4, prefill_pair: 0.0 };
        let mut measured = Vec::new();
        for batch in [1, 4, 16] {
            for context in [10, 300, 900] {
                for chunk in [0, 64, 256] {
                    let mut work = StepWork::default();
                    (0..batch).for_each(|_| work.add(context, 1));
                    if chunk > 0 {
                        work.add(context / 2, chunk);
                    }
                    measured.push((work, truth.seconds(&work)));
                }
            }
        }
        for ((name, found), (_, price)) in CostModel::fit(&measured).named().into_iter().zip(truth.named()) {
            assert!((found - price).abs() <= 1e-6 * truth.step, "{name}: {found} {price}");
        }
    }

    /// Batch, prompt tokens of each, and the medians in milliseconds of the prompt phase and of a token (each of 128) for
    /// Llama 2 70B on two H100.
    const SPLITWISE: [(u32, u32, f64, f64); 12] = [
        (1, 128, 48.3, 37.2),
        (1, 256, 51.8, 37.8),
        (1, 512, 83.8, 37.0),
        (1, 1024, 157.9, 37.4),
        (1, 2048, 310.3, 37.4),
        (1, 4096, 642.7, 37.5),
        (1, 8192, 1340.2, 37.8),
        (2, 512, 155.8, 37.4),
        (4, 512, 299.8, 40.0),
        (8, 512, 605.4, 40.4),
        (16, 512, 1191.9, 42.0),
        (32, 512, 2396.0, 52.3),
    ];

    #[test]
    fn the_h100_preset_is_the_fit_to_the_published_times() {
        let mut measured = Vec::new();
        for (batch, prompt, prompt_ms, token_ms) in SPLITWISE {
            let (mut prefill, mut decode) = (StepWork::default(), StepWork::default());
            for _ in 0..batch {
                prefill.add(0, prompt);
                decode.add(prompt + 64, 1);
            }
            measured.extend([(prefill, prompt_ms / 1e3), (decode, token_ms / 1e3)]);
        }
        let fitted = CostModel::fit(&measured);
        for ((name, preset), (_, price)) in CostModel::H100.named().into_iter().zip(fitted.named()) {
            assert!((preset - price).abs() <= 0.01 * price, "{name}: {preset}, fitted {price}");
        }
        for (work, seconds) in measured {
            let error = CostModel::H100.seconds(&work) / seconds - 1.0;
            assert!(error.abs() < 0.3, "{work:?}: {error}");
        }
    }

    #[test]
    fn prices_that_make_no_sense_are_named() {
        let error = CostModel { decode: -1.0, ..CostModel::WORKER }.check().unwrap_err().to_string();
        assert!(error.contains("decode is -1"), "{error}");
        assert!(CostModel { step: 0.0, decode: 0.0, ..CostModel::WORKER }.check().is_err());
        assert!(CostModel::WORKER.check().is_ok() && CostModel::H100.check().is_ok());
    }
}
