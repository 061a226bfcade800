//! The dialect of Jinja that chat templates are written in: that of `apply_chat_template` in Hugging Face's `transformers`.
//!
//! minijinja knows most of it. What it lacks is added as functions, filters and methods, or, where it is syntax, rewritten into what
//! minijinja knows.
//!
//! # Layout
//! - `rewrite`: `{% generation %}` and the operator `%`, over the tokens of `lexer`; `percent`: what the operator does
//! - `json`: the filter `tojson`; `methods`: methods of Python's strings and lists; `clock`: `strftime_now`
//! - `budget`: fuel that is paid before memory is taken; `fault`: errors

mod budget;
mod clock;
mod fault;
mod json;
mod lexer;
mod methods;
mod percent;
mod rewrite;
#[cfg(test)]
mod tests;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Output, State, Value, escape_formatter};

pub(super) use fault::{Raised, in_words};
pub(super) use rewrite::MAX_BYTES;

/// Work that one rendering may do, in minijinja's fuel: about an instruction or 64 bytes each, so at most 320 MB.
/// A template comes with the model file and its input from the network; neither may hang or fill the worker.
const FUEL: u64 = 5_000_000;

/// An environment with template `source` under `name`. An error says what is wrong with it, and in which line.
pub(super) fn environment(name: &'static str, source: &str) -> Result<Environment<'static>, String> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| error.to_string())?);
    environment.set_fuel(Some(FUEL));
    minijinja_contrib::add_to_environment(&mut environment);
    environment.set_formatter(print);
    environment.set_unknown_method_callback(methods::call);
    environment.add_filter("tojson", json::tojson);
    environment.add_function("raise_exception", fault::raise_exception);
    environment.add_function("strftime_now", clock::strftime_now);
    environment.add_function(rewrite::PERCENT, percent::percent);
    environment.add_test("sequence", is_sequence);
    let source = rewrite::rewrite(source)?;
    environment.add_template_owned(name, source).map_err(|error| in_words(&error))?;
    Ok(environment)
}

/// Prints a value as minijinja does, if the fuel that is left pays for it.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    budget::printed_bytes(state, value)?;
    escape_formatter(out, state, value)
}

/// As in Python, where texts and dictionaries have a length and items, too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::String | ValueKind::Seq | ValueKind::Map)
}
