//! The fields that completions and chat completions share: OpenAI's, the additions that vLLM's clients use, and ours.

use eoscast_proto::domain::{LengthControl, SamplingParams, task_label};
use eoscast_proto::status::FieldViolation;
use serde::Deserialize;

use super::fields::Fields;

/// How to answer, apart from what to sample.
pub(super) struct Options {
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
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct StreamOptions {
    /// A last chunk tells the usage.
    #[serde(default)]
    pub(super) include_usage: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

/// Fields that would change the reply, but not here.
const UNSUPPORTED: &[&str] = &[
    "logit_bias",
    "prompt_logprobs",
    "use_beam_search",
    "allowed_token_ids",
    "bad_words",
    "include_stop_str_in_output",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
];

/// What both endpoints sample by; `max_tokens` and `logprobs` differ and stay unset. Not validated yet.
///
/// # Errors
/// The first field of another type.
pub(super) fn sampling_params(fields: &mut Fields) -> Result<SamplingParams, FieldViolation> {
    for name in UNSUPPORTED {
        fields.refuse(name)?;
    }
    let default = SamplingParams::default();
    Ok(SamplingParams {
        temperature: fields.take("temperature")?.unwrap_or(default.temperature),
        top_p: fields.take("top_p")?.unwrap_or(default.top_p),
        top_k: top_k(fields)?,
        min_p: fields.take("min_p")?.unwrap_or(default.min_p),
        repetition_penalty: fields.take("repetition_penalty")?.unwrap_or(default.repetition_penalty),
        frequency_penalty: fields.take("frequency_penalty")?.unwrap_or(default.frequency_penalty),
        presence_penalty: fields.take("presence_penalty")?.unwrap_or(default.presence_penalty),
        max_tokens: None,
        min_tokens: fields.take("min_tokens")?.unwrap_or(default.min_tokens),
        stop: match fields.take("stop")? {
            None => Vec::new(),
            Some(Stop::One(text)) => vec![text],
            Some(Stop::Several(texts)) => texts,
        },
        stop_token_ids: fields.take("stop_token_ids")?.unwrap_or_default(),
        ignore_eos: fields.take("ignore_eos")?.unwrap_or(default.ignore_eos),
        seed: seed(fields)?,
        logprobs: None,
        length_control: fields.take::<LengthControlField>("length_control")?.map(Into::into),
    })
}

/// The other fields that both endpoints share.
///
/// # Errors
/// The first field of another type or out of range.
pub(super) fn options(fields: &mut Fields) -> Result<Options, FieldViolation> {
    if let Some(text) = fields.take::<ResponseFormat>("response_format")?.map(|format| format.r#type)
        && text != "text"
    {
        return Err(FieldViolation::new("response_format.type", format!("must be text, got {text}")));
    }
    let streams = fields.take("stream")?.unwrap_or(false);
    let stream_options = fields.take("stream_options")?;
    if stream_options.is_some() && !streams {
        return Err(FieldViolation::new("stream_options", "needs stream to be true"));
    }
    let n = fields.take("n")?.unwrap_or(1);
    if let Some(best_of) = fields.take::<u32>("best_of")?
        && best_of != n
    {
        return Err(FieldViolation::new("best_of", format!("must equal n, got {best_of}")));
    }
    Ok(Options {
        n,
        priority: fields.take("priority")?.unwrap_or_default(),
        task: task_label(fields.take("task")?.unwrap_or_default())?,
        forecast: fields.take("x_forecast")?.unwrap_or(false),
        stream: streams.then(|| stream_options.unwrap_or_default()),
    })
}

#[derive(Deserialize)]
struct ResponseFormat {
    r#type: String,
}

/// An addition of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LengthControlField {
    target_tokens: u32,
    strength: Option<f32>,
}

impl From<LengthControlField> for LengthControl {
    fn from(field: LengthControlField) -> Self {
        Self { target_tokens: field.target_tokens, strength: field.strength.unwrap_or(Self::DEFAULT_STRENGTH) }
    }
}

/// vLLM's clients write -1 for off.
fn top_k(fields: &mut Fields) -> Result<u32, FieldViolation> {
    match fields.take::<i64>("top_k")? {
        None | Some(-1) => Ok(0),
        Some(k) => u32::try_from(k)
            .map_err(|_| FieldViolation::new("top_k", format!("must be at least 1, or -1 or 0 for off, got {k}"))),
    }
}

/// OpenAI's seeds are signed, ours are not: the same 64 bits.
fn seed(fields: &mut Fields) -> Result<Option<u64>, FieldViolation> {
    let Some(seed) = fields.take::<serde_json::Number>("seed")? else { return Ok(None) };
    let bits = seed.as_u64().or_else(|| seed.as_i64().map(i64::cast_unsigned));
    bits.map(Some).ok_or_else(|| FieldViolation::new("seed", format!("must be an integer of 64 bits, got {seed}")))
}
