//! What can go wrong between services, and the gRPC status it becomes.

use std::time::Duration;

use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A field of a message that does not hold what the contract asks for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {description}")]
pub struct FieldViolation {
    /// Path of the field, e.g. `sampling_params.top_p`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

impl FieldViolation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same violation seen from the message that holds the field's message in `parent`.
    #[must_use]
    pub fn scope(self, parent: impl AsRef<str>) -> Self {
        Self { field: format!("{}.{}", parent.as_ref(), self.field), description: self.description }
    }
}

/// `google.rpc.ErrorInfo` of [`ServiceError::EpochOver`]; the contract spells them out.
const DOMAIN: &str = "eoscast";
const EPOCH_OVER: &str = "EPOCH_OVER";
const NEXT_EPOCH: &str = "next_epoch";

/// The epoch that a predictor asks a worker to go on with, if `status` says so.
pub fn next_epoch(status: &Status) -> Option<u64> {
    let info = status.get_details_error_info()?;
    let told = (info.reason.as_str(), info.domain.as_str()) == (EPOCH_OVER, DOMAIN);
    info.metadata.get(NEXT_EPOCH).filter(|_| told)?.parse().ok().filter(|epoch| *epoch > 0)
}

/// A failed call. A deliberately small subset of the gRPC codes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServiceError {
    /// The caller sent something that can never work.
    #[error(transparent)]
    InvalidArgument(#[from] FieldViolation),
    /// No such request, or no longer.
    #[error("{0}")]
    NotFound(String),
    /// The id is taken by a live request.
    #[error("{0}")]
    AlreadyExists(String),
    /// Right in itself, but not in the present state.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The run or the numbering of a step stream is not the one that the predictor goes on with; a worker that sends as the run
    /// `next_epoch` is heard again.
    #[error("{message}")]
    EpochOver {
        /// What does not fit.
        message: String,
        /// The epoch to send as.
        next_epoch: u64,
    },
    /// The queue is full; try again after the duration.
    #[error("{message}")]
    ResourceExhausted {
        /// What is full.
        message: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The deadline passed before the reply ended.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The service is starting or stopping.
    #[error("{0}")]
    Unavailable(String),
    /// A failure of ours.
    #[error("{0}")]
    Internal(String),
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let message = error.to_string();
        match error {
            ServiceError::InvalidArgument(violation) => {
                let details = ErrorDetails::with_bad_request_violation(violation.field, violation.description);
                Status::with_error_details(Code::InvalidArgument, message, details)
            }
            ServiceError::NotFound(_) => Status::not_found(message),
            ServiceError::AlreadyExists(_) => Status::already_exists(message),
            ServiceError::FailedPrecondition(_) => Status::failed_precondition(message),
            ServiceError::EpochOver { next_epoch, .. } => {
                let metadata = [(NEXT_EPOCH.to_owned(), next_epoch.to_string())];
                let details = ErrorDetails::with_error_info(EPOCH_OVER, DOMAIN, metadata);
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
            ServiceError::ResourceExhausted { retry_after, .. } => {
                let details = ErrorDetails::with_retry_info(Some(retry_after));
                Status::with_error_details(Code::ResourceExhausted, message, details)
            }
            ServiceError::DeadlineExceeded(_) => Status::deadline_exceeded(message),
            ServiceError::Unavailable(_) => Status::unavailable(message),
            ServiceError::Internal(_) => Status::internal(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_build_the_path_of_the_field() {
        let violation = FieldViolation::new("top_p", "must be above 0").scope("sampling_params");
        assert_eq!(violation.to_string(), "sampling_params.top_p: must be above 0");
    }

    #[test]
    fn an_invalid_argument_carries_the_field_as_bad_request_detail() {
        let status = Status::from(ServiceError::from(FieldViolation::new("task", "at most 64 characters")));
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_error_details().bad_request().unwrap().field_violations.clone();
        assert_eq!(violations[0].field, "task");
    }

    #[test]
    fn a_run_that_is_over_is_told_the_next_epoch() {
        let over = ServiceError::EpochOver { message: "epoch 3 is over".into(), next_epoch: 8 };
        let status = Status::from(over);
        assert_eq!((status.code(), next_epoch(&status)), (Code::FailedPrecondition, Some(8)));
        assert_eq!(next_epoch(&Status::failed_precondition("epoch 3 is over")), None);
    }

    #[test]
    fn a_full_queue_says_when_to_try_again() {
        let status = Status::from(ServiceError::ResourceExhausted {
            message: "queue is full".into(),
            retry_after: Duration::from_secs(2),
        });
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
    }
}
