//! What a load run takes of the machine: the [generator's](ThreadTime) threads, and the [predictor](PredictorPage).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::Serialize;

/// How long the predictor's page may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes that are read of it.
const MOST_BYTES: u64 = 4 << 20;

/// What the calling thread has used of the processors since it began.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThreadTime {
    at: Instant,
    running: Duration,
    waiting: Duration,
}

/// Shares of a time that one thread ran, and waited for a processor; the rest it slept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ThreadShare {
    /// It ran.
    pub running: f64,
    /// It was ready to run, but other threads had the processors.
    pub waiting: f64,
}

impl ThreadTime {
    /// `None` where the system does not tell.
    pub(super) fn now() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        let mut nanos = text.split_whitespace().map(|number| number.parse().map(Duration::from_nanos));
        let (running, waiting) = (nanos.next()?.ok()?, nanos.next()?.ok()?);
        Some(Self { at: Instant::now(), running, waiting })
    }

    /// What the calling thread, the same as then, has used since.
    pub(super) fn since(self) -> Option<ThreadShare> {
        let now = Self::now()?;
        let took = (now.at - self.at).as_secs_f64().max(f64::MIN_POSITIVE);
        Some(ThreadShare {
            running: now.running.saturating_sub(self.running).as_secs_f64() / took,
            waiting: now.waiting.saturating_sub(self.waiting).as_secs_f64() / took,
        })
    }
}

impl ThreadShare {
    /// Nearly always ready to run: more load would have to wait for this thread.
    pub(super) fn never_rests(self) -> bool {
        self.running + self.waiting >= 0.95
    }
}

/// What a predictor's metrics page says of the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PredictorPage {
    cpu_seconds: f64,
    resident_bytes: f64,
    log_bytes: f64,
}

/// What a predictor used of its machine during a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PredictorUse {
    /// Time of processors, in seconds.
    pub cpu_seconds: f64,
    /// The same for one step event, in microseconds.
    pub cpu_us_per_event: f64,
    /// Bytes written to the event log for one step event, arrivals and outcomes included.
    pub log_bytes_per_event: f64,
    /// Memory after the run, in bytes.
    pub resident_bytes: f64,
}

impl PredictorPage {
    /// Reads the page at `url`, e.g. `http://127.0.0.1:9464`.
    ///
    /// # Errors
    /// When nobody answers there, or not with a predictor's metrics.
    pub fn read(url: &str) -> anyhow::Result<Self> {
        let authority = url.strip_prefix("http://").unwrap_or(url);
        let text = fetch(authority).with_context(|| {
            format!("{url}/metrics cannot be read; give the address that the predictor's log names")
        })?;
        Self::parse(&text).with_context(|| format!("{url}/metrics is not the page of a predictor"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value = |name: &str| -> anyhow::Result<f64> {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.with_context(|| format!("{name} is missing"))?.parse().with_context(|| format!("{name} is no number"))
        };
        Ok(Self {
            cpu_seconds: value("process_cpu_seconds_total")?,
            resident_bytes: value("process_resident_memory_bytes")?,
            log_bytes: value("eoscast_predictor_log_bytes_total")?,
        })
    }

    /// What was used from `before` to this one, for so many step events.
    pub fn since(self, before: Self, events: u64) -> PredictorUse {
        let cpu_seconds = self.cpu_seconds - before.cpu_seconds;
        let events = events.max(1) as f64;
        PredictorUse {
            cpu_seconds,
            cpu_us_per_event: cpu_seconds * 1e6 / events,
            log_bytes_per_event: (self.log_bytes - before.log_bytes) / events,
            resident_bytes: self.resident_bytes,
        }
    }
}

fn fetch(authority: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {authority}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "the answer is {status:?}");
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_runs_and_one_that_sleeps_does_not() {
        let Some(before) = ThreadTime::now() else { return };
        std::thread::sleep(Duration::from_millis(50));
        let slept = before.since().unwrap();
        assert!(slept.running < 0.5 && !slept.never_rests(), "{slept:?}");
        let (before, began) = (ThreadTime::now().unwrap(), Instant::now());
        while began.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let computed = before.since().unwrap();
        assert!(computed.running + computed.waiting > 0.5, "{computed:?}");
    }

    #[test]
    fn a_page_gives_what_a_run_took() {
        let page = |cpu, log| {
            format!(
                "# TYPE process_cpu_seconds counter\nprocess_cpu_seconds_total {cpu}\n\
                 process_resident_memory_bytes 24000000\neoscast_predictor_log_bytes_total {log}\n"
            )
        };
        let parsed = |cpu, log| PredictorPage::parse(&page(cpu, log)).unwrap();
        let used = parsed(3.5, 9_000).since(parsed(1.5, 1_000), 1_000);
        assert_eq!((used.cpu_seconds, used.cpu_us_per_event, used.log_bytes_per_event), (2.0, 2_000.0, 8.0));
        assert_eq!(used.resident_bytes, 24e6);
        let other = PredictorPage::parse("process_cpu_seconds_total 1\n").unwrap_err();
        assert!(other.to_string().contains("process_resident_memory_bytes is missing"), "{other}");
    }
}
