//! What a load run measured.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::usage::{PredictorUse, ThreadShare};

/// Times are kept exact to so many digits.
const DIGITS: u8 = 3;
/// Longer times count as this one, in microseconds: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Times, of which percentiles are asked; of a fixed size, however many there are.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)?))
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_MICROS));
    }

    /// Median, P90, P99, P99.9 and maximum, in milliseconds.
    pub(super) fn millis(&self) -> [f64; 5] {
        [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| self.0.value_at_quantile(share) as f64 / 1e3)
    }
}

/// How a predictor kept up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// Workers, each with a stream of its own.
    pub streams: usize,
    /// Step events sent.
    pub events: u64,
    /// Messages they were sent in, all acknowledged.
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
    /// By how much the generator itself was late, since its machine woke it late or it was too slow: no part of `estimate_ms`. In
    /// milliseconds, as there; nothing if as fast as it goes.
    pub late_ms: Option<[f64; 5]>,
    /// Whether all of it is in the event log.
    pub logged: bool,
    /// The generator's thread that makes and paces messages; nothing where the system does not tell.
    pub sending: Option<ThreadShare>,
    /// The generator's thread of all connections.
    pub connections: Option<ThreadShare>,
    /// What the predictor used, if it was asked.
    pub predictor: Option<PredictorUse>,
}

impl LoadReport {
    /// A thread of the generator never rested: the predictor could take more than this.
    pub fn is_generator_the_limit(&self) -> bool {
        [self.sending, self.connections].into_iter().flatten().any(ThreadShare::never_rests)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |[p50, p90, p99, p999, most]: [f64; 5]| {
            format!("P50 {p50:.2} ms, P90 {p90:.2}, P99 {p99:.2}, P99.9 {p999:.2}, maximum {most:.2}")
        };
        let wanted =
            self.wanted_events_per_s.map_or("as fast as it goes".to_owned(), |rate| format!("of {rate:.0} wanted"));
        let streams = if self.streams == 1 { "1 stream".to_owned() } else { format!("{} streams", self.streams) };
        writeln!(
            f,
            "events              {} in {} messages, {streams}, {:.1} s",
            self.events, self.messages, self.seconds
        )?;
        writeln!(f, "events/s            {:.0} ({wanted})", self.events_per_s)?;
        writeln!(f, "event to estimate   {}", shown(self.estimate_ms))?;
        if let Some(late) = self.late_ms {
            writeln!(f, "sent late           {}, not counted above", shown(late))?;
        }
        if let (Some(sending), Some(connections)) = (self.sending, self.connections) {
            let share = |ThreadShare { running, waiting }: ThreadShare| {
                format!("{:.0} % of a core ({:.0} % waiting for one)", running * 100.0, waiting * 100.0)
            };
            writeln!(f, "generator           sending {}, connections {}", share(sending), share(connections))?;
        }
        if let Some(PredictorUse { cpu_seconds, cpu_us_per_event, log_bytes_per_event, resident_bytes }) =
            self.predictor
        {
            writeln!(
                f,
                "predictor           {cpu_seconds:.2} s of CPU, {cpu_us_per_event:.2} us an event; {:.0} MB; \
                 {log_bytes_per_event:.0} bytes of log an event",
                resident_bytes / 1e6
            )?;
        }
        if self.is_generator_the_limit() {
            writeln!(
                f,
                "limit               the generator never rested: it, or the cores it shares, may be the limit, not the predictor"
            )?;
        }
        write!(f, "in the event log    {}", if self.logged { "all" } else { "not all: logging is off or has failed" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport {
            streams: 2,
            events: 2_000,
            messages: 1_000,
            seconds: 4.0,
            events_per_s: 500.0,
            wanted_events_per_s: Some(500.0),
            estimate_ms: [1.0; 5],
            late_ms: Some([0.0; 5]),
            logged: true,
            sending: Some(ThreadShare { running: 0.5, waiting: 0.1 }),
            connections: Some(ThreadShare { running: 0.7, waiting: 0.1 }),
            predictor: None,
        }
    }

    #[test]
    fn percentiles_are_those_of_all_messages() {
        let mut latencies = Latencies::new().unwrap();
        (1..=1_000).rev().for_each(|ms| latencies.record(Duration::from_millis(ms)));
        assert_eq!(latencies.millis().map(f64::round), [500.0, 900.0, 990.0, 999.0, 1_000.0]);
    }

    #[test]
    fn times_beyond_an_hour_are_kept_as_an_hour() {
        let mut latencies = Latencies::new().unwrap();
        latencies.record(Duration::from_secs(2 * 3_600));
        assert!((latencies.millis()[0] - 3.6e6).abs() < 3.6e4);
    }

    #[test]
    fn a_generator_that_never_rests_says_so() {
        assert!(!report().to_string().contains("limit"), "{}", report());
        let busy = ThreadShare { running: 0.6, waiting: 0.38 };
        let limited = LoadReport { connections: Some(busy), ..report() };
        assert!(limited.to_string().contains("the generator never rested"), "{limited}");
    }
}
