//! The only conversions between generated messages and [`domain`](crate::domain): `From` out, `TryFrom` in.

mod estimates;
mod generate;
mod load_report;
mod replies;
mod steps;

use crate::domain::FinishReason;
use crate::domain::check::{finite, positive, within};
use crate::predictor::v1 as pb;
use crate::status::FieldViolation;

impl From<FinishReason> for pb::FinishReason {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Stop,
            FinishReason::Length => Self::Length,
            FinishReason::Abort => Self::Abort,
            FinishReason::Error => Self::Error,
        }
    }
}

/// `None` where the field is unset.
fn finish_reason(code: i32) -> Result<Option<FinishReason>, FieldViolation> {
    match pb::FinishReason::try_from(code) {
        Ok(pb::FinishReason::Unspecified) => Ok(None),
        Ok(pb::FinishReason::Stop) => Ok(Some(FinishReason::Stop)),
        Ok(pb::FinishReason::Length) => Ok(Some(FinishReason::Length)),
        Ok(pb::FinishReason::Abort) => Ok(Some(FinishReason::Abort)),
        Ok(pb::FinishReason::Error) => Ok(Some(FinishReason::Error)),
        Err(_) => Err(FieldViolation::new("finish_reason", format!("unknown value {code}"))),
    }
}

/// An array of exactly `N` finite numbers that never decrease, or the violation of `field`.
fn ascending<const N: usize>(field: &str, values: &[f32]) -> Result<[f32; N], FieldViolation> {
    let array: [f32; N] = values
        .try_into()
        .map_err(|_| FieldViolation::new(field, format!("must have {N} values, got {}", values.len())))?;
    if array.iter().all(|v| v.is_finite() && *v >= 0.0) && array.is_sorted() {
        Ok(array)
    } else {
        Err(FieldViolation::new(field, "must be finite, not negative and never decrease"))
    }
}

/// Empty text stands for absence on the wire.
fn optional_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
