//! [`parse`]: reads the step on a line of any log.

use super::any_step::AnyStep;
use super::ending::Ending;
use super::fault::Fault;
use super::fields::Fields;
use super::lenient;

/// Reads a line; with it, the fields whose values are not understood and count as unknown.
///
/// # Errors
/// When it is not a step line, or tells what cannot be.
pub fn parse(line: &[u8]) -> Result<(AnyStep, Vec<&'static str>), Fault> {
    read(line, true)
}

/// The same without the sketch.
///
/// # Errors
/// When it is not a step line, or tells what cannot be.
pub fn parse_signals(line: &[u8]) -> Result<(AnyStep, Vec<&'static str>), Fault> {
    read(line, false)
}

fn read(line: &[u8], with_sketch: bool) -> Result<(AnyStep, Vec<&'static str>), Fault> {
    let (fields, mut odd) = match Fields::read(line, with_sketch) {
        Some(fields) => (fields, vec![]),
        None => lenient::fields(line)?,
    };
    if fields.reason() == Some(Ending::Unknown) {
        odd.push("finish_reason");
    }
    Ok((fields.step()?, odd))
}
