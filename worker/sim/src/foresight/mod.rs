//! What a policy sees of remaining lengths.

mod noise;
mod prior;
mod recorded;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::trace::TraceRequest;
use eoscast_sched::Forecast;
use eoscast_sched::RequestView;

use noise::Noise;
use prior::Prior;

pub use recorded::{Estimate, RecordedEstimates};

/// Where forecasts come from.
#[derive(Clone, Debug)]
pub enum Predictor {
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

impl FromStr for Predictor {
    type Err = PredictorError;

    fn from_str(name: &str) -> Result<Self, PredictorError> {
        let parts: Vec<&str> = name.split(':').collect();
        let noise = |cv: &str, drifting| match cv.parse() {
            Ok(cv) if cv > 0.0 && cv <= 10.0 => Ok(Self::OracleNoise { cv, drifting }),
            _ => Err(PredictorError(name.to_owned())),
        };
        match parts[..] {
            ["none"] => Ok(Self::None),
            ["oracle"] => Ok(Self::Oracle),
            ["prior"] => Ok(Self::Prior),
            ["oracle-noise", cv] => noise(cv, false),
            ["oracle-noise", cv, "drifting"] => noise(cv, true),
            _ => Err(PredictorError(name.to_owned())),
        }
    }
}

impl fmt::Display for Predictor {
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
pub struct PredictorError(String);

impl fmt::Display for PredictorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown predictor \"{}\": use none, oracle, prior, oracle-noise:CV or oracle-noise:CV:drifting, with CV \
             above 0 and at most 10",
            self.0
        )
    }
}

impl std::error::Error for PredictorError {}

/// A predictor in the course of one run.
#[derive(Debug)]
pub(super) struct Foresight<'a> {
    source: Source<'a>,
    prior: Prior,
}

#[derive(Debug)]
enum Source<'a> {
    None,
    Truth,
    Noise(Noise),
    Prior,
    Recorded(&'a RecordedEstimates),
}

impl<'a> Foresight<'a> {
    pub(super) fn new(predictor: &'a Predictor, seed: u64) -> Self {
        let source = match predictor {
            Predictor::None => Source::None,
            Predictor::Oracle => Source::Truth,
            Predictor::OracleNoise { cv, drifting } => Source::Noise(Noise::new(*cv, *drifting, seed)),
            Predictor::Prior => Source::Prior,
            Predictor::Recorded(estimates) => Source::Recorded(estimates),
        };
        Self { source, prior: Prior::default() }
    }

    /// What remains of `request` after `view.generated` tokens.
    pub(super) fn forecast(&mut self, view: &RequestView, request: &TraceRequest) -> Option<Forecast> {
        let remaining = request.output_tokens.saturating_sub(view.generated).max(1);
        match &self.source {
            Source::None => None,
            Source::Truth => Some(Forecast::certain(remaining)),
            Source::Noise(noise) => Some(noise.forecast(request.row, view.generated, remaining)),
            Source::Prior => self.prior.forecast(view),
            Source::Recorded(estimates) => {
                estimates.forecast(request.row, view.generated).or_else(|| self.prior.forecast(view))
            }
        }
    }

    /// Learns how a request ended.
    pub(super) fn observe(&mut self, request: &TraceRequest) {
        if matches!(self.source, Source::Prior | Source::Recorded(_)) {
            self.prior.push(request.output_tokens, request.output_tokens == request.max_tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predictor_survives_printing_and_parsing_and_others_are_refused() {
        for name in ["none", "oracle", "prior", "oracle-noise:0.5", "oracle-noise:1:drifting"] {
            assert_eq!(name.parse::<Predictor>().unwrap().to_string(), name);
        }
        for name in ["", "guess", "oracle:1", "oracle-noise", "oracle-noise:0", "oracle-noise:x", "oracle-noise:1:y"] {
            let error = name.parse::<Predictor>().unwrap_err().to_string();
            assert!(error.contains("use none, oracle, prior"), "{error}");
        }
    }
}
