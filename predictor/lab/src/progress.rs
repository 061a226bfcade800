//! Progress bars on stderr, as all commands show them.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `total`, drawn by an indicatif template.
pub(crate) fn bar(total: u64, template: &str) -> ProgressBar {
    // A template that does not parse costs only the looks.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style.progress_chars("=> "))
}

/// A bar over the bytes that are read.
pub(crate) fn bytes(what: &'static str, total: u64) -> ProgressBar {
    bar(total, "{prefix} [{bar:40}] {bytes}/{total_bytes}, {eta} left").with_prefix(what)
}

/// A bar over the items of a list, with a message beside it.
pub(crate) fn items(what: impl Into<Cow<'static, str>>, total: usize) -> ProgressBar {
    bar(total as u64, "{prefix} [{bar:40}] {pos}/{len}, {eta} left {msg}").with_prefix(what)
}

/// A bar over requests, with a message behind it.
pub(crate) fn requests(what: &'static str, total: u64) -> ProgressBar {
    bar(total, "{prefix} [{bar:40}] {pos}/{len} requests, {eta} left {wide_msg}").with_prefix(what)
}
