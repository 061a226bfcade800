//! [`Calibration`]: makes central intervals hold what they promise, by how forecasts of the same age turned out.
//!
//! The probability integral transform (PIT) of a reply is u = F(remaining), with F the forecast at one of its steps. How far it
//! lies from the median, |u - 1/2|, is the conformity score of distributional conformal prediction (Chernozhukov, Wüthrich and
//! Zhu, PNAS 118, 2021). With C its distribution function, G(u) = 1/2 ± C(|u - 1/2|) / 2 makes G(F(x)) a forecast whose central
//! intervals cover what they say, whatever F was; its median is that of F. G is kept for each age, as tokens generated are known
//! while the progress is not.
//!
//! Why not the whole distribution function of u (Kuleshov, Fenner and Ermon, ICML 2018): within an age, long replies have more
//! steps and count no more than short ones, which moves every median up and makes the error larger (docs/forecast.md).
//!
//! G starts from the scores that training left and then follows the newest outcomes, so that coverage returns when traffic shifts
//! (as in Gibbs and Candes, NeurIPS 2021, though by a window and not by a step size).

use std::collections::VecDeque;

use eoscast_log::record::{Outcome, Pits};
use eoscast_proto::domain::QUANTILE_LEVELS;

use crate::age::age;
use crate::distribution::LengthDistribution;
use crate::history::{History, LONGEST_WINDOW};

/// PITs of one age that G rests on.
const PITS_OF_AGE: usize = 2_000;
/// G is linear within each of these parts of 0..1.
const CELLS: usize = 64;
const HALF: usize = CELLS / 2;
/// Their borders, s^2 (3 - 2 s) of equal steps of s: close together near 0 and 1, where a poor forecast has most of its PITs.
const BORDERS: [f64; CELLS + 1] = {
    let mut borders = [0.0; CELLS + 1];
    let mut i = 0;
    while i <= CELLS {
        let s = i as f64 / CELLS as f64;
        borders[i] = s * s * (3.0 - 2.0 * s);
        i += 1;
    }
    borders
};
/// Parts of 0..1 so short that each has one border at most.
const SLOTS: usize = 2_048;
/// The cell that each of them begins in, and that of 1.
const CELL_OF_SLOT: [u8; SLOTS + 1] = {
    let mut cells = [0; SLOTS + 1];
    let (mut slot, mut cell) = (0, 0);
    while slot <= SLOTS {
        while cell + 1 < CELLS && BORDERS[cell + 1] <= slot as f64 / SLOTS as f64 {
            cell += 1;
        }
        cells[slot] = cell as u8;
        slot += 1;
    }
    cells
};
/// As many uniform scores stand in for what is not known yet.
const UNIFORM_WEIGHT: f64 = 4.0;

/// Where a reply stood in a forecast of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pit {
    /// F(remaining), 0 to 1.
    pub value: f32,
    /// The reply was cut at `max_tokens`, which is where service ends, so that the PIT is that of `max_tokens`.
    pub cut: bool,
}

/// The cell, above the median, of a score |PIT - 1/2|.
fn score_cell(pit: Pit) -> usize {
    let value = f64::from(pit.value);
    // However far below the median `max_tokens` was, an interval cut there held it.
    let above = if pit.cut { value.max(0.5) } else { value.max(1.0 - value) };
    BORDERS[HALF + 1..CELLS].partition_point(|border| *border <= above)
}

/// The cell that `u`, 0 to 1, lies in. Without a search, whose branches no processor foresees.
fn cell(u: f64) -> usize {
    let first = usize::from(CELL_OF_SLOT[((u * SLOTS as f64) as usize).min(SLOTS)]);
    (first + usize::from(BORDERS[first + 1] <= u)).min(CELLS - 1)
}

/// The distribution function of PITs: its values at the borders of the cells, and its slopes within them.
#[derive(Debug, Clone)]
struct Curve {
    values: [f64; CELLS + 1],
    slopes: [f64; CELLS],
}

