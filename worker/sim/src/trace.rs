//! What is asked of the engine: requests with their true lengths, and when they come.

use std::fmt;

use crate::random::Random;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceRequest {
    /// Its place in the trace, which recorded estimates are found by.
    pub row: usize,
    /// Recorded time of arrival, seconds.
    pub arrival: Option<f64>,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens of the reply, from 1 to `max_tokens`.
    pub output_tokens: u32,
    /// Most tokens the reply may have.
    pub max_tokens: u32,
}

impl TraceRequest {
    /// The request as a server with room for `kv_tokens` can take it: `max_tokens` is lowered to what the prompt leaves.
    /// None if the reply itself has no room.
    pub fn within(self, kv_tokens: u32) -> Option<Self> {
        let room = kv_tokens.saturating_sub(self.prompt_tokens);
        (self.output_tokens <= room).then(|| Self { max_tokens: self.max_tokens.min(room), ..self })
    }
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// As recorded.
    Recorded,
    /// As recorded, faster or slower, so that `rate` requests come in a second on average.
    Scaled {
        /// Requests a second.
        rate: f64,
    },
    /// Independent of each other.
    Poisson {
        /// Requests a second.
        rate: f64,
    },
}

/// A request of the trace has no recorded arrival, or they all come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivalError {
    /// The request in this row has none.
    NotRecorded {
        /// Its place in the trace.
        row: usize,
    },
    /// There is no time between the first and the last request that could be scaled.
    NoSpan,
}

impl fmt::Display for ArrivalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRecorded { row } => {
                write!(f, "request {} of the trace has no arrival: draw arrivals by poisson instead", row + 1)
            }
            Self::NoSpan => f.write_str("all requests arrive at once, so no rate can be had by scaling: use poisson"),
        }
    }
}

impl std::error::Error for ArrivalError {}

/// Requests in the order in which they come.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The requests.
    pub requests: Vec<TraceRequest>,
    /// When each arrives, seconds from the first; not decreasing.
    pub arrivals: Vec<f64>,
}

impl Workload {
    /// `count` requests of a trace. Poisson arrivals bring requests drawn without replacement; recorded ones a stretch
    /// of the trace that begins anywhere. Both depend on the seed alone.
    ///
    /// # Errors
    /// Recorded arrivals are asked for and missing.
    pub fn draw(trace: &[TraceRequest], count: usize, arrivals: Arrivals, seed: u64) -> Result<Self, ArrivalError> {
        let count = count.min(trace.len());
        let mut random = Random::new(seed, 0);
        if let Arrivals::Poisson { rate } = arrivals {
            let mut requests = trace.to_vec();
            random.shuffle(&mut requests);
            requests.truncate(count);
            let mut now = 0.0;
            let mut next = || {
                let arrival = now;
                now += random.exponential() / rate;
                arrival
            };
            let arrivals = requests.iter().map(|_| next()).collect();
            return Ok(Self { requests, arrivals });
        }
        let mut ordered = Vec::with_capacity(trace.len());
        for request in trace {
            let arrival = request.arrival.ok_or(ArrivalError::NotRecorded { row: request.row })?;
            ordered.push((arrival, *request));
        }
        ordered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let start = random.between(0, u32::try_from(trace.len() - count).unwrap_or(u32::MAX)) as usize;
        let stretch = &ordered[start..start + count];
        let first = stretch.first().map_or(0.0, |(at, _)| *at);
        let last = stretch.last().map_or(0.0, |(at, _)| *at);
        let scale = match arrivals {
            Arrivals::Scaled { .. } if last <= first => return Err(ArrivalError::NoSpan),
            Arrivals::Scaled { rate } => (count as f64 - 1.0) / (last - first) / rate,
            _ => 1.0,
        };
        let (arrivals, requests) = stretch.iter().map(|(at, request)| ((at - first) * scale, *request)).unzip();
        Ok(Self { requests, arrivals })
    }

    /// All requests at time 0, in their order: a queue that never runs empty before the end.
    pub fn saturated(requests: Vec<TraceRequest>) -> Self {
        Self { arrivals: vec![0.0; requests.len()], requests }
    }

    /// Requests a second, infinite where they come at once.
    pub fn rate(&self) -> f64 {
        let span = self.arrivals.last().copied().unwrap_or(0.0);
        (self.arrivals.len() as f64 - 1.0).max(0.0) / span
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn trace(count: usize) -> Vec<TraceRequest> {
        let request = |row: usize| TraceRequest {
            row,
            arrival: Some(row as f64 * 0.5),
            prompt_tokens: 1 + row as u32 % 7,
            output_tokens: 1 + row as u32 % 5,
            max_tokens: 8,
        };
        (0..count).map(request).collect()
    }

    #[test]
    fn scaling_keeps_the_pattern_and_sets_the_rate() {
        let mut trace = trace(5);
        trace[4].arrival = Some(10.0);
        let workload = Workload::draw(&trace, 5, Arrivals::Scaled { rate: 4.0 }, 1).unwrap();
        let expected = [0.0, 0.05, 0.1, 0.15, 1.0];
        assert!(workload.arrivals.iter().zip(expected).all(|(at, expected)| (at - expected).abs() < 1e-12));
        assert_eq!(workload.rate(), 4.0);
    }

    #[test]
    fn poisson_draws_each_request_once_at_about_the_rate() {
        let workload = Workload::draw(&trace(3000), 2000, Arrivals::Poisson { rate: 5.0 }, 9).unwrap();
        assert!((workload.rate() / 5.0 - 1.0).abs() < 0.1, "{}", workload.rate());
        assert!(workload.arrivals.is_sorted() && workload.arrivals[0] == 0.0);
        let mut rows: Vec<usize> = workload.requests.iter().map(|request| request.row).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 2000);
    }

    #[test]
    fn recorded_arrivals_are_a_stretch_that_begins_at_zero() {
        let workload = Workload::draw(&trace(100), 10, Arrivals::Recorded, 5).unwrap();
        let start = workload.requests[0].row;
        assert_eq!(workload.requests, trace(100)[start..start + 10]);
        assert_eq!(workload.arrivals[..3], [0.0, 0.5, 1.0]);
    }

    #[test]
    fn a_missing_arrival_is_named() {
        let mut trace = trace(3);
        trace[1].arrival = None;
        let error = Workload::draw(&trace, 3, Arrivals::Recorded, 0).unwrap_err();
        assert!(error.to_string().contains("request 2 of the trace has no arrival"), "{error}");
        assert!(Workload::draw(&trace, 3, Arrivals::Poisson { rate: 1.0 }, 0).is_ok());
    }

    #[test]
    fn what_does_not_fit_the_budget_is_clamped_or_refused() {
        let request = TraceRequest { row: 0, arrival: None, prompt_tokens: 50, output_tokens: 20, max_tokens: 100 };
        assert_eq!(request.within(90).unwrap().max_tokens, 40);
        assert_eq!(request.within(69), None);
    }
}
