//! What tells the series of one metric apart.

use eoscast_proto::status::ServiceError;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::link::ForecastBasis;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabel {
    pub(super) finished_reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabel {
    pub(super) reason: Refusal,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BasisLabel {
    pub(super) basis: ForecastBasis,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PhaseLabel {
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutstandingLabel {
    pub(super) stat: &'static str,
}

/// Why a request did not get as far as the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// It can never work.
    Invalid,
    /// It names a model that is not served.
    UnknownModel,
    /// There is no place in the queue.
    QueueFull,
    /// A live request has its id.
    IdInUse,
    /// Its deadline had passed.
    DeadlineExceeded,
    /// The worker is stopping.
    Stopping,
    /// A failure of ours.
    Internal,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Invalid,
        Self::UnknownModel,
        Self::QueueFull,
        Self::IdInUse,
        Self::DeadlineExceeded,
        Self::Stopping,
        Self::Internal,
    ];

    /// As logs and metrics spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownModel => "unknown_model",
            Self::QueueFull => "queue_full",
            Self::IdInUse => "id_in_use",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Stopping => "stopping",
            Self::Internal => "internal",
        }
    }

    /// Whether something in the request is to blame.
    pub(crate) fn is_of_a_field(self) -> bool {
        matches!(self, Self::Invalid | Self::UnknownModel)
    }
}

impl From<&ServiceError> for Refusal {
    fn from(error: &ServiceError) -> Self {
        match error {
            ServiceError::InvalidArgument(_)
            | ServiceError::NotFound(_)
            | ServiceError::FailedPrecondition(_)
            | ServiceError::EpochOver { .. } => Self::Invalid,
            ServiceError::AlreadyExists(_) => Self::IdInUse,
            ServiceError::ResourceExhausted { .. } => Self::QueueFull,
            ServiceError::DeadlineExceeded(_) => Self::DeadlineExceeded,
            ServiceError::Unavailable(_) => Self::Stopping,
            ServiceError::Internal(_) => Self::Internal,
        }
    }
}

/// Parts of an engine step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Commands, deadlines, and the plan.
    Schedule,
    /// The forward pass.
    Forward,
    /// Sampling, text, replies.
    Sample,
    /// Sending the step to the predictor, and updating metrics.
    Events,
}

impl Phase {
    /// All of them, in their order within a step.
    pub const ALL: [Self; 4] = [Self::Schedule, Self::Forward, Self::Sample, Self::Events];

    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Forward => "forward",
            Self::Sample => "sample",
            Self::Events => "events",
        }
    }
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for Phase {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl EncodeLabelValue for ForecastBasis {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Estimate => "estimate",
            Self::Prior => "prior",
            Self::WorstCase => "worst_case",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}
