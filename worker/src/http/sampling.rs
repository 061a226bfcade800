//! The fields that say how to sample: OpenAI's, the additions that vLLM's clients use, and ours.

use std::collections::BTreeMap;

use eoscast_proto::domain::{LengthControl, SamplingParams};
use eoscast_proto::status::FieldViolation;
use schemars::JsonSchema;
use serde::Deserialize;

use super::whole::Whole;

/// The fields that both generating endpoints sample by.
#[derive(Deserialize, JsonSchema)]
pub(super) struct SamplingFields {
    /// 0 is greedy; at most 100, default 1.
    temperature: Option<f32>,
    /// Smallest set of tokens with at least this probability; above 0, at most 1, default 1 (off).
    top_p: Option<f32>,
    /// Most likely tokens kept; 0 or -1 (off) by default.
    top_k: Option<Whole<i64>>,
    /// Tokens kept have at least this share of the top probability; 0 to 1, default 0 (off).
    min_p: Option<f32>,
    /// Divides positive and multiplies negative logits of tokens in prompt or reply; above 0, default 1 (off).
    repetition_penalty: Option<f32>,
    /// Subtracted from the logit once per occurrence in the reply; -2 to 2.
    frequency_penalty: Option<f32>,
    /// Subtracted from the logit if the token is in the reply; -2 to 2.
    presence_penalty: Option<f32>,
    /// Token ids with what is added to their logits before penalties and temperature; -100 to 100, at most 1,024 tokens.
    logit_bias: Option<BTreeMap<String, Option<f32>>>,
    /// The reply cannot end before this many tokens.
    min_tokens: Option<Whole<u32>>,
    /// Texts that end the reply; they are not part of it. At most 64 of at most 1,024 bytes.
    stop: Option<Stop>,
    /// Tokens that end the reply, beside the EOS set.
    stop_token_ids: Option<Vec<Option<Whole<u32>>>>,
    /// EOS tokens are never sampled.
    ignore_eos: Option<bool>,
    /// Same seed, same request, same tokens; an integer of 64 bits.
    seed: Option<Whole<i128>>,
    /// Makes the reply end near a length instead of being cut. An addition of ours.
    length_control: Option<LengthControlField>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "must be a text or a list of texts")]
#[schemars(inline)]
enum Stop {
    One(String),
    Several(Vec<Option<String>>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
struct LengthControlField {
    /// Tokens of the reply; at least 1.
    target_tokens: Whole<u32>,
    /// Nats added to the logits of the EOS set at the target at most; above 0, at most 100, default 6.
    strength: Option<f32>,
}

impl SamplingFields {
    /// Not validated yet; `max_tokens` and `logprobs`, which differ by endpoint, stay unset.
    ///
    /// # Errors
    /// The first field that no sampling parameter can hold.
    pub(super) fn into_params(self) -> Result<SamplingParams, FieldViolation> {
        let default = SamplingParams::default();
        Ok(SamplingParams {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k: self.top_k.map_or(Ok(0), top_k)?,
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            max_tokens: None,
            min_tokens: self.min_tokens.map_or(default.min_tokens, |Whole(tokens)| tokens),
            stop: match self.stop {
                None => Vec::new(),
                Some(Stop::One(text)) => vec![text],
                Some(Stop::Several(texts)) => texts.into_iter().flatten().collect(),
            },
            stop_token_ids: self.stop_token_ids.unwrap_or_default().into_iter().flatten().map(|Whole(id)| id).collect(),
            ignore_eos: self.ignore_eos.unwrap_or(default.ignore_eos),
            seed: self.seed.map(seed).transpose()?,
            logprobs: None,
            prompt_logprobs: false,
            length_control: self.length_control.map(Into::into),
            logit_bias: logit_bias(self.logit_bias.unwrap_or_default())?,
        })
    }
}

impl From<LengthControlField> for LengthControl {
    fn from(LengthControlField { target_tokens: Whole(target_tokens), strength }: LengthControlField) -> Self {
        Self { target_tokens, strength: strength.unwrap_or(Self::DEFAULT_STRENGTH) }
    }
}

/// vLLM's clients write -1 for off.
fn top_k(Whole(k): Whole<i64>) -> Result<u32, FieldViolation> {
    match k {
        -1 => Ok(0),
        k => u32::try_from(k)
            .map_err(|_| FieldViolation::new("top_k", format!("must be at least 1, or -1 or 0 for off, got {k}"))),
    }
}

/// A token without a number has none added.
fn logit_bias(biases: BTreeMap<String, Option<f32>>) -> Result<BTreeMap<u32, f32>, FieldViolation> {
    let given = biases.into_iter().filter_map(|(id, bias)| Some((id, bias?)));
    let parsed = given.map(|(id, bias)| match id.parse() {
        Ok(id) => Ok((id, bias)),
        Err(_) => Err(FieldViolation::new(format!("logit_bias.{id}"), "must be a token id in quotes")),
    });
    parsed.collect()
}

/// OpenAI's seeds are signed, ours are not: the same 64 bits.
fn seed(Whole(seed): Whole<i128>) -> Result<u64, FieldViolation> {
    let signed = || i64::try_from(seed).map(i64::cast_unsigned);
    u64::try_from(seed)
        .or_else(|_| signed())
        .map_err(|_| FieldViolation::new("seed", format!("must be an integer of 64 bits, got {seed}")))
}
