//! Encoding of texts, a few at a time: it takes memory and cores in proportion to the text, and decoding needs the cores.

use std::num::NonZero;
use std::thread::available_parallelism;

use eoscast_proto::status::ServiceError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::bounds::{ClientKey, FairSlots, RETRY_AFTER};

/// Requests up to this length do not wait for longer ones, which may take hundreds of times as long.
const SHORT_BYTES: usize = 64 * 1024;

/// Most short requests, and most long ones, that wait to be encoded.
const PLACES: usize = 256;

/// Most short requests that are encoded at a time, on as many cores.
const MOST_SHORT: usize = 2;

/// Runs encodings.
#[derive(Clone)]
pub(crate) struct Encoders {
    short: FairSlots,
    long: FairSlots,
    refused: Counter,
}

impl Encoders {
    /// Shows how many wait, and counts who was refused.
    pub(crate) fn new(waiting: &Gauge, refused: Counter) -> Self {
        let slots = available_parallelism().map_or(1, NonZero::get).min(MOST_SHORT);
        Self {
            short: FairSlots::new(slots, PLACES, waiting.clone()),
            long: FairSlots::new(1, PLACES, waiting.clone()),
            refused,
        }
    }

    /// Does `work` for a request of `client`, of so many bytes, when its turn comes. When the result is dropped before, the work is not
    /// begun, or its token is cancelled.
    ///
    /// # Errors
    /// `ResourceExhausted` if too many wait; those of `work`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: ClientKey,
        bytes: usize,
        work: impl FnOnce(&CancellationToken) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let slots = if bytes <= SHORT_BYTES { &self.short } else { &self.long };
        let Some(slot) = slots.acquire(client).await else {
            self.refused.inc();
            let message = format!("{PLACES} requests wait to be tokenised: try again later");
            return Err(ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER });
        };
        let cancelled = CancellationToken::new();
        let _cancels = cancelled.clone().drop_guard();
        let done = tokio::task::spawn_blocking(move || {
            // Until the work has really ended, whoever waits for it.
            let _slot = slot;
            work(&cancelled)
        });
        done.await.map_err(|error| ServiceError::Internal(format!("tokenising failed: {error}")))?
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn encoders() -> (Encoders, Gauge, Counter) {
        let (waiting, refused) = (Gauge::default(), Counter::default());
        (Encoders::new(&waiting, refused.clone()), waiting, refused)
    }

    /// Works until it is cancelled.
    async fn endless(encoders: Encoders) -> Result<(), ServiceError> {
        let work = |cancelled: &CancellationToken| {
            while !cancelled.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        encoders.run(ClientKey::default(), SHORT_BYTES + 1, work).await
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_its_work_and_the_next_one_begins() {
        let (encoders, ..) = encoders();
        let left = tokio::time::timeout(Duration::from_millis(20), endless(encoders.clone())).await;
        assert!(left.is_err());
        encoders.run(ClientKey::default(), SHORT_BYTES + 1, |_| Ok(())).await.unwrap();
    }

    #[tokio::test]
    async fn short_requests_do_not_wait_for_long_ones() {
        let (encoders, ..) = encoders();
        let long = tokio::spawn(endless(encoders.clone()));
        encoders.run(ClientKey::default(), 100, |_| Ok(())).await.unwrap();
        long.abort();
    }

    #[tokio::test]
    async fn further_ones_wait_up_to_a_limit_beyond_which_they_are_refused_and_counted() {
        let (encoders, waiting, refused) = encoders();
        let waiters: Vec<_> = (0..=PLACES).map(|_| tokio::spawn(endless(encoders.clone()))).collect();
        while waiting.get() < PLACES as i64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let error = endless(encoders).await.unwrap_err();
        assert!(matches!(error, ServiceError::ResourceExhausted { .. }), "{error}");
        assert_eq!(refused.get(), 1);
        waiters.iter().for_each(tokio::task::JoinHandle::abort);
        for waiter in waiters {
            let _ = waiter.await;
        }
        assert_eq!(waiting.get(), 0);
    }
}
