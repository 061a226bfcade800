//! The operator `%`: the remainder of numbers, and the old way of Python to format texts.

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::budget::{pay_for_bytes, printed_bytes};
use super::fault::refused;

/// `left % right`.
pub(super) fn percent(state: &mut State<'_, '_>, left: Value, right: Value) -> Result<Value, Error> {
    if left.as_str().is_none() {
        return remainder(&left, &right);
    }
    let keys = left.as_str().map_or(0, |text| text.matches("%(").count());
    // A tuple holds several arguments; a list or a dictionary is one.
    let mut arguments = vec![left];
    if right.is_tuple() {
        arguments.extend(right.try_iter()?);
    } else {
        arguments.push(right);
    }
    // The library pays for widths and precisions itself. A text that names keys of a dictionary may use one many times.
    for argument in &arguments[1..] {
        pay_for_bytes(state, printed_bytes(state, argument)?.saturating_mul(keys.max(1)))?;
    }
    state.apply_filter("format", &arguments)
}

/// The remainder has the sign of the divisor, as in Python.
fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if let (Some(left), Some(right)) = (integer(left), integer(right)) {
        let remainder = match right {
            0 => return Err(refused("integer modulo by zero")),
            // Of the smallest number, `checked_rem` knows no remainder by -1.
            -1 => 0,
            _ => left % right,
        };
        let wrong_sign = remainder != 0 && (remainder < 0) != (right < 0);
        return Ok(Value::from(if wrong_sign { remainder + right } else { remainder }));
    }
    match (float(left), float(right)) {
        (Some(_), Some(0.0)) => Err(refused("float modulo by zero")),
        (Some(left), Some(right)) => {
            let remainder = left % right;
            let wrong_sign = (remainder < 0.0) != (right < 0.0);
            Ok(Value::from(match remainder == 0.0 {
                true => 0.0f64.copysign(right),
                false if wrong_sign => remainder + right,
                false => remainder,
            }))
        }
        _ => Err(refused(format!("tried to use % operator on unsupported types {} and {}", left.kind(), right.kind()))),
    }
}

fn integer(value: &Value) -> Option<i128> {
    let is_integer = value.is_integer() || value.kind() == ValueKind::Bool;
    is_integer.then(|| i128::try_from(value.clone()).ok()).flatten()
}

fn float(value: &Value) -> Option<f64> {
    let is_number = value.is_number() || value.kind() == ValueKind::Bool;
    is_number.then(|| f64::try_from(value.clone()).ok()).flatten()
}
