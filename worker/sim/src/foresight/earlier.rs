//! How long the replies before were, given that one has come so far.

use std::collections::VecDeque;

use eoscast_sched::RequestView;
use eoscast_sched::{LEVELS, RemainingLength};

/// Outcomes looked back on, as many as the predictor's own prior does.
const WINDOW: usize = 2_000;

/// The product-limit estimator (Kaplan and Meier, 1958) over a sliding window: replies that were cut count as longer
/// than they came.
#[derive(Debug, Default)]
pub(super) struct EarlierLengths {
    /// Oldest first: length and whether it was cut.
    recent: VecDeque<(u32, bool)>,
    sorted: Vec<(u32, bool)>,
    /// Empty when it must be drawn again.
    curve: Vec<Knot>,
}

/// From `length` tokens on, until the next knot.
#[derive(Clone, Copy, Debug)]
struct Knot {
    length: u32,
    /// Probability that a reply is longer.
    survival: f64,
    /// Of the survival function, from 0 tokens to here.
    integral: f64,
}

impl EarlierLengths {
    pub(super) fn push(&mut self, length: u32, cut: bool) {
        let outcome = (length, cut);
        self.recent.push_back(outcome);
        self.sorted.insert(self.sorted.partition_point(|other| *other < outcome), outcome);
        if self.recent.len() > WINDOW
            && let Some(oldest) = self.recent.pop_front()
        {
            self.sorted.remove(self.sorted.partition_point(|other| *other < oldest));
        }
        self.curve.clear();
    }

    /// None while no reply was longer than this one is.
    pub(super) fn forecast(&mut self, view: &RequestView) -> Option<RemainingLength> {
        if self.curve.is_empty() {
            self.draw();
        }
        let (now, most) = (view.generated, view.request.max_tokens);
        let here = self.at(now);
        if here.survival <= 0.0 || self.sorted.last().is_none_or(|(longest, _)| *longest <= now) {
            return None;
        }
        let end = self.at(most);
        let integral = |knot: Knot, to: u32| knot.integral + f64::from(to - knot.length) * knot.survival;
        let mean = (integral(end, most) - integral(here, now)) / here.survival;
        let quantile = |level: f32| {
            let left = here.survival * (1.0 - f64::from(level));
            let knot = self.curve.partition_point(|knot| knot.survival > left + 1e-12);
            self.curve.get(knot).map_or(most, |knot| knot.length.min(most)) - now
        };
        Some(RemainingLength { mean: mean as f32, quantiles: LEVELS.map(|level| quantile(level) as f32) })
    }

    /// The last knot at or before `length`.
    fn at(&self, length: u32) -> Knot {
        self.curve[self.curve.partition_point(|knot| knot.length <= length) - 1]
    }

    fn draw(&mut self) {
        let mut knot = Knot { length: 0, survival: 1.0, integral: 0.0 };
        self.curve.push(knot);
        let mut at_risk = self.sorted.len();
        for same in self.sorted.chunk_by(|(a, _), (b, _)| a == b) {
            let ended = same.iter().filter(|(_, cut)| !cut).count();
            if ended > 0 {
                let length = same[0].0;
                knot.integral += f64::from(length - knot.length) * knot.survival;
                knot.survival *= 1.0 - ended as f64 / at_risk as f64;
                knot.length = length;
                self.curve.push(knot);
            }
            at_risk -= same.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(generated: u32) -> RequestView {
        RequestView { generated, ..RequestView::for_test(1) }
    }

    #[test]
    fn without_longer_replies_nothing_is_said() {
        let mut prior = EarlierLengths::default();
        assert_eq!(prior.forecast(&at(0)), None);
        prior.push(30, false);
        assert!(prior.forecast(&at(29)).is_some());
        assert_eq!(prior.forecast(&at(30)), None);
    }

    #[test]
    fn the_forecast_is_what_was_left_of_the_replies_that_came_so_far() {
        let mut prior = EarlierLengths::default();
        (1..=10).for_each(|i| prior.push(10 * i, false));
        let forecast = prior.forecast(&at(40)).unwrap();
        // 50, 60, 70, 80, 90 and 100: 10 to 60 left.
        assert!((forecast.mean - 35.0).abs() < 1e-4, "{forecast:?}");
        assert_eq!((forecast.quantile(0.5), forecast.quantile(0.99)), (30.0, 60.0));
    }

    #[test]
    fn a_reply_that_was_cut_counts_as_longer() {
        let mut prior = EarlierLengths::default();
        prior.push(20, false);
        prior.push(100, true);
        // Half end at 20, the others at 100 or later, which `max_tokens` bounds.
        let forecast = prior.forecast(&at(0)).unwrap();
        assert!((forecast.mean - 60.0).abs() < 1e-4, "{forecast:?}");
        assert_eq!((forecast.quantile(0.4), forecast.quantile(0.6)), (20.0, 100.0));
    }

    #[test]
    fn old_replies_are_forgotten() {
        let mut prior = EarlierLengths::default();
        (0..50).for_each(|_| prior.push(5, false));
        (0..WINDOW).for_each(|_| prior.push(40, false));
        assert_eq!(prior.forecast(&at(0)).unwrap().quantiles, [40.0; 13]);
    }
}