impl Curve {
    /// Of so many PITs in each [`score_cell`], with uniform scores of weight [`UNIFORM_WEIGHT`] mixed in: with them, no score
    /// beyond those seen is ruled out, which is conformal prediction's n + 1.
    fn new(counts: &[u32; HALF]) -> Self {
        let width = |cell: usize| BORDERS[HALF + cell + 1] - BORDERS[HALF + cell];
        let scores: [f64; HALF] =
            std::array::from_fn(|cell| f64::from(counts[cell]) + UNIFORM_WEIGHT * 2.0 * width(cell));
        let total: f64 = scores.iter().sum();
        let mut curve = [0.5; CELLS + 1];
        let mut sum = 0.0;
        for (i, score) in scores.into_iter().enumerate() {
            sum += score;
            curve[HALF + i + 1] = 0.5 + sum / total / 2.0;
            curve[HALF - i - 1] = 0.5 - sum / total / 2.0;
        }
        (curve[0], curve[CELLS]) = (0.0, 1.0);
        let slope = |cell: usize| (curve[cell + 1] - curve[cell]) / (BORDERS[cell + 1] - BORDERS[cell]);
        Self { values: curve, slopes: std::array::from_fn(slope) }
    }

    /// G of `u`, 0 to 1.
    fn at(&self, u: f64) -> f64 {
        let cell = cell(u);
        (self.values[cell] + (u - BORDERS[cell]) * self.slopes[cell]).clamp(0.0, 1.0)
    }
}

/// What G of one age rests on.
#[derive(Debug, Clone)]
struct Window {
    /// From training; those from `kept` on still count.
    first: Vec<Pit>,
    kept: usize,
    /// Since then, with the number of the outcome.
    later: VecDeque<(u64, Pit)>,
    /// How many of the PITs that count lie in each [`score_cell`].
    counts: [u32; HALF],
    curve: Curve,
}

impl Window {
    fn new(first: Vec<Pit>) -> Self {
        let counts = [0; HALF];
        let mut window = Self { kept: first.len(), first, later: VecDeque::new(), counts, curve: Curve::new(&counts) };
        window.settle(0);
        window
    }

    fn push(&mut self, number: u64, pit: Pit) {
        if self.later.len() == PITS_OF_AGE {
            self.forget_oldest();
        }
        self.later.push_back((number, pit));
        self.counts[score_cell(pit)] += 1;
    }

    fn forget_oldest(&mut self) {
        if let Some((_, pit)) = self.later.pop_front() {
            self.counts[score_cell(pit)] -= 1;
        }
    }

    /// Forgets what a predictor that starts anew would not know, fills up with what training left, and estimates anew.
    fn settle(&mut self, seen: u64) {
        while self.later.front().is_some_and(|(number, _)| number + LONGEST_WINDOW as u64 <= seen) {
            self.forget_oldest();
        }
        let kept = self.first.len().saturating_sub(PITS_OF_AGE - self.later.len());
        for pit in self.first.get(self.kept..kept).unwrap_or_default() {
            self.counts[score_cell(*pit)] -= 1;
        }
        for pit in self.first.get(kept..self.kept).unwrap_or_default() {
            self.counts[score_cell(*pit)] += 1;
        }
        self.kept = kept;
        self.curve = Curve::new(&self.counts);
    }
}

/// The recalibration of one model's forecasts, by age.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// Names the model whose PITs count.
    artifact: u32,
    windows: [Window; Pits::AGES],
}

impl Calibration {
    /// From the PITs that training left, by age, and those that the model of `artifact` had since.
    pub fn new(first: [Vec<Pit>; Pits::AGES], artifact: u32, history: &History) -> Self {
        let mut calibration = Self { artifact, windows: first.map(Window::new) };
        let numbers = (1..=history.seen).rev().take(history.recent.len()).collect::<Vec<_>>();
        for (number, outcome) in numbers.into_iter().rev().zip(&history.recent) {
            calibration.push(number, outcome);
        }
        calibration.windows.iter_mut().for_each(|window| window.settle(history.seen));
        calibration
    }

