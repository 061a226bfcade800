//! What a policy sees of remaining lengths.

mod earlier;
mod noise;
mod recorded;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::trace::TraceRequest;
use eoscast_sched::RemainingLength;
use eoscast_sched::RequestView;

use earlier::EarlierLengths;
use noise::Noise;

pub use recorded::{RecordedEstimate, RecordedEstimates};

/// Where forecasts come from.
#[derive(Clone, Debug)]
pub enum ForecastSource {
    /// Nowhere: the worst case stands in.
    None,
    /// `oracle`: the true length.
    Oracle,
    /// `oracle-noise:CV`, `oracle-noise:CV:drifting`: the true remaining length times a lognormal factor.
    OracleNoise {
        /// Coefficient of variation of the factor, above 0.
        cv: f64,
        /// Whether the factor changes slowly as the reply grows, instead of staying the same for a request.
        drifting: bool,
    },
    /// `prior`: the lengths of the replies that ended before.
    Prior,
    /// Estimates that a real predictor made, and the prior where they are missing or old.
    Recorded(Arc<RecordedEstimates>),
}

impl FromStr for ForecastSource {
    type Err = ForecastSourceError;

    fn from_str(name: &str) -> Result<Self, ForecastSourceError> {
        let parts: Vec<&str> = name.split(':').collect();
        let noise = |cv: &str, drifting| match cv.parse() {
            Ok(cv) if cv > 0.0 && cv <= 10.0 => Ok(Self::OracleNoise { cv, drifting }),
            _ => Err(ForecastSourceError(name.to_owned())),
        };
        match parts[..] {
            ["none"] => Ok(Self::None),
            ["oracle"] => Ok(Self::Oracle),
            ["prior"] => Ok(Self::Prior),
            ["oracle-noise", cv] => noise(cv, false),
            ["oracle-noise", cv, "drifting"] => noise(cv, true),
            _ => Err(ForecastSourceError(name.to_owned())),
        }
    }
}

impl fmt::Display for ForecastSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Oracle => f.write_str("oracle"),
            Self::OracleNoise { cv, drifting: false } => write!(f, "oracle-noise:{cv}"),
            Self::OracleNoise { cv, drifting: true } => write!(f, "oracle-noise:{cv}:drifting"),
            Self::Prior => f.write_str("prior"),
            Self::Recorded(_) => f.write_str("recorded"),
        }
    }
}

/// No such predictor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForecastSourceError(String);

impl fmt::Display for ForecastSourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown predictor \"{}\": use none, oracle, prior, oracle-noise:CV or oracle-noise:CV:drifting, with CV \
             above 0 and at most 10",
            self.0
        )
    }
}

impl std::error::Error for ForecastSourceError {}

/// A predictor in the course of one run.
#[derive(Debug)]
pub(super) struct Foresight<'a> {
    basis: Basis<'a>,
    earlier: EarlierLengths,
}

#[derive(Debug)]
enum Basis<'a> {
    None,
    Truth,
    Noise(Noise),
    Prior,
    Recorded(&'a RecordedEstimates),
}

impl<'a> Foresight<'a> {
    pub(super) fn new(source: &'a ForecastSource, seed: u64) -> Self {
        let basis = match source {
            ForecastSource::None => Basis::None,
            ForecastSource::Oracle => Basis::Truth,
            ForecastSource::OracleNoise { cv, drifting } => Basis::Noise(Noise::new(*cv, *drifting, seed)),
            ForecastSource::Prior => Basis::Prior,
            ForecastSource::Recorded(estimates) => Basis::Recorded(estimates),
        };
        Self { basis, earlier: EarlierLengths::default() }
    }

    /// What remains of `request` after `view.generated` tokens.
    pub(super) fn forecast(&mut self, view: &RequestView, request: &TraceRequest) -> Option<RemainingLength> {
        let remaining = request.output_tokens.saturating_sub(view.generated).max(1);
        match &self.basis {
            Basis::None => None,
            Basis::Truth => Some(RemainingLength::certain(remaining)),
            Basis::Noise(noise) => Some(noise.forecast(request.row, view.generated, remaining)),
            Basis::Prior => self.earlier.forecast(view),
            Basis::Recorded(estimates) => {
                estimates.forecast(request.row, view.generated).or_else(|| self.earlier.forecast(view))
            }
        }
    }

    /// Learns how a request ended.
    pub(super) fn observe(&mut self, request: &TraceRequest) {
        if matches!(self.basis, Basis::Prior | Basis::Recorded(_)) {
            self.earlier.push(request.output_tokens, request.output_tokens == request.max_tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predictor_survives_printing_and_parsing_and_others_are_refused() {
        for name in ["none", "oracle", "prior", "oracle-noise:0.5", "oracle-noise:1:drifting"] {
            assert_eq!(name.parse::<ForecastSource>().unwrap().to_string(), name);
        }
        for name in ["", "guess", "oracle:1", "oracle-noise", "oracle-noise:0", "oracle-noise:x", "oracle-noise:1:y"] {
            let error = name.parse::<ForecastSource>().unwrap_err().to_string();
            assert!(error.contains("use none, oracle, prior"), "{error}");
        }
    }
}
