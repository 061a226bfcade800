//! The plain types that both services compute with. A value of one of these types is valid.

mod chat;
pub(crate) mod check;
mod estimate;
mod forecast;
mod generate;
mod load_report;
mod reply;
mod step;
mod step_size;

pub use chat::{ChatMessage, Conversation, ReplyStart, ToolCall};
pub use estimate::{LengthEstimate, LengthPrior, RequestState, StepsReply};
pub use forecast::{END_WITHIN, Forecast, ModelForecast, QUANTILE_LEVELS, whole_tokens};
pub use generate::{GenerateSpec, Input, LengthControl, SamplingParams, limits, task_label};
pub use load_report::{LoadReport, LoadReportFormat};
pub use reply::{Chunk, Complete, MatchedStop, PromptLogprob, RankedToken, ReplyEvent, TokenLogprob};
pub use step::{EngineLoad, FinishReason, RequestEnded, RequestStarted, StepBatch, StepEvent, StepSignals, WorkerRun};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::status::FieldViolation;

/// Longest request or worker id, in characters.
const MAX_ID_LENGTH: usize = 128;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $name {
            /// An id for tests; it is not checked.
            #[doc(hidden)]
            pub fn for_test(id: &str) -> Self {
                Self(id.into())
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldViolation;

            fn try_from(id: String) -> Result<Self, Self::Error> {
                if id.is_empty() || id.len() > MAX_ID_LENGTH || !id.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(FieldViolation::new(
                        $field,
                        format!("must be 1 to {MAX_ID_LENGTH} visible ASCII characters, got {} bytes", id.len()),
                    ));
                }
                Ok(Self(id.into()))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type!(
    /// Names one request among the live requests of a worker: 1 to 128 visible ASCII characters. Cheap to clone.
    RequestId,
    "request_id"
);
id_type!(
    /// Names a worker over its restarts: 1 to 128 visible ASCII characters. Cheap to clone.
    WorkerId,
    "worker_id"
);
