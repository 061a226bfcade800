//! Logs of others: lines with the twelve classic EOS-probability fields, whoever wrote them and however they are spelled.
//!
//! - [`parse()`]: a line to an [`AnyStep`]; `fields` is the fast path, `lenient` takes what that refuses, `bare` what is no JSON
//! - [`Ending`]: finish reasons in all spellings
//! - [`Replies`]: steps to replies, also where ids are used again
//! - [`files`]: the files of a log, in order
//! - [`Fault`]: why a line is not used

mod any_step;
mod bare;
mod ending;
mod fault;
mod fields;
pub mod files;
mod lenient;
mod parse;
mod replies;

pub use any_step::AnyStep;
pub use ending::Ending;
pub use fault::Fault;
pub use fields::MOST_TOKENS;
pub use parse::{parse, parse_signals};
pub use replies::{Gap, Replies, Reply, Taken};

#[cfg(test)]
mod tests;