    /// Learns from outcome `number`.
    pub fn observe(&mut self, number: u64, outcome: &Outcome) {
        self.push(number, outcome);
        self.windows.iter_mut().for_each(|window| window.settle(number));
    }

    fn push(&mut self, number: u64, outcome: &Outcome) {
        let Some(pits) = outcome.pits.filter(|pits| pits.artifact == self.artifact) else { return };
        for (window, value) in self.windows.iter_mut().zip(pits.values) {
            if let Some(value) = value.filter(|value| (0.0..=1.0).contains(value)) {
                window.push(number, Pit { value, cut: outcome.censored });
            }
        }
    }

    /// What a forecast made after `step` tokens, of which P(length > tokens) is `survival`, should have been, clipped at `longest`.
    pub fn apply(&self, step: u32, longest: u32, mut survival: impl FnMut(u32) -> f64) -> LengthDistribution {
        let g = &self.windows[age(step)].curve;
        LengthDistribution::from_survival_below(longest, |tokens| 1.0 - g.at(1.0 - survival(tokens)))
    }
}

/// Where `remaining` tokens stand in `forecast`. A length is the round-up of a real number, taken as half a token below.
pub fn pit(forecast: &LengthDistribution, remaining: u32) -> f32 {
    (1.0 - forecast.survival(f64::from(remaining) - 0.5)) as f32
}

/// One forecast of each age of a live request, to be judged by its outcome: one at random, so that all steps count alike.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    ages: [Option<KeptForecast>; Pits::AGES],
}

#[derive(Debug, Clone)]
struct KeptForecast {
    step: u32,
    /// Steps of this age so far.
    steps: u32,
    quantiles: [f32; QUANTILE_LEVELS.len()],
}

impl Kept {
    /// Considers the forecast after `step` tokens, which is asked for only if it is kept; see [`drawn`].
    pub fn consider(&mut self, step: u32, chance: u32, forecast: impl FnOnce() -> LengthDistribution) {
        let kept = &mut self.ages[age(step)];
        let steps = kept.as_ref().map_or(1, |kept| kept.steps.saturating_add(1));
        if drawn(step, chance, steps) {
            let quantiles = forecast().quantiles(QUANTILE_LEVELS.map(f64::from)).map(|tokens| tokens as f32);
            *kept = Some(KeptForecast { step, steps, quantiles });
        } else if let Some(kept) = kept {
            kept.steps = steps;
        }
    }

    /// Where a reply of `length` tokens stands in the forecasts kept of it.
    pub fn pits(&self, artifact: u32, length: u32) -> Pits {
        let value = |kept: &Option<KeptForecast>| {
            kept.as_ref().filter(|kept| kept.step < length).map(|kept| {
                let remaining = (length - kept.step) as f32 - 0.5;
                level_of(&kept.quantiles, remaining)
            })
        };
        Pits { artifact, values: std::array::from_fn(|i| value(&self.ages[i])) }
    }
}

/// The level whose quantile is `tokens`: linear between the quantiles kept, exponential beyond the last.
fn level_of(quantiles: &[f32; QUANTILE_LEVELS.len()], tokens: f32) -> f32 {
    let above = quantiles.partition_point(|quantile| *quantile <= tokens);
    let last = QUANTILE_LEVELS.len() - 1;
    if above > last {
        let width = (quantiles[last] - quantiles[last - 1]).max(1.0);
        return 1.0 - (1.0 - QUANTILE_LEVELS[last]) * (-(tokens - quantiles[last]) / width).exp();
    }
    let (low, level) = if above == 0 { (0.0, 0.0) } else { (quantiles[above - 1], QUANTILE_LEVELS[above - 1]) };
    let share = (tokens - low) / (quantiles[above] - low).max(f32::MIN_POSITIVE);
    level + (QUANTILE_LEVELS[above] - level) * share.clamp(0.0, 1.0)
}

