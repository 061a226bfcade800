//! Logs on stderr, as text for people or as JSON for machines.

use std::env;
use std::ffi::OsStr;
use std::io::{IsTerminal, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// Starts logging from `default_level` on, unless `RUST_LOG` says otherwise. To be called once.
pub fn start(format: LogFormat, default_level: &str) {
    let wanted = env::var_os(EnvFilter::DEFAULT_ENV);
    let (filter, fault) = filter(wanted.as_deref(), default_level);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal() && !refuses_colour(env::var_os("NO_COLOR").as_deref()))
        .with_target(false);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    if let Some(fault) = fault {
        tracing::warn!("RUST_LOG is not used: {fault}");
    }
}

/// What is logged, and why it is not what `wanted` says. An empty variable is as good as none.
fn filter(wanted: Option<&OsStr>, default_level: &str) -> (EnvFilter, Option<String>) {
    let default = || EnvFilter::new(default_level);
    let wanted = wanted.map(OsStr::to_string_lossy).unwrap_or_default();
    match wanted.trim() {
        "" => (default(), None),
        wanted => match EnvFilter::try_new(wanted) {
            Ok(filter) => (filter, None),
            Err(error) => (default(), Some(error.to_string())),
        },
    }
}

/// <https://no-color.org>: any value but an empty one.
fn refuses_colour(no_color: Option<&OsStr>) -> bool {
    no_color.is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: Option<&str>) -> String {
        filter(wanted.map(OsStr::new), "info").0.to_string()
    }

    #[test]
    fn an_empty_rust_log_is_the_default() {
        for wanted in [None, Some(""), Some(" ")] {
            assert_eq!(shown(wanted), "info", "{wanted:?}");
        }
        assert_eq!(shown(Some("eoscast_worker=debug,warn")), "eoscast_worker=debug,warn");
    }

    #[test]
    fn a_rust_log_that_means_nothing_is_the_default_and_is_told() {
        let (filter, fault) = filter(Some(OsStr::new("eoscast=loud")), "info");
        assert_eq!(filter.to_string(), "info");
        assert!(fault.is_some());
    }

    #[test]
    fn no_color_takes_any_value_but_an_empty_one() {
        let refuses = |value: Option<&str>| refuses_colour(value.map(OsStr::new));
        assert_eq!([None, Some(""), Some("1"), Some("0")].map(refuses), [false, false, true, true]);
    }
}
