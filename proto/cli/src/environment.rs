//! What environment variables mean for a command line, beyond what clap does with them.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Command, Error};

/// `command`, for which a variable that is set to nothing is not set.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(without_empty_variables)
}

/// Says in `error` which variable a wrong value came from, if it is not among the `arguments`.
pub(crate) fn name_variable(error: &mut Error, command: &Command, arguments: &[OsString]) {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return };
    let shown = shown.clone();
    // Only then do options know how they are shown.
    let mut command = command.clone();
    command.build();
    let given = |flag: &str| {
        let begins = |argument: &str| argument == flag || argument.starts_with(&format!("{flag}="));
        arguments.iter().filter_map(|argument| argument.to_str()).any(begins)
    };
    let used = command.get_subcommands().find(|sub| arguments.iter().any(|argument| argument == sub.get_name()));
    let mut options = used.into_iter().chain([&command]).flat_map(Command::get_opts);
    let Some(option) = options.find(|option| option.to_string() == shown) else { return };
    let Some(variable) = option.get_env().filter(|name| std::env::var_os(name).is_some()) else { return };
    if !given(&format!("--{}", option.get_long().unwrap_or_default())) {
        let from = format!("{shown} (environment variable {})", variable.display());
        error.insert(ContextKind::InvalidArg, ContextValue::String(from));
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, value_parser};

    use super::*;

    /// `PATH` is set wherever tests run, and is not a number.
    fn command() -> Command {
        let count = Arg::new("count").long("count").env("PATH").value_name("N").value_parser(value_parser!(u16));
        Command::new("example").subcommand(Command::new("go").arg(count))
    }

    fn message(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let mut error = command().try_get_matches_from(&arguments).unwrap_err();
        name_variable(&mut error, &command(), &arguments);
        error.to_string()
    }

    #[test]
    fn a_variable_is_named_where_the_value_came_from_it() {
        assert!(message(&["example", "go"]).contains("'--count <N> (environment variable PATH)'"));
        for given in [["--count", "many"].as_slice(), &["--count=many"]] {
            let error = message(&[&["example", "go"], given].concat());
            assert!(error.contains("'--count <N>'") && !error.contains("PATH"), "{error}");
        }
    }
}
