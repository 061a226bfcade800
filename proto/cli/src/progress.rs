//! Progress of long work on stderr: a bar on a terminal, and elsewhere a line every [`LINE_EVERY`].

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(30);

/// How far a piece of work is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// When the last line was written, or the work began.
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Over bytes that are read.
    pub fn bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, total, "{prefix} [{bar:40}] {bytes}/{total_bytes}, {eta} left")
    }

    /// Over the items of a list; a message stands behind the bar.
    pub fn items(what: impl Into<Cow<'static, str>>, total: usize) -> Self {
        Self::new(what, total as u64, "{prefix} [{bar:40}] {pos}/{len}, {eta} left {wide_msg}")
    }

    /// Over requests; a message stands behind the bar.
    pub fn requests(what: &'static str, total: u64) -> Self {
        Self::new(what, total, "{prefix} [{bar:40}] {pos}/{len} requests, {eta} left {wide_msg}")
    }

    /// Over a number of `units` that is not known.
    pub fn uncounted(what: &'static str, units: &str) -> Self {
        Self::new(
            what,
            0,
            &format!("{{prefix}} {{spinner}} {{human_pos}} {units}, {{per_sec}}, {{elapsed}} {{wide_msg}}"),
        )
    }

    fn new(what: impl Into<Cow<'static, str>>, total: u64, template: &str) -> Self {
        // A template that does not parse costs only the looks.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(what);
        Self { bar, last_line: Mutex::new(Instant::now()) }
    }

    /// Says how much there is to do.
    pub fn set_total(&self, total: u64) {
        self.bar.set_length(total);
    }

    /// So much more is done.
    pub fn add(&self, done: u64) {
        self.bar.inc(done);
        self.write_line();
    }

    /// So much is done in all.
    pub fn set_done(&self, done: u64) {
        self.bar.set_position(done);
        self.write_line();
    }

    /// What to show behind the bar.
    pub fn set_message(&self, message: impl Into<Cow<'static, str>>) {
        self.bar.set_message(message);
    }

    /// Runs what writes to the terminal, without the bar in its way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// In place of the bar, where there is none.
    fn write_line(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            eprintln!("{}", self.line());
        }
    }

    fn line(&self) -> String {
        let (what, done, message) = (self.bar.prefix(), self.bar.position(), self.bar.message());
        let mut line = format!("{what}: {done}");
        if let Some(total) = self.bar.length().filter(|total| *total > 0) {
            let rest = self.bar.elapsed().mul_f64(total.saturating_sub(done) as f64 / done.max(1) as f64);
            line += &format!(" of {total}, {} left", HumanDuration(rest));
        }
        if message.is_empty() { line } else { format!("{line}, {message}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_bar_would_show() {
        let progress = Progress::requests("collecting", 40);
        progress.set_message("7 tokens/s");
        progress.add(10);
        let line = progress.line();
        assert!(line.starts_with("collecting: 10 of 40, ") && line.ends_with("left, 7 tokens/s"), "{line}");
        let events = Progress::uncounted("playing", "events");
        events.set_done(3);
        assert_eq!(events.line(), "playing: 3");
    }
}
