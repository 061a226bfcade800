//! Forecasters that follow simple rules: a model should be better than all of them but the oracle, which is the best possible.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use anyhow::{Context, ensure};
use eoscast_proto::domain::{END_WITHIN, Forecast};
use fastrand::Rng;
use smartcore::linalg::basic::matrix::DenseMatrix;
use smartcore::linear::ridge_regression::{RidgeRegression, RidgeRegressionParameters};

use super::{FinishedReply, Judged};

/// A rule that uses past replies or the true length. Its forecast is one number, not a distribution.
#[derive(Debug)]
pub(crate) enum Baseline {
    /// `mean`: the mean length of past replies, minus t.
    Mean(f32),
    /// `max-tokens`: `max_tokens` minus t.
    MaxTokens,
    /// `prompt`: ridge regression on what is known on arrival, minus t.
    Prompt(Ridge),
    /// `oracle`: the truth.
    Oracle,
    /// `oracle-noise(cv)`: the true length, times one lognormal factor a reply with mean 1 and this coefficient of variation.
    OracleNoise(f64),
}

impl Baseline {
    /// `mean`, learned from `past` replies. It averages lengths as served: the natural length of a reply that was cut is not known.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn mean(past: &[FinishedReply]) -> anyhow::Result<Self> {
        ensure!(!past.is_empty(), "the mean length of past replies needs at least one, got none; give more data");
        let sum: f64 = past.iter().map(|reply| f64::from(reply.output_length)).sum();
        Ok(Self::Mean((sum / past.len() as f64) as f32))
    }

    /// As reports name it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Mean(_) => "mean".to_owned(),
            Self::MaxTokens => "max-tokens".to_owned(),
            Self::Prompt(_) => "prompt".to_owned(),
            Self::Oracle => "oracle".to_owned(),
            Self::OracleNoise(cv) => format!("oracle-noise({cv})"),
        }
    }

    /// Its forecasts at each step of `reply`.
    pub(crate) fn judge<'a>(&self, reply: &'a FinishedReply) -> Judged<'a> {
        let truth = reply.output_length as f32;
        let length = match self {
            Self::Mean(mean) => *mean,
            Self::MaxTokens => reply.max_tokens as f32,
            Self::Prompt(ridge) => ridge.length(reply),
            Self::Oracle => truth,
            Self::OracleNoise(cv) => truth * noise(&reply.request_id, *cv) as f32,
        };
        Judged::new(reply, |t| {
            // A reply that is not finished has at least one token left.
            let remaining = (length - t as f32).max(1.0);
            match self {
                Self::Oracle if !reply.ended => {
                    Forecast { end_within: [0.0; END_WITHIN.len()], ..Forecast::point(remaining) }
                }
                _ => Forecast::point(remaining),
            }
        })
    }
}

/// A lognormal factor with mean 1, the same for the same request: exp(s z - s^2 / 2) with s^2 = ln(1 + cv^2).
fn noise(request_id: &str, cv: f64) -> f64 {
    let mut hasher = DefaultHasher::new();
    request_id.hash(&mut hasher);
    let mut rng = Rng::with_seed(hasher.finish());
    // A normal variate by Box and Muller (Annals of Mathematical Statistics 29, 1958).
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
    let variance = (1.0 + cv * cv).ln();
    (variance.sqrt() * normal - variance / 2.0).exp()
}

/// Ridge regression of service length on what is known on arrival.
#[derive(Debug)]
pub(crate) struct Ridge {
    /// Columns whose values differ among past replies; constant columns are dropped.
    columns: Vec<usize>,
    coefficients: Vec<f64>,
    intercept: f64,
}

/// Penalty on squared coefficients of standardised inputs.
const PENALTY: f64 = 10.0;

