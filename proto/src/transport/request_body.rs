//! The body of a request, which has to arrive in time and counts while it is not whole.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::codegen::Bytes;

use super::connection::Connection;
use super::limits::BODY_BYTES_PER_SECOND;

/// Methods whose clients send many messages, with any time between them.
pub(super) const CLIENT_STREAMS: [&str; 3] = [
    "/eoscast.predictor.v1.PredictorService/StreamSteps",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Further methods whose calls end only when their clients close them.
const ENDLESS: [&str; 3] = [
    "/eoscast.predictor.v1.PredictorService/WatchRequests",
    "/grpc.health.v1.Health/Watch",
    "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
];

/// Whether calls of the method at `path` end only when their clients close them.
pub(super) fn is_endless(path: &str) -> bool {
    CLIENT_STREAMS.contains(&path) || ENDLESS.contains(&path)
}

/// What has to arrive within [`Limits::body`](super::Limits::body).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// All of an HTTP body.
    Body,
    /// All of the body of a gRPC call with one message.
    Message,
    /// Each message of a stream, from its first byte.
    Messages(Messages),
}

impl Arrival {
    pub(super) fn of_grpc(path: &str) -> Self {
        if CLIENT_STREAMS.contains(&path) { Self::Messages(Messages::default()) } else { Self::Message }
    }
}

/// The body of a request. If one over HTTP arrives too slowly, its error is an [`io::Error`] of [`io::ErrorKind::TimedOut`].
pub struct RequestBody {
    incoming: Incoming,
    connection: Arc<Connection>,
    arrival: Arrival,
    /// Of the body, or of the message that is not whole.
    began: Instant,
    received: usize,
    /// Made when something is missing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, connection: Arc<Connection>, arrival: Arrival) -> Self {
        Self { incoming, connection, arrival, began: Instant::now(), received: 0, timer: None }
    }

    fn on_data(&mut self, data: &[u8]) {
        self.timer = None;
        let missed = self.received;
        match &mut self.arrival {
            Arrival::Body | Arrival::Message => self.received += data.len(),
            Arrival::Messages(messages) => {
                let (received, is_new) = messages.read(data);
                if is_new {
                    self.began = Instant::now();
                }
                self.received = received;
            }
        }
        if self.received >= missed {
            self.connection.hold(self.received - missed);
        } else {
            self.connection.release(missed - self.received);
        }
    }

    fn release(&mut self) {
        self.connection.release(std::mem::take(&mut self.received));
    }

    /// Whether what is missing has been missing for too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if matches!(self.arrival, Arrival::Messages(_)) && self.received == 0 {
            return false;
        }
        let allowed = self.connection.limits().body + Duration::from_secs(self.received as u64 / BODY_BYTES_PER_SECOND);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.began + allowed)));
        timer.as_mut().poll(cx).is_ready()
    }

    fn lateness(&self) -> Box<dyn Error + Send + Sync> {
        match self.arrival {
            Arrival::Body => io::Error::new(io::ErrorKind::TimedOut, "it arrived too slowly").into(),
            Arrival::Message | Arrival::Messages(_) => {
                Status::deadline_exceeded("the message arrived too slowly").into()
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.on_data(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => {
                self.release();
                Poll::Ready(ended.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending if self.is_late(cx) => {
                self.connection.counts().slow_bodies.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(Some(Err(self.lateness())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.release();
    }
}

/// Where messages begin and end: one byte of flags, four of length, and the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Messages {
    /// Bytes of the head that have come.
    head: usize,
    length: u32,
    /// Bytes of the message that have come.
    body: u32,
}

const HEAD_BYTES: usize = 5;

impl Messages {
    /// Takes in the next bytes of the stream: how many have come of the message that is not whole, and whether that began
    /// among them.
    fn read(&mut self, mut data: &[u8]) -> (usize, bool) {
        let mut is_new = self.head == 0;
        while let Some((&byte, rest)) = data.split_first() {
            if self.head < HEAD_BYTES {
                // The first shift moves out the flags.
                self.length = self.length << 8 | u32::from(byte);
                self.head += 1;
                data = rest;
            } else {
                let part = usize::min(data.len(), (self.length - self.body) as usize);
                self.body += part as u32;
                data = &data[part..];
            }
            if self.head == HEAD_BYTES && self.body == self.length {
                *self = Self::default();
                is_new = true;
            }
        }
        (self.head + self.body as usize, is_new)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn message(length: u8) -> Vec<u8> {
        [&[1, 0, 0, 0, length][..], &vec![7; length.into()]].concat()
    }

    #[test]
    fn what_is_missing_of_a_message_is_known_however_its_bytes_are_cut() {
        let stream = [message(3), message(0), message(200), message(1)[..4].to_vec()].concat();
        for size in 1..stream.len() {
            let mut messages = Messages::default();
            let last = stream.chunks(size).map(|part| messages.read(part)).last();
            assert_eq!(last.map(|(received, _)| received), Some(4), "in parts of {size}");
        }
    }

    #[test]
    fn a_message_begins_with_its_first_byte() {
        let mut messages = Messages::default();
        assert_eq!(messages.read(&message(9)[..7]), (7, true));
        assert_eq!(messages.read(&[0; 3]), (10, false));
        assert_eq!(messages.read(&[0; 4]), (0, true), "the end of one");
        assert_eq!(messages.read(&[0; 5]), (0, true), "an empty one");
    }

    #[test]
    fn every_method_with_a_stream_of_the_client_is_known() {
        let ours = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
        let reflection =
            [tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET];
        let sets = reflection.map(|bytes| FileDescriptorSet::decode(bytes).unwrap()).into_iter().chain([ours]);
        let mut streams: Vec<String> = Vec::new();
        for file in sets.flat_map(|set| set.file) {
            for service in &file.service {
                let of_client = service.method.iter().filter(|method| method.client_streaming());
                streams.extend(of_client.map(|one| format!("/{}.{}/{}", file.package(), service.name(), one.name())));
            }
        }
        streams.sort();
        assert_eq!(streams, CLIENT_STREAMS);
    }
}
