//! Fuel for texts, paid before they are allocated.
//!
//! minijinja charges for what a function returns, when it is there. That is too late for a function that returns more than memory
//! holds.

use std::fmt::{self, Write};

use minijinja::{Error, ErrorKind, State, Value};

/// Bytes that minijinja sells for one unit of fuel.
const BYTES_A_UNIT: usize = 64;
/// The same of the text of a list or a dictionary, which takes longer to print.
const PRINTED_BYTES_A_UNIT: usize = 4;

/// Pays for `bytes` of text.
pub(super) fn pay_for_bytes(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes.div_ceil(BYTES_A_UNIT) as u64)
}

/// Length of `value` as a template prints it.
///
/// # Errors
/// The fuel that is left does not pay for it. A list that shares its entries may print exponentially more than it holds.
pub(super) fn printed_bytes(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.len());
    }
    let left = state.fuel_levels().map_or(u64::MAX, |(_, left)| left);
    let most = usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(PRINTED_BYTES_A_UNIT);
    let mut length = Length { bytes: 0, most };
    write!(length, "{value}").map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
    Ok(length.bytes)
}

/// Counts what is written to it and takes no more than `most` bytes.
struct Length {
    bytes: usize,
    most: usize,
}

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > self.most { Err(fmt::Error) } else { Ok(()) }
    }
}
