//! How messages are read and written: by prost, with bytes that are no message as the sender's mistake.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};
use tonic_types::StatusExt;

use crate::status::{FieldViolation, ServiceError};

/// The codec of generated code: writes `T`, reads `U`.
#[derive(Debug, Clone)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(ProstDecoder::default())
    }
}

/// Reads messages. Where tonic says INTERNAL of bytes that are none, this says INVALID_ARGUMENT: nothing here has failed.
#[derive(Debug, Clone)]
pub struct MessageDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(buffer).map_err(|status| {
            let text = status.message();
            let reason = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(text);
            ServiceError::from(FieldViolation::new("message", format!("is not valid protobuf: {reason}"))).into()
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// The sender's mistake, if `status` is what [`MessageDecoder`] says of bytes that are no message.
pub fn mistake(status: &Status) -> Option<ServiceError> {
    let violation = status.get_details_bad_request()?.field_violations.into_iter().next()?;
    Some(FieldViolation::new(violation.field, violation.description).into())
}
