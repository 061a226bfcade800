//! The messages of a step stream as a load generator needs them. They are `StreamStepsRequest` and `StreamStepsResponse` on the wire,
//! but entries stay bytes: they are encoded once, when the log is read, and estimates are counted without being decoded. So the
//! generator leaves most of a shared machine to the predictor.

use prost::Message;
use prost::bytes::{BufMut, Bytes, BytesMut};

/// Field number of `request_id` in `RequestStarted`, `StepEvent` and `RequestEnded`.
const REQUEST_ID: u32 = 1;

/// `StreamStepsRequest`, without the load of the engine.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Steps {
    #[prost(string, tag = "1")]
    pub(super) worker_id: String,
    #[prost(uint64, tag = "2")]
    pub(super) epoch: u64,
    #[prost(uint64, tag = "3")]
    pub(super) sequence_number: u64,
    #[prost(message, optional, tag = "4")]
    pub(super) timestamp: Option<prost_types::Timestamp>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(super) started: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) events: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(super) ended: Vec<Bytes>,
}

/// `StreamStepsResponse`, without the prior.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(super) acknowledged_sequence_number: u64,
    #[prost(bool, tag = "2")]
    pub(super) logged: bool,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(super) estimates: Vec<Bytes>,
}

/// An entry of a message, encoded without its request id.
#[derive(Debug, Clone)]
pub(super) struct Entry(Bytes);

impl Entry {
    /// `message` has an empty request id.
    pub(super) fn new(message: &impl Message) -> Self {
        Self(message.encode_to_vec().into())
    }

    /// The whole entry, of the request `id`; `buffer` is where it is written.
    pub(super) fn of(&self, id: &String, buffer: &mut BytesMut) -> Bytes {
        buffer.reserve(prost::encoding::string::encoded_len(REQUEST_ID, id) + self.0.len());
        prost::encoding::string::encode(REQUEST_ID, id, buffer);
        buffer.put_slice(&self.0);
        buffer.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use eoscast_proto::predictor::v1 as pb;

    use super::*;

    #[test]
    fn an_entry_gets_its_id_back() {
        let event = pb::StepEvent { request_id: "r~7".into(), step: 3, sketch: vec![0.5; 64], ..Default::default() };
        let entry = Entry::new(&pb::StepEvent { request_id: String::new(), ..event.clone() });
        let mut buffer = BytesMut::new();
        for id in ["r~7", "r~7"] {
            assert_eq!(pb::StepEvent::decode(entry.of(&id.to_owned(), &mut buffer)).unwrap(), event);
        }
    }
}
