//! The mean of a few runs, and how sure it is.

/// Two-sided 97.5 % quantiles of Student's t distribution with 1, 2, ... degrees of freedom.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
/// The same of the normal distribution, for more.
const NORMAL: f64 = 1.960;

/// A mean with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Mean of the runs.
    pub mean: f64,
    /// Half the width of the interval; infinite for a single run.
    pub half_width: f64,
}

impl Interval {
    /// Of the figures of independent runs, taken as normal.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let Some(freedom) = values.len().checked_sub(2) else {
            return Self { mean, half_width: f64::INFINITY };
        };
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let student = STUDENT.get(freedom).copied().unwrap_or(NORMAL);
        Self { mean, half_width: student * (variance / count).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_runs_are_judged_by_students_t() {
        let Interval { mean, half_width } = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, 3.0);
        assert!((half_width - 2.776 * 0.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn one_run_tells_nothing_of_the_spread() {
        assert_eq!(Interval::of(&[2.0]), Interval { mean: 2.0, half_width: f64::INFINITY });
        assert!((Interval::of(&[1.0; 100]).half_width).abs() < 1e-12);
    }
}
