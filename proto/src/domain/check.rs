//! Ranges, with the violation of the field that leaves them.

use std::fmt;

use crate::status::FieldViolation;

/// A finite number, or the violation of `field`.
pub(crate) fn finite(field: &str, value: f32) -> Result<f32, FieldViolation> {
    if value.is_finite() { Ok(value) } else { Err(FieldViolation::new(field, format!("must be finite, got {value}"))) }
}

/// A finite number within `low..=high`, or the violation of `field`. The largest numbers of the type are no bounds.
pub(crate) fn within(field: &str, value: f32, low: f32, high: f32) -> Result<f32, FieldViolation> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    let bounds = match (low > f32::MIN, high < f32::MAX) {
        (true, true) => format!("from {low} to {high}"),
        (true, false) => format!("at least {low}"),
        (false, true) => format!("at most {high}"),
        (false, false) => "finite".to_owned(),
    };
    Err(FieldViolation::new(field, format!("must be {bounds}, got {}", Shown(value))))
}

/// A finite number above 0 and at most `high`, which may be infinite for no bound, or the violation of `field`.
pub(crate) fn above_zero(field: &str, value: f32, high: f32) -> Result<f32, FieldViolation> {
    if value > 0.0 && value <= high && value.is_finite() {
        return Ok(value);
    }
    let bounds = if high.is_finite() { format!("above 0, at most {high}") } else { "above 0".to_owned() };
    Err(FieldViolation::new(field, format!("must be {bounds}, got {}", Shown(value))))
}

/// A number of at least 1, or the violation of `field`.
pub(crate) fn positive(field: &str, value: u32) -> Result<u32, FieldViolation> {
    if value >= 1 { Ok(value) } else { Err(FieldViolation::new(field, "must be at least 1, got 0")) }
}

/// A number in at most some ten characters, where its digits alone may be 39.
struct Shown(f32);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let is_plain = size == 0.0 || !size.is_finite() || (1e-4..1e7).contains(&size);
        if is_plain { write!(f, "{}", self.0) } else { write!(f, "{:e}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_numbers_are_short_enough_to_read() {
        for (checked, expected) in [
            (above_zero("top_p", 0.0, 1.0), "top_p: must be above 0, at most 1, got 0"),
            (above_zero("penalty", f32::INFINITY, f32::INFINITY), "penalty: must be above 0, got inf"),
            (within("temperature", f32::MAX, 0.0, 100.0), "temperature: must be from 0 to 100, got 3.4028235e38"),
            (within("mean", -1e-40, 0.0, f32::MAX), "mean: must be at least 0, got -1e-40"),
            (within("logprob", 0.5, f32::MIN, 0.0), "logprob: must be at most 0, got 0.5"),
        ] {
            assert_eq!(checked.unwrap_err().to_string(), expected);
        }
    }
}
