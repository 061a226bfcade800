//! The fields that say how to answer, apart from what to sample.

use std::collections::BTreeMap;

use eoscast_proto::domain::task_label;
use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::known_fields::{UnknownFields, unknown_field};
use super::whole::Whole;

/// The fields that both generating endpoints answer by.
#[derive(Deserialize, JsonSchema)]
pub(super) struct DeliveryFields {
    /// Replies per prompt; at least 1, default 1.
    n: Option<Whole<u32>>,
    /// Must equal n.
    best_of: Option<Whole<u32>>,
    /// Sends server-sent events while the reply grows.
    stream: Option<bool>,
    /// How to stream.
    stream_options: Option<StreamOptionsField>,
    /// Must be of type text.
    response_format: Option<ResponseFormat>,
    /// Lower is more urgent; 0 is normal.
    priority: Option<Whole<i32>>,
    /// What kind of work this is, at most 64 characters; helps the forecast. An addition of ours.
    task: Option<String>,
    /// Choices carry forecasts of their length. An addition of ours.
    x_forecast: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct StreamOptionsField {
    /// A last chunk carries the usage.
    include_usage: Option<bool>,
    /// Each chunk carries the usage so far; needs include_usage.
    continuous_usage_stats: Option<bool>,
    /// Without effect: chunks are sent as they are.
    #[expect(dead_code, reason = "a client may send it")]
    include_obfuscation: Option<bool>,
    #[serde(flatten)]
    #[schemars(skip)]
    rest: BTreeMap<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(inline)]
struct ResponseFormat {
    r#type: String,
}

/// How to answer, apart from what to sample.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Replies per prompt.
    pub(super) n: u32,
    /// Lower is more urgent.
    pub(super) priority: i32,
    /// Kind of work.
    pub(super) task: Option<String>,
    /// Choices carry forecasts.
    pub(super) forecast: bool,
    /// None: one answer at the end.
    pub(super) stream: Option<StreamOptions>,
}

/// How to stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamOptions {
    /// A last chunk carries the usage.
    pub(super) include_usage: bool,
    /// Each chunk carries the usage so far.
    pub(super) continuous_usage: bool,
}

impl DeliveryFields {
    /// # Errors
    /// The first field that is out of range or asks for what is not supported.
    pub(super) fn into_delivery(self, unknown: UnknownFields) -> Result<Delivery, FieldViolation> {
        if let Some(ResponseFormat { r#type: kind }) = self.response_format
            && kind != "text"
        {
            let description = format!("must be text, got {kind}: replies cannot be constrained");
            return Err(FieldViolation::new("response_format.type", description));
        }
        let streams = self.stream.unwrap_or(false);
        if self.stream_options.is_some() && !streams {
            return Err(FieldViolation::new("stream_options", "needs stream to be true"));
        }
        let stream_options = self.stream_options.map(|options| options.check(unknown)).transpose()?;
        let n = self.n.map_or(1, |Whole(n)| n);
        if let Some(Whole(best_of)) = self.best_of
            && best_of != n
        {
            return Err(FieldViolation::new("best_of", format!("must equal n, got {best_of}")));
        }
        Ok(Delivery {
            n,
            priority: self.priority.map_or(0, |Whole(priority)| priority),
            task: task_label(self.task.unwrap_or_default())?,
            forecast: self.x_forecast.unwrap_or(false),
            stream: streams.then(|| stream_options.unwrap_or_default()),
        })
    }
}

impl StreamOptionsField {
    fn check(self, unknown: UnknownFields) -> Result<StreamOptions, FieldViolation> {
        const READ: &[&str] = &["include_usage", "continuous_usage_stats", "include_obfuscation"];
        let asking = self.rest.iter().find(|(_, value)| !value.is_null());
        if let (Some((name, _)), UnknownFields::Refused) = (asking, unknown) {
            return Err(unknown_field("stream_options.", name, READ));
        }
        let include_usage = self.include_usage.unwrap_or(false);
        let continuous_usage = self.continuous_usage_stats.unwrap_or(false);
        if continuous_usage && !include_usage {
            let description = "needs include_usage to be true";
            return Err(FieldViolation::new("stream_options.continuous_usage_stats", description));
        }
        Ok(StreamOptions { include_usage, continuous_usage })
    }
}
