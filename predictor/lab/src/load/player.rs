//! [`Player`]: a worker whose requests are those of a log.

use std::sync::Arc;

use anyhow::ensure;
use eoscast_proto::domain::{RequestId, WorkerRun};
use prost::bytes::BytesMut;

use super::recording::Recorded;
use super::wire::Steps;

const MICROS_PER_SECOND: i64 = 1_000_000;
/// Entries are encoded into pieces of memory of this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A worker whose requests are those of a log, in turn, again and again.
#[derive(Debug)]
pub struct Player {
    requests: Arc<[Recorded]>,
    run: WorkerRun,
    live: Vec<Live>,
    /// Requests begun so far, and those of the log before the first of them.
    begun: usize,
    sequence_number: u64,
    buffer: BytesMut,
}

#[derive(Debug)]
struct Live {
    request_id: String,
    recorded: usize,
    next: usize,
}

/// A message, and what it leads to.
pub(super) struct Played {
    pub(super) message: Steps,
    /// Estimates that answer it; without any, there is no answer.
    pub(super) estimates: usize,
}

impl Player {
    /// Plays `requests` from number `first` on.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(requests: Arc<[Recorded]>, first: usize, run: WorkerRun) -> anyhow::Result<Self> {
        ensure!(!requests.is_empty(), "there are no requests to play");
        Ok(Self {
            requests,
            run,
            live: vec![],
            begun: first,
            sequence_number: 0,
            buffer: BytesMut::with_capacity(PIECE_BYTES),
        })
    }

    /// Messages so far.
    pub(super) fn messages(&self) -> u64 {
        self.sequence_number
    }

    /// The next message: a step of each of `live` requests; new ones take the places of those that ended. `timestamp_micros` is when
    /// the step ended, in microseconds since 1970.
    ///
    /// # Errors
    /// When a request id of the log is too long to be told apart from its other plays.
    pub(super) fn step(&mut self, live: usize, timestamp_micros: i64) -> anyhow::Result<Played> {
        self.sequence_number += 1;
        let mut message = Steps {
            worker_id: self.run.worker_id.to_string(),
            epoch: self.run.epoch,
            sequence_number: self.sequence_number,
            timestamp: Some(prost_types::Timestamp {
                seconds: timestamp_micros.div_euclid(MICROS_PER_SECOND),
                // In 0..1e9 by the modulus.
                nanos: (timestamp_micros.rem_euclid(MICROS_PER_SECOND) * 1_000) as i32,
            }),
            events: Vec::with_capacity(live),
            ..Steps::default()
        };
        while self.live.len() < live {
            let recorded = self.begun % self.requests.len();
            let request = &self.requests[recorded];
            let request_id = RequestId::try_from(format!("{}~{}", request.id, self.begun))?.into();
            message.started.push(request.started.of(&request_id, &mut self.buffer));
            self.live.push(Live { request_id, recorded, next: 0 });
            self.begun += 1;
        }
        let mut estimates = message.started.len();
        self.live.retain_mut(|live| {
            let request = &self.requests[live.recorded];
            let event = &request.events[live.next];
            live.next += 1;
            let is_last = live.next == request.events.len();
            message.events.push(event.entry.of(&live.request_id, &mut self.buffer));
            estimates += usize::from(!event.ends);
            if is_last && !event.ends {
                message.ended.push(request.ended.of(&live.request_id, &mut self.buffer));
            }
            !is_last
        });
        Ok(Played { message, estimates })
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::{FinishReason, RequestStarted, StepBatch, StepEvent};
    use eoscast_proto::predictor::v1 as pb;
    use prost::Message;

    use super::*;

    /// A reply of two tokens that ends by itself, and one of a single token that is aborted.
    fn requests() -> Arc<[Recorded]> {
        let event = |step, finish_reason| StepEvent { step, finish_reason, ..StepEvent::for_test("any") };
        [
            Recorded::new(
                RequestStarted::for_test("a"),
                vec![event(1, None), event(2, Some(FinishReason::Stop))],
                FinishReason::Stop,
            ),
            Recorded::new(RequestStarted::for_test("b"), vec![event(1, None)], FinishReason::Abort),
        ]
        .into()
    }

    /// The message as a predictor reads it, and the estimates that it is to be answered with.
    fn received(player: &mut Player) -> (StepBatch, usize) {
        let played = player.step(2, 1_700_000_000_250_000).unwrap();
        let message = pb::StreamStepsRequest::decode(played.message.encode_to_vec().as_slice()).unwrap();
        (message.try_into().unwrap(), played.estimates)
    }

    fn ids<T>(entries: &[T], id: fn(&T) -> &RequestId) -> Vec<&str> {
        entries.iter().map(|entry| id(entry).as_str()).collect()
    }

    #[test]
    fn a_predictor_reads_what_a_worker_with_these_requests_would_send() {
        let mut player = Player::new(requests(), 0, WorkerRun::for_test("w")).unwrap();
        let (first, estimates) = received(&mut player);
        assert_eq!((&first.run, first.sequence_number), (&WorkerRun::for_test("w"), 1));
        assert_eq!(first.timestamp_micros, 1_700_000_000_250_000);
        let begun = RequestStarted { request_id: RequestId::for_test("a~0"), ..RequestStarted::for_test("a") };
        assert_eq!(first.started[0], begun);
        assert_eq!(ids(&first.events, |event| &event.request_id), ["a~0", "b~1"]);
        assert_eq!(ids(&first.ended, |ended| &ended.request_id), ["b~1"]);
        assert_eq!((first.ended[0].finish_reason, first.ended[0].output_length), (FinishReason::Abort, 1));
        assert_eq!(estimates, 4, "of two arrivals and two steps");

        let (second, estimates) = received(&mut player);
        assert_eq!(ids(&second.started, |started| &started.request_id), ["a~2"], "in the place of the aborted one");
        let last = StepEvent { step: 2, finish_reason: Some(FinishReason::Stop), ..StepEvent::for_test("a~0") };
        assert_eq!(second.events, [last, StepEvent::for_test("a~2")]);
        assert_eq!((second.ended, estimates), (vec![], 2), "a finished request gets no estimate");
    }

    #[test]
    fn players_begin_where_they_are_told() {
        let mut player = Player::new(requests(), 1, WorkerRun::for_test("w")).unwrap();
        assert_eq!(ids(&received(&mut player).0.started, |started| &started.request_id), ["b~1", "a~2"]);
    }
}