impl Ridge {
    /// Learns from `past` replies.
    ///
    /// # Errors
    /// When there are too few of them.
    pub(crate) fn fit(past: &[FinishedReply]) -> anyhow::Result<Self> {
        let rows: Vec<Vec<f64>> = past.iter().map(inputs).collect();
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let value = |row: &[f64], column: usize| row.get(column).copied().unwrap_or(0.0);
        let varies = |column: &usize| {
            let mut values = rows.iter().map(|row| value(row, *column));
            let first = values.next().unwrap_or(0.0);
            values.any(|value| (value - first).abs() > 1e-6)
        };
        let columns: Vec<usize> = (0..width).filter(varies).collect();
        ensure!(
            past.len() > columns.len() + 1,
            "the prompt baseline needs more than {} replies to learn from, got {}; give more data",
            columns.len() + 1,
            past.len()
        );
        let lengths: Vec<f64> = past.iter().map(|reply| f64::from(reply.output_length)).collect();
        if columns.is_empty() {
            let intercept = lengths.iter().sum::<f64>() / lengths.len() as f64;
            return Ok(Self { columns, coefficients: vec![], intercept });
        }
        let table: Vec<Vec<f64>> =
            rows.iter().map(|row| columns.iter().map(|column| value(row, *column)).collect()).collect();
        let table = DenseMatrix::from_2d_vec(&table).context("the prompt baseline cannot be fitted")?;
        let parameters = RidgeRegressionParameters::default().with_alpha(PENALTY);
        let fitted =
            RidgeRegression::fit(&table, &lengths, parameters).context("the prompt baseline cannot be fitted")?;
        // Beyond here this trait would take the place of `Vec`'s own methods.
        use smartcore::linalg::basic::arrays::Array as _;
        let coefficients = fitted.coefficients().iterator(0).copied().collect();
        Ok(Self { columns, coefficients, intercept: *fitted.intercept() })
    }

    fn length(&self, reply: &FinishedReply) -> f32 {
        let inputs = inputs(reply);
        let terms = self.columns.iter().zip(&self.coefficients);
        let sum: f64 = terms.map(|(column, weight)| weight * inputs.get(*column).copied().unwrap_or(0.0)).sum();
        (self.intercept + sum) as f32
    }
}

/// The inputs of the regression. A value that the log does not have is 0; where no reply has it, its column is constant and is dropped
/// by [`Ridge::fit`].
fn inputs(reply: &FinishedReply) -> Vec<f64> {
    let numbers = [
        reply.prompt_length.map_or(0.0, |tokens| (1.0 + f64::from(tokens)).ln()),
        reply.temperature.map_or(0.0, f64::from),
        f64::from(reply.max_tokens),
    ];
    numbers.into_iter().chain(reply.prompt_features.iter().map(|value| f64::from(*value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eoscast_forecast::judging::testing::{reply, uniform_replies};

    #[test]
    fn rules_count_down_and_never_say_less_than_one_token() {
        let reply = reply(5, 100, true);
        let means: Vec<_> = Baseline::Mean(3.0).judge(&reply).answers.iter().map(|answer| answer.mean).collect();
        assert_eq!(means, [3.0, 2.0, 1.0, 1.0, 1.0]);
        assert_eq!(Baseline::MaxTokens.judge(&reply).answers[4].mean, 96.0);
        assert_eq!(Baseline::Oracle.judge(&reply).answers[4], Forecast::point(1.0));
    }

    #[test]
    fn the_oracle_does_not_take_a_cut_for_an_end() {
        assert_eq!(Baseline::Oracle.judge(&reply(5, 5, false)).answers[4].end_within, [0.0; 5]);
    }

    #[test]
    fn noise_has_mean_one_and_the_spread_it_is_given_and_stays_with_its_request() {
        let factors: Vec<f64> = (0..20_000).map(|i| noise(&i.to_string(), 0.5)).collect();
        let mean = factors.iter().sum::<f64>() / 20_000.0;
        let variance = factors.iter().map(|f| (f - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 1.0).abs() < 0.02 && (variance.sqrt() - 0.5).abs() < 0.03, "{mean} {variance}");
        assert_eq!(noise("a", 0.5), noise("a", 0.5));
    }

    #[test]
    fn ridge_finds_what_the_prompt_tells_and_ignores_what_never_varies() {
        let reply = |i: u32| FinishedReply {
            prompt_features: vec![1.0, (i % 50) as f32],
            ..reply(20 + 4 * (i % 50), 1000, true)
        };
        let past: Vec<_> = (0..400).map(reply).collect();
        let ridge = Ridge::fit(&past).unwrap();
        assert!((ridge.length(&reply(10)) - 60.0).abs() < 5.0, "{}", ridge.length(&reply(10)));
        assert_eq!(ridge.columns, [4]);
        let error = format!("{:#}", Ridge::fit(&past[..2]).unwrap_err());
        assert!(error.contains("needs more than 2 replies") && error.contains("got 2"), "{error}");
    }

    #[test]
    fn without_any_difference_ridge_is_the_mean() {
        let past = uniform_replies(100, 100, 100);
        assert!((Ridge::fit(&past).unwrap().length(&past[3]) - 50.5).abs() < 1e-3);
        assert!(Ridge::fit(&[]).is_err() && Baseline::mean(&[]).is_err());
    }
}