/// Whether the forecast after `step` tokens, the n-th of its age, takes the place of the one kept, as happens with probability
/// 1/n (reservoir sampling). `chance` is any number that differs from step to step.
pub fn drawn(step: u32, chance: u32, n: u32) -> bool {
    mix(chance ^ step).is_multiple_of(n)
}

/// Spreads a number over all bits (the finaliser of MurmurHash3).
fn mix(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85EB_CA6B);
    x = (x ^ x >> 13).wrapping_mul(0xC2B2_AE35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::AGES;
    use crate::distribution::LONGEST;

    /// A geometric forecast with this mean.
    fn geometric(mean: f64) -> LengthDistribution {
        LengthDistribution::from_survival(|tokens| (-f64::from(tokens) / mean).exp())
    }

    fn applied(calibration: &Calibration, step: u32, forecast: &LengthDistribution) -> LengthDistribution {
        calibration.apply(step, LONGEST, |tokens| forecast.survival(f64::from(tokens)))
    }

    fn outcome(length: u32, censored: bool, pits: Pits) -> Outcome {
        Outcome { length, censored, pits: Some(pits) }
    }

    /// `count` replies that are exponential with mean 100, cut at `cap`.
    fn replies(count: usize, cap: u32, seed: u64) -> Vec<(u32, bool)> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut reply = || (1.0 - 100.0 * (1.0 - random.f64()).ln()) as u32;
        (0..count).map(|_| reply()).map(|length| (length.min(cap), length > cap)).collect()
    }

    fn pits_of(forecast: &LengthDistribution, replies: &[(u32, bool)]) -> Vec<Pit> {
        replies.iter().map(|(length, censored)| Pit { value: pit(forecast, *length), cut: *censored }).collect()
    }

    fn coverage(forecast: &LengthDistribution, replies: &[(u32, bool)]) -> f64 {
        let (low, high) = (forecast.quantile(0.05), forecast.quantile(0.95));
        let inside = replies.iter().filter(|(length, _)| (low..=high).contains(&f64::from(*length))).count();
        inside as f64 / replies.len() as f64
    }

    #[test]
    fn cells_are_found_as_by_a_search() {
        let near = |u: f64| [u.next_down().max(0.0), u, u.next_up().min(1.0)];
        for u in BORDERS.into_iter().chain((0..=SLOTS).map(|slot| slot as f64 / SLOTS as f64)).flat_map(near) {
            assert_eq!(cell(u), BORDERS[1..CELLS].partition_point(|border| *border <= u), "{u}");
        }
        assert_eq!((cell(-1e-17), cell(1.0 + 1e-15), cell(f64::NAN)), (0, CELLS - 1, 0));
    }

    #[test]
    fn forecasts_that_were_too_sure_cover_what_they_promise_after_calibration_and_keep_their_median() {
        let sure = LengthDistribution::from_survival(|tokens| 1.0 / (1.0 + (f64::from(tokens) / 69.0).powi(3)));
        let first = std::array::from_fn(|_| pits_of(&sure, &replies(2_000, u32::MAX, 1)));
        let calibrated = applied(&Calibration::new(first, 7, &History::default()), 20, &sure);
        let fresh = replies(20_000, u32::MAX, 2);
        assert!(coverage(&sure, &fresh) < 0.75);
        let covered = coverage(&calibrated, &fresh);
        assert!((0.87..0.93).contains(&covered), "{covered}");
        assert!((calibrated.quantile(0.5) - sure.quantile(0.5)).abs() < 1.0);
    }

    #[test]
    fn what_max_tokens_cut_counts_where_service_ended() {
        let exact = geometric(100.0);
        let of = |pits: &[Pit]| Calibration::new(std::array::from_fn(|_| pits.to_vec()), 7, &History::default());
        let interval = |calibration: Calibration| {
            let forecast = applied(&calibration, 300, &exact).clip(80);
            forecast.quantile(0.05)..=forecast.quantile(0.95)
        };
        let held = interval(of(&pits_of(&exact, &replies(2_000, 80, 4))));
        let service = replies(20_000, 80, 5);
        let covered = service.iter().filter(|(length, _)| held.contains(&f64::from(*length))).count();
        assert!((0.88..0.92).contains(&(covered as f64 / 20_000.0)), "{covered}: {held:?}");
        // Half of them, cut before the median: any interval holds them.
        let cut = [vec![Pit { value: 0.2, cut: true }; 500], vec![Pit { value: 0.9, cut: false }; 500]].concat();
        let narrow = interval(of(&cut));
        assert!(narrow.end() - narrow.start() < 80.0, "{narrow:?}");
    }

    #[test]
    fn coverage_returns_when_traffic_shifts() {
        let forecast = geometric(100.0);
        let first = std::array::from_fn(|_| pits_of(&forecast, &replies(1_000, u32::MAX, 5)));
        let mut calibration = Calibration::new(first, 7, &History::default());
        let shifted: Vec<_> = replies(22_000, u32::MAX, 6).into_iter().map(|(l, c)| (l * 5 / 2, c)).collect();
        assert!(coverage(&applied(&calibration, 0, &forecast), &shifted[2_000..]) < 0.8, "not shifted");
        for (number, (length, censored)) in (1..).zip(&shifted[..2_000]) {
            let mut kept = Kept::default();
            kept.consider(0, number as u32, || forecast.clone());
            calibration.observe(number, &outcome(*length, *censored, kept.pits(7, *length)));
        }
        let covered = coverage(&applied(&calibration, 0, &forecast), &shifted[2_000..]);
        assert!((covered - 0.9).abs() < 0.03, "{covered}");
    }

    #[test]
    fn a_calibration_built_from_history_equals_the_one_that_lived_through_it() {
        let forecast = geometric(50.0);
        let first: [Vec<Pit>; 5] = std::array::from_fn(|_| pits_of(&forecast, &replies(40, 90, 8)));
        let (mut live, mut history) = (Calibration::new(first.clone(), 7, &History::default()), History::default());
        for (number, (length, censored)) in (1..).zip(replies(12_500, 200, 9)) {
            let mut kept = Kept::default();
            // The oldest are so rarely of the last age that these leave the history one by one.
            (0..length.min(if number % 50 == 0 { 300 } else { 100 }))
                .for_each(|step| kept.consider(step, number as u32, || forecast.clone()));
            let mut pits = kept.pits(7, length);
            if number % 100 == 1 {
                pits.artifact = 8;
            }
            live.observe(number, &outcome(length, censored, pits));
            history.push(outcome(length, censored, pits));
        }
        let rebuilt = Calibration::new(first, 7, &history);
        for step in AGES {
            let [a, b] = [&live, &rebuilt].map(|c| applied(c, step, &forecast).quantile(0.3).to_bits());
            assert_eq!(a, b, "at age {step}");
        }
    }

    #[test]
    fn pits_from_quantiles_are_those_of_the_forecast() {
        let forecast = geometric(80.0);
        let mut kept = Kept::default();
        kept.consider(20, 3, || forecast.clone());
        for remaining in [1, 5, 40, 200, 500] {
            let value = kept.pits(1, 20 + remaining).values[1].unwrap();
            assert!((value - pit(&forecast, remaining)).abs() < 0.02, "{remaining}: {value}");
        }
        assert_eq!(kept.pits(1, 20).values, [None; 5]);
    }

    #[test]
    fn every_step_of_an_age_is_kept_equally_often() {
        let forecast = geometric(80.0);
        let mut times = [0u32; 16];
        for request in 0..4_000u32 {
            let mut kept = Kept::default();
            (0..16).for_each(|step| kept.consider(step, request.wrapping_mul(0x9E37_79B1), || forecast.clone()));
            times[kept.ages[0].as_ref().map_or(0, |kept| kept.step as usize)] += 1;
        }
        assert!(times.iter().all(|n| (180..330).contains(n)), "{times:?}");
    }
}
