//! The lengths of the replies that ended, and what they say of one that has not.

use std::collections::VecDeque;

use crate::remaining::{LEVELS, RemainingLength};
use crate::view::RequestView;

/// The last lengths: "LightLLM keeps the last 1000" (Gong et al., ASPLOS'25).
pub(crate) const WINDOW: usize = 1000;

/// Outcomes from which a forecast is made; fewer say too little about the tail.
const MIN_OUTCOMES: usize = 32;

/// The last [`WINDOW`] lengths, tokens.
#[derive(Debug, Default)]
pub(crate) struct LengthHistory {
    by_time: VecDeque<u32>,
    ascending: Vec<u32>,
    /// Sum of the lengths from each place of `ascending` on.
    sums: Vec<u64>,
}

impl LengthHistory {
    /// A history of `count` requests of the same `length`.
    pub(crate) fn filled(count: usize, length: u32) -> Self {
        Self { by_time: vec![length; count].into(), ascending: vec![length; count], sums: Vec::new() }
    }

    /// Takes the length of a request that ended.
    pub(crate) fn push(&mut self, length: u32) {
        if self.by_time.len() == WINDOW
            && let Some(oldest) = self.by_time.pop_front()
        {
            self.ascending.remove(self.ascending.partition_point(|&other| other < oldest));
        }
        self.by_time.push_back(length);
        self.ascending.insert(self.ascending.partition_point(|&other| other < length), length);
        self.sums.clear();
        self.sums.extend(self.ascending.iter().rev().scan(0, |sum, &length| {
            *sum += u64::from(length);
            Some(*sum)
        }));
        self.sums.reverse();
    }

    /// The lengths above `generated`, ascending.
    pub(crate) fn longer_than(&self, generated: u32) -> &[u32] {
        &self.ascending[self.ascending.partition_point(|&length| length <= generated)..]
    }

    /// What remains of a request by those that were longer; none where too few ended or none was.
    pub(crate) fn forecast(&self, view: &RequestView) -> Option<RemainingLength> {
        let longer = self.longer_than(view.generated);
        if self.ascending.len() < MIN_OUTCOMES || longer.is_empty() {
            return None;
        }
        let sum = self.sums[self.ascending.len() - longer.len()];
        let generated = f64::from(view.generated);
        Some(RemainingLength {
            mean: (sum as f64 / longer.len() as f64 - generated) as f32,
            quantiles: LEVELS.map(|level| (at(longer, f64::from(level)) - generated) as f32),
        })
    }
}

/// The value `part` of the way from the first to the last of `ascending`, straight between neighbours; 0 if it is empty.
pub(crate) fn at(ascending: &[u32], part: f64) -> f64 {
    let place = part * ascending.len().saturating_sub(1) as f64;
    // The cast is of a place in the slice.
    let value = |place: f64| ascending.get(place as usize).map_or(0.0, |&value| f64::from(value));
    value(place.floor()) + place.fract() * (value(place.ceil()) - value(place.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::view;

    fn after(generated: u32) -> RequestView {
        RequestView { generated, ..view(1) }
    }

    #[test]
    fn the_rest_is_that_of_those_that_were_longer() {
        let mut history = LengthHistory::default();
        (0..100).for_each(|length| history.push(length));
        let forecast = history.forecast(&after(59)).unwrap();
        // 60 to 99, less 59.
        assert!((forecast.mean - 20.5).abs() < 1e-4);
        assert!((forecast.quantiles[6] - 20.5).abs() < 1e-4);
        assert_eq!(history.forecast(&after(99)), None);
    }

    #[test]
    fn too_few_outcomes_say_nothing() {
        let mut history = LengthHistory::default();
        (1..MIN_OUTCOMES).for_each(|_| history.push(50));
        assert_eq!(history.forecast(&after(0)), None);
        history.push(50);
        assert_eq!(history.forecast(&after(10)).unwrap().quantiles, [40.0; 13]);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = LengthHistory::filled(500, 512);
        (0..WINDOW as u32).for_each(|_| history.push(7));
        assert!(history.longer_than(7).is_empty());
        assert_eq!(history.longer_than(6).len(), WINDOW);
    }
}
