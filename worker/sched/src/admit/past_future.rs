//! The future peak with lengths drawn from the past (Gong et al., "Past-Future Scheduler for LLM Serving under SLA
//! Guarantees", ASPLOS'25): what ended lately stands for what will.
//!
//! Each request draws a length from the last 1000: one that runs, from those above what it generated. Several such
//! futures are drawn, fewer the larger the batch, and the largest of their peaks stays below the budget less a reserve.

use super::future::FuturePeak;
use super::rule::{AdmissionControl, AdmissionRule};
use crate::config::SchedulerConfig;
use crate::draw::uniform;
use crate::history::{LengthHistory, WINDOW, at};
use crate::signature::{Argument, Bounds};
use crate::view::Outlook;

/// The part of the budget kept free.
pub(super) const RESERVE: f64 = 0.03;

/// What half of the history holds before anything ended.
const FIRST_LENGTH: u32 = 512;

const MOST_FUTURES: usize = 5;

/// Requests that all futures of a round have together, about.
const DRAWS: usize = 200;

const PARTS: Bounds = Bounds { expected: "a part from 0 to less than 1", holds: |part| (0.0..1.0).contains(&part) };

const ARGUMENT: Argument = Argument::Optional { placeholder: "RESERVE", default: RESERVE, bounds: PARTS };

pub(super) static RULE: AdmissionRule =
    AdmissionRule::new("past-future", ARGUMENT, |reserve, config| Box::new(PastFuture::new(reserve, config)));

#[derive(Debug)]
struct PastFuture {
    /// Blocks below which the peaks stay.
    limit: f64,
    history: LengthHistory,
    futures: Vec<FuturePeak>,
    /// Futures of this round.
    drawn: usize,
    round: u64,
}

impl PastFuture {
    fn new(reserve: f64, config: SchedulerConfig) -> Self {
        Self {
            limit: f64::from(config.num_blocks) * (1.0 - reserve),
            history: LengthHistory::filled(WINDOW / 2, FIRST_LENGTH),
            futures: (0..MOST_FUTURES).map(|_| FuturePeak::new(config)).collect(),
            drawn: 0,
            round: 0,
        }
    }
}

impl AdmissionControl for PastFuture {
    fn ended(&mut self, length: u32) {
        self.history.push(length);
    }

    fn reset(&mut self, running: &[Outlook], tables: &[&[u32]]) {
        self.round += 1;
        self.drawn = MOST_FUTURES.min(DRAWS / running.len().max(1) + 1);
        for (index, future) in self.futures.iter_mut().take(self.drawn).enumerate() {
            future.reset(running, tables, |outlook| draw(outlook, &self.history, self.round, index));
        }
    }

    fn fits(&self, candidate: &Outlook) -> bool {
        self.futures.iter().take(self.drawn).enumerate().all(|(index, future)| {
            let remaining = draw(candidate, &self.history, self.round, index);
            (future.peak_with(candidate, remaining) as f64) < self.limit
        })
    }

    fn add(&mut self, admitted: &Outlook) {
        for (index, future) in self.futures.iter_mut().take(self.drawn).enumerate() {
            future.add(admitted, draw(admitted, &self.history, self.round, index));
        }
    }
}

/// What remains of a request in one of the round's futures; to `max_tokens` if nothing was ever as long.
fn draw(outlook: &Outlook, history: &LengthHistory, round: u64, future: usize) -> u32 {
    let view = outlook.view;
    let longer = history.longer_than(view.generated);
    if longer.is_empty() {
        return view.max_remaining();
    }
    let length = at(longer, uniform(&[round, view.request.key, future as u64]));
    // The cast saturates.
    (length.ceil() as u32).saturating_sub(view.generated).clamp(1, view.max_remaining())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Request, RequestView, tests::view};

    fn config(num_blocks: u32) -> SchedulerConfig {
        SchedulerConfig { block_size: 1, num_blocks, max_running: 8, max_batched_tokens: 64 }
    }

    fn after(key: u64, generated: u32) -> Outlook {
        let request = Request { max_tokens: 4000, ..view(key).request };
        Outlook::new(RequestView { request, generated, ..view(key) }, None)
    }

    #[test]
    fn before_anything_ended_each_reply_has_512_tokens() {
        // 10 + 511 tokens in the last step, and 3 % kept free: below 521.
        for (num_blocks, fits) in [(538, true), (537, false)] {
            let mut gate = PastFuture::new(RESERVE, config(num_blocks));
            gate.reset(&[], &[]);
            assert_eq!(gate.fits(&after(1, 0)), fits);
        }
    }

    #[test]
    fn a_running_request_draws_from_those_that_were_longer() {
        let mut history = LengthHistory::default();
        (1..=1000).for_each(|length| history.push(length));
        let draws = |generated| (0..200).map(move |key| (key, generated));
        let drawn = |(key, generated)| draw(&after(key, generated), &history, 1, 0);
        let mean = draws(0).map(drawn).sum::<u32>() / 200;
        assert!((450..=550).contains(&mean), "{mean}");
        assert!(draws(900).map(drawn).all(|remaining| (1..=100).contains(&remaining)));
        assert_eq!(drawn((1, 1000)), 3000);
    }

    #[test]
    fn a_large_batch_is_drawn_once_and_a_small_one_five_times() {
        let mut gate = PastFuture::new(RESERVE, config(100_000));
        for (running, futures) in [(0, 5), (49, 5), (50, 5), (67, 3), (100, 3), (201, 1)] {
            let batch: Vec<Outlook> = (0..running).map(|key| after(key, 0)).collect();
            let tables: Vec<&[u32]> = batch.iter().map(|_| &[][..]).collect();
            gate.reset(&batch, &tables);
            assert_eq!(gate.drawn, futures, "{running}");
        }
    }

    #[test]
    fn what_ended_lately_decides() {
        let mut gate = PastFuture::new(RESERVE, config(300));
        gate.reset(&[], &[]);
        assert!(!gate.fits(&after(1, 0)));
        (0..1000).for_each(|_| gate.ended(100));
        gate.reset(&[], &[]);
        assert!(gate.fits(&after(1, 0)));
    }
}
