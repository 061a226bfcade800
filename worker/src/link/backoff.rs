//! [`Backoff`]: how long to wait before the next attempt to reach the predictor.

use std::time::Duration;

const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(2);
/// Two processes with one worker id take the stream from each other. Each time both wait longer.
const MAX_CONFLICT_DELAY: Duration = Duration::from_secs(30);
/// A stream that stood so long is a success, whatever became of it.
const LONG: Duration = Duration::from_secs(60);

/// How a stream, or the attempt to open one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The predictor acknowledged something.
    Acknowledged,
    /// It acknowledged nothing, or was not reached.
    Useless,
    /// Somebody else speaks for this worker.
    Conflict,
}

/// Delays that double until a stream is of use. That a connection opens says little: the predictor may refuse whatever is sent.
#[derive(Debug)]
pub(super) struct Backoff {
    delay: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { delay: MIN_DELAY }
    }

    /// The delay after a stream that stood for `lasted`.
    pub(super) fn after(&mut self, end: StreamEnd, lasted: Duration) -> Duration {
        if end == StreamEnd::Acknowledged || lasted >= LONG {
            self.delay = MIN_DELAY;
        }
        let most = if end == StreamEnd::Conflict { MAX_CONFLICT_DELAY } else { MAX_DELAY };
        let delay = self.delay.min(most);
        self.delay = (delay * 2).min(most);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    fn delays(backoff: &mut Backoff, end: StreamEnd, times: usize) -> Vec<u128> {
        (0..times).map(|_| backoff.after(end, SHORT).as_millis()).collect()
    }

    #[test]
    fn delays_double_until_the_predictor_acknowledges_something() {
        let mut backoff = Backoff::new();
        assert_eq!(delays(&mut backoff, StreamEnd::Useless, 7), [50, 100, 200, 400, 800, 1600, 2000]);
        assert_eq!(delays(&mut backoff, StreamEnd::Acknowledged, 2), [50, 50]);
    }

    #[test]
    fn processes_that_take_the_stream_from_each_other_wait_ever_longer() {
        let mut backoff = Backoff::new();
        assert_eq!(delays(&mut backoff, StreamEnd::Conflict, 11)[8..], [12_800, 25_600, 30_000]);
        assert_eq!(backoff.after(StreamEnd::Conflict, LONG), MIN_DELAY);
    }
}
