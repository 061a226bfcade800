//! What the command lines share: version, completions, exit codes, logs, progress, health checks, and how values are written.
//!
//! # Layout
//! - here: [`main`], which parses and runs a [`CommandLine`]
//! - `environment`: empty variables, and errors that name a variable
//! - [`address`], [`size`]: values of options
//! - [`logging`]: text or JSON logs on stderr
//! - [`progress`]: bars on stderr, or lines where that is no terminal
//! - [`interrupt`]: how a command is told to end
//! - [`health`]: the command that asks a service whether it serves

pub mod address;
mod environment;
pub mod health;
pub mod interrupt;
pub mod logging;
pub mod progress;
pub mod size;

use std::ffi::OsString;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::Shell;

use environment::{name_variable, without_empty_variables};
use logging::LogFormat;

const COMPLETIONS: &str = "completions";
const LOG_FORMAT: &str = "log-format";

/// A commit that the build did not know.
const UNKNOWN: &str = "unknown";
static COMMIT: OnceLock<&str> = OnceLock::new();

/// A parsed command line.
pub trait CommandLine: CommandFactory + FromArgMatches {
    /// What is logged unless `RUST_LOG` says otherwise.
    fn log_level(&self) -> &'static str;

    /// Does what the command line says.
    ///
    /// # Errors
    /// When it cannot be done; the error says why and what to change.
    fn run(self) -> anyhow::Result<()>;
}

/// The whole of a binary's `main`. `commit` is what was built, if the build knew it.
///
/// Exits with 1 when the command fails and with 2 when the command line is wrong, as clap does.
pub fn main<C: CommandLine>(commit: Option<&'static str>) -> ExitCode {
    let _ = COMMIT.set(commit.unwrap_or(UNKNOWN));
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = without_empty_variables(command::<C>(commit));
    let matches = command.clone().try_get_matches_from(&arguments).unwrap_or_else(|mut error| {
        name_variable(&mut error, &command, &arguments);
        error.exit()
    });
    let result = match matches.subcommand() {
        Some((COMPLETIONS, chosen)) => print_completions(command, chosen),
        _ => C::from_arg_matches(&matches).map_err(anyhow::Error::from).and_then(|cli| {
            logging::start(matches.get_one(LOG_FORMAT).copied().unwrap_or(LogFormat::Text), cli.log_level());
            cli.run()
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The commit that [`main`] was given.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or(UNKNOWN)
}

/// The command with its version, `completions` and `--log-format`.
fn command<C: CommandLine>(commit: Option<&str>) -> Command {
    let command = C::command();
    let number = command.get_version().unwrap_or_default();
    let version = format!("{number} (commit {})", commit.unwrap_or(UNKNOWN));
    let shell = Arg::new("shell")
        .required(true)
        .value_name("SHELL")
        .help("The shell to complete in")
        .value_parser(["bash", "zsh", "fish"]);
    let completions = Command::new(COMPLETIONS).about("Print a completion script for bash, zsh or fish").arg(shell);
    let log_format = Arg::new(LOG_FORMAT)
        .long(LOG_FORMAT)
        .env("EOSCAST_LOG_FORMAT")
        .global(true)
        .help("Format of the logs on stderr; RUST_LOG sets what is logged, e.g. RUST_LOG=debug")
        .value_parser(clap::value_parser!(LogFormat))
        .default_value("text");
    command.version(version).propagate_version(true).arg(log_format).subcommand(completions)
}

fn print_completions(mut command: Command, chosen: &ArgMatches) -> anyhow::Result<()> {
    let shell = match chosen.get_one::<String>("shell").map(String::as_str) {
        Some("zsh") => Shell::Zsh,
        Some("fish") => Shell::Fish,
        _ => Shell::Bash,
    };
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    Ok(stdout().lock().write_all(&script)?)
}

/// Flags without an environment variable that begins with `EOSCAST_`, as `command --flag`. Every flag must have one.
pub fn flags_without_variable<C: CommandLine>() -> Vec<String> {
    let cli = C::command();
    let mut missing = Vec::new();
    for command in cli.get_subcommands().chain([&cli]) {
        for flag in command.get_opts() {
            let variable = flag.get_env().and_then(|name| name.to_str()).unwrap_or_default();
            if !variable.starts_with("EOSCAST_") {
                missing.push(format!("{} --{}", command.get_name(), flag.get_id()));
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "example", version)]
    struct Example {
        #[command(subcommand)]
        command: Only,
    }

    #[derive(Debug, Subcommand)]
    enum Only {
        Go {
            #[arg(long, env = "EOSCAST_FAST")]
            fast: bool,
            #[arg(long)]
            slow: bool,
        },
    }

    impl CommandLine for Example {
        fn log_level(&self) -> &'static str {
            "info"
        }

        fn run(self) -> anyhow::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_version_names_the_commit() {
        let version = |commit| command::<Example>(commit).render_version();
        assert_eq!(version(Some("1234abcd")), format!("example {} (commit 1234abcd)\n", env!("CARGO_PKG_VERSION")));
        assert!(version(None).contains("commit unknown"));
    }

    #[test]
    fn a_flag_without_a_variable_is_named() {
        assert_eq!(flags_without_variable::<Example>(), ["go --slow"]);
    }

    #[test]
    fn completions_take_three_shells_and_no_other() {
        let parse = |shell: &str| command::<Example>(None).try_get_matches_from(["example", "completions", shell]);
        assert!(["bash", "zsh", "fish"].iter().all(|shell| parse(shell).is_ok()));
        assert!(parse("powershell").is_err());
    }
}
