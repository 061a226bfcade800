//! The contract between clients, workers and the predictor.
//!
//! # Layout
//! - [`domain`]: the plain types that both services compute with; nothing generated
//! - [`convert`]: the only conversions between generated messages and [`domain`]
//! - [`hash`](mod@hash): names to numbers, the same everywhere
//! - [`status`]: [`FieldViolation`](status::FieldViolation), [`ServiceError`](status::ServiceError) and their gRPC status
//! - [`transport`]: connections: what both ends share, and how both services serve them; [`deadline`]: `grpc-timeout`; [`codec`]: messages that
//!   cannot be read; [`reflection`]: what a server serves
//! - [`worker`], [`predictor`]: generated from `eoscast/*/v1/*.proto`; named only where a service meets the wire

#![warn(missing_docs)]

pub mod codec;
pub mod convert;
pub mod deadline;
pub mod domain;
pub mod hash;
pub mod reflection;
pub mod status;
pub mod transport;

/// Generated: `eoscast.worker.v1`.
pub mod worker {
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("eoscast.worker.v1");
    }
}

/// Generated: `eoscast.predictor.v1`.
pub mod predictor {
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("eoscast.predictor.v1");
    }
}

/// Both services as an encoded `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/eoscast.bin"));
