//! `strftime_now`: the date, by the clock and the time zone of the machine.

use std::fmt::Write;

use chrono::Local;
use chrono::format::StrftimeItems;
use minijinja::{Error, State};

use super::fault::refused;

/// The time as `format` says, in the notation of C's `strftime`.
pub(super) fn strftime_now(state: &State<'_, '_>, format: &str) -> Result<String, Error> {
    // A directive of two bytes may become some thirty.
    state.consume_fuel(format.len() as u64)?;
    let wrong = || refused(format!("strftime_now: {format:?} is no format of a time"));
    let items = StrftimeItems::new(format).parse().map_err(|_| wrong())?;
    let mut text = String::new();
    write!(text, "{}", Local::now().format_with_items(items.iter())).map_err(|_| wrong())?;
    Ok(text)
}
