//! Ranges, with the violation of the field that leaves them.

use crate::status::FieldViolation;

/// A finite number, or the violation of `field`.
pub(crate) fn finite(field: &str, value: f32) -> Result<f32, FieldViolation> {
    if value.is_finite() { Ok(value) } else { Err(FieldViolation::new(field, format!("must be finite, got {value}"))) }
}

/// A finite number within `low..=high`, or the violation of `field`.
pub(crate) fn within(field: &str, value: f32, low: f32, high: f32) -> Result<f32, FieldViolation> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(FieldViolation::new(field, format!("must be from {low} to {high}, got {value}")))
    }
}

/// A number of at least 1, or the violation of `field`.
pub(crate) fn positive(field: &str, value: u32) -> Result<u32, FieldViolation> {
    if value >= 1 { Ok(value) } else { Err(FieldViolation::new(field, "must be at least 1")) }
}
