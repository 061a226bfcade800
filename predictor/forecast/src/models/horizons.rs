//! [`through_horizons`]: bins of the [`head`](super::head) from P(length > horizon) at a few horizons.

use super::head::{BIN_EDGES, BINS};

/// The probabilities of bins with P(length > horizon) as given: exponential between horizons, that is with a constant hazard, and
/// so on beyond the last. Where a later horizon has more than an earlier one, it gets as much.
pub(super) fn through_horizons(horizons: &[u32], survival: &[f64]) -> [f32; BINS] {
    let mut points = vec![(0.0, 0.0)];
    for (horizon, survival) in horizons.iter().zip(survival) {
        let last = points[points.len() - 1].1;
        points.push((f64::from(*horizon), survival.max(1e-6).ln().min(last)));
    }
    let mut k = 1;
    let left = BIN_EDGES.map(|edge| {
        let x = f64::from(edge);
        while k + 1 < points.len() && points[k].0 < x {
            k += 1;
        }
        let ((x0, y0), (x1, y1)) = (points[k - 1], points[k]);
        (y0 + (y1 - y0) * (x - x0) / (x1 - x0)).exp()
    });
    std::array::from_fn(|k| (left[k] - left.get(k + 1).unwrap_or(&0.0)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::head::distribution;

    #[test]
    fn horizons_that_contradict_each_other_still_give_a_distribution() {
        let distribution = distribution(&through_horizons(&[1, 4, 16], &[0.9, 0.95, 0.3]));
        assert!((distribution.survival(1.0) - 0.9).abs() < 1e-6);
        assert!((distribution.survival(4.0) - 0.9).abs() < 1e-6);
        assert!((distribution.survival(16.0) - 0.3).abs() < 1e-6);
        assert!(distribution.survival(28.0) < 0.3 && distribution.mean().is_finite());
    }
}
