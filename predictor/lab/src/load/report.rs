//! What a load run measured.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// How a predictor kept up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Step events sent.
    pub events: u64,
    /// Messages they were sent in.
    pub messages: u64,
    /// From the first message sent to the last one acknowledged, in seconds.
    pub seconds: f64,
    /// Events over seconds.
    pub events_per_s: f64,
    /// What was asked for; nothing if as fast as it goes.
    pub wanted_events_per_s: Option<f64>,
    /// From when a message was sent to its estimates, in milliseconds: median, P90, P99, P99.9, maximum. A message that the
    /// predictor held up counts from when it should have been sent (no coordinated omission).
    pub estimate_ms: [f64; 5],
    /// By how much the sender itself was late, woken late by its machine: no part of `estimate_ms`. In milliseconds, as there;
    /// nothing if as fast as it goes.
    pub late_ms: Option<[f64; 5]>,
    /// Whether all of it is in the event log.
    pub logged: bool,
}

impl LoadReport {
    /// Of a run that ended well.
    pub fn new(
        [events, messages]: [u64; 2],
        took: Duration,
        wanted_events_per_s: Option<f64>,
        latencies: Vec<Duration>,
        late: Vec<Duration>,
        logged: bool,
    ) -> Self {
        let seconds = took.as_secs_f64();
        Self {
            events,
            messages,
            seconds,
            events_per_s: events as f64 / seconds,
            wanted_events_per_s,
            estimate_ms: percentiles(latencies),
            late_ms: wanted_events_per_s.map(|_| percentiles(late)),
            logged,
        }
    }
}

/// Median, P90, P99, P99.9 and maximum, in milliseconds.
fn percentiles(mut durations: Vec<Duration>) -> [f64; 5] {
    durations.sort_unstable();
    let last = durations.len().saturating_sub(1) as f64;
    [0.5, 0.9, 0.99, 0.999, 1.0]
        .map(|share| durations.get((share * last).ceil() as usize).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3))
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |[p50, p90, p99, p999, most]: [f64; 5]| {
            format!("P50 {p50:.2} ms, P90 {p90:.2}, P99 {p99:.2}, P99.9 {p999:.2}, maximum {most:.2}")
        };
        let wanted =
            self.wanted_events_per_s.map_or("as fast as it goes".to_owned(), |rate| format!("of {rate:.0} wanted"));
        writeln!(f, "events              {} in {} messages, {:.1} s", self.events, self.messages, self.seconds)?;
        writeln!(f, "events/s            {:.0} ({wanted})", self.events_per_s)?;
        writeln!(f, "event to estimate   {}", shown(self.estimate_ms))?;
        if let Some(late) = self.late_ms {
            writeln!(f, "sent late           {}, not counted above", shown(late))?;
        }
        write!(f, "in the event log    {}", if self.logged { "all" } else { "not all: logging is off or has failed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_messages() {
        let latencies = (1..=1000).rev().map(Duration::from_millis).collect();
        let report = LoadReport::new([2000, 1000], Duration::from_secs(4), None, latencies, vec![], true);
        assert_eq!(report.estimate_ms.map(f64::round), [501.0, 901.0, 991.0, 1000.0, 1000.0]);
        assert_eq!(report.events_per_s, 500.0);
    }
}
