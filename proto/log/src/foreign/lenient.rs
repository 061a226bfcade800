//! Fields in whatever JSON spells them: booleans as 0 and 1, counts as 5.0, numbers and ids in quotes, lists of EOS ids, `NaN`.

use serde_json::{Map, Value};

use super::bare;
use super::fault::Fault;
use super::fields::{Fields, is_nothing};

/// A value, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Told<T> {
    Is(T),
    /// Absent, null or NaN.
    Unknown,
    /// Something that the field cannot hold.
    Odd,
}

use Told::{Is, Odd, Unknown};

impl<T> Told<T> {
    fn and_then<U>(self, next: impl FnOnce(T) -> Told<U>) -> Told<U> {
        match self {
            Is(value) => next(value),
            Unknown => Unknown,
            Odd => Odd,
        }
    }
}

fn number(value: &Value) -> Told<f64> {
    match value {
        Value::Null => Unknown,
        Value::Bool(flag) => Is(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64().map_or(Odd, Is),
        Value::String(text) => {
            let text = text.trim();
            if is_nothing(text) {
                return Unknown;
            }
            // Takes `inf`, `-Infinity` and the like, too.
            text.parse().map_or(Odd, Is)
        }
        // numpy writes a value as a list of one.
        Value::Array(values) => match values.as_slice() {
            [one] if !one.is_array() => number(one),
            _ => Odd,
        },
        Value::Object(_) => Odd,
    }
}

/// 32-bit; infinite where the text says so.
fn float(value: &Value) -> Told<f32> {
    number(value).and_then(|number| Is(number as f32))
}

fn count<T: TryFrom<u64>>(value: &Value) -> Told<T> {
    if let Some(whole) = value.as_u64() {
        return T::try_from(whole).map_or(Odd, Is);
    }
    number(value).and_then(|number| {
        if number.is_infinite() {
            return Unknown;
        }
        // Beyond 2^53 a float is no count.
        let is_count = number.fract() == 0.0 && (0.0..=9e15).contains(&number);
        if is_count { T::try_from(number as u64).map_or(Odd, Is) } else { Odd }
    })
}

fn flag(value: &Value) -> Told<bool> {
    if let Value::String(text) = value {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" => return Is(true),
            "false" | "no" => return Is(false),
            _ => {}
        }
    }
    number(value).and_then(|number| match number {
        0.0 => Is(false),
        1.0 => Is(true),
        _ => Odd,
    })
}

fn name(value: &Value) -> Told<String> {
    match value {
        Value::Null => Unknown,
        Value::String(text) => Is(text.clone()),
        Value::Bool(flag) => Is(flag.to_string()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => Is(format!("{float:.0}")),
            _ => Is(number.to_string()),
        },
        Value::Array(_) | Value::Object(_) => Odd,
    }
}

/// Ids in a list, which may stand in a text, or one of them.
fn ids(value: &Value) -> Told<Vec<u32>> {
    let each = |values: &[Value]| {
        let ids = values.iter().map(|value| if let Is(id) = count(value) { Some(id) } else { None });
        ids.collect::<Option<Vec<u32>>>().map_or(Odd, Is)
    };
    match value {
        Value::Array(values) => each(values),
        Value::String(text) if text.trim_start().starts_with('[') => {
            serde_json::from_str::<Vec<Value>>(text).map_or(Odd, |values| each(&values))
        }
        value => count(value).and_then(|id| Is(vec![id])),
    }
}

fn floats(value: &Value) -> Told<Vec<f32>> {
    let Value::Array(values) = value else { return if value.is_null() { Unknown } else { Odd } };
    let floats = values.iter().map(|value| if let Is(float) = float(value) { Some(float) } else { None });
    floats.collect::<Option<Vec<f32>>>().map_or(Odd, Is)
}

/// SGLang writes an object with the reason as its type.
fn reason(value: &Value) -> Told<String> {
    name(value.get("type").unwrap_or(value))
}

struct Line {
    map: Map<String, Value>,
    odd: Vec<&'static str>,
}

impl Line {
    /// The value of `field` if it is known; notes if it is none that the field can hold.
    fn get<T>(&mut self, field: &'static str, read: impl FnOnce(&Value) -> Told<T>) -> Option<T> {
        match self.map.get(field).map_or(Unknown, read) {
            Is(value) => Some(value),
            Unknown => None,
            Odd => {
                self.odd.push(field);
                None
            }
        }
    }
}

/// Reads the fields of a line; with them, those that hold something they cannot: they count as unknown.
///
/// # Errors
/// When the line is no JSON object, or counts its step by something that is no count.
pub(super) fn fields(line: &[u8]) -> Result<(Fields<'static>, Vec<&'static str>), Fault> {
    let quoted = bare::quoted(line);
    let value = serde_json::from_slice(quoted.as_deref().unwrap_or(line));
    let map = match value.map_err(|error| Fault::new("is not JSON", error.to_string()))? {
        Value::Object(map) => map,
        _ => return Err(Fault::of_kind("is not a JSON object")),
    };
    let mut line = Line { map, odd: vec![] };
    let step = line.get("step", count);
    let output_length = line.get("output_length", count);
    if !line.odd.is_empty() {
        return Err(Fault::of_kind("step or output_length is not a count of tokens"));
    }
    let mut eos = line.get("eos_token_id", ids).unwrap_or_default().into_iter();
    let sampled = match line.map.get("eos_logprob_sampled") {
        // Null says something else than NaN.
        Some(Value::Null) => Some(None),
        _ => line.get("eos_logprob_sampled", float).filter(|value| !value.is_nan()).map(Some),
    };
    let fields = Fields {
        request_id: line.get("request_id", name).map(Into::into),
        timestamp: line.get("timestamp", number),
        step,
        current_token_id: line.get("current_token_id", count),
        eos_token_id: eos.next(),
        other_eos_token_ids: eos.collect(),
        eos_logprob: line.get("eos_logprob", float),
        eos_prob: line.get("eos_prob", float),
        is_finished: line.get("is_finished", flag),
        finish_reason: line.get("finish_reason", reason),
        prompt_length: line.get("prompt_length", count),
        output_length,
        eos_logprob_sampled: sampled,
        token_logprob: line.get("token_logprob", float),
        entropy: line.get("entropy", float),
        top_logprob: line.get("top_logprob", float),
        eos_rank: line.get("eos_rank", count),
        sentence_end_logprob: line.get("sentence_end_logprob", float),
        newline_logprob: line.get("newline_logprob", float),
        temperature: line.get("temperature", float),
        max_tokens: line.get("max_tokens", count),
        ignore_eos: line.get("ignore_eos", flag),
        eos_bias: line.get("eos_bias", float),
        worker_id: line.get("worker_id", name).map(Into::into),
        epoch: line.get("epoch", count),
        model: line.get("model", name).map(Into::into),
        task: line.get("task", name).map(Into::into),
        raw_sketch: None,
        sketch: line.get("sketch", floats).unwrap_or_default(),
    };
    Ok((fields, line.odd))
}
