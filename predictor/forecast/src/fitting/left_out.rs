//! Why a request of a log is not used.

pub(super) const NO_STEPS: &str = "none of its steps is in the log";
pub(super) const REUSED: &str = "its name was used more than once by one run of a worker";
pub(super) const BEGUN_BEFORE: &str = "its first steps are not in the log";
pub(super) const ABORTED_AT_ONCE: &str = "it was aborted before any step";
pub(super) const NOT_LEARNED: &str =
    "the predictor did not learn it (outcome_number 0): its length is not borne out, or its worker had its share";
pub(super) const IGNORES_EOS: &str = "it could not end by itself (ignore_eos)";
pub(super) const STEERED_AT_ONCE: &str = "length control steered it from the first step on";
pub(super) const END_NOT_LOGGED: &str = "its end is not in the log";
pub(super) const END_NOT_KNOWN: &str = "the log does not say how it ended";
pub(super) const OTHER_MODEL: &str = "it is of another model";
pub(crate) const OLDER: &str = "it began before the part of the log that is read";
