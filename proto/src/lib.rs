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
//! - [`xds`]: generated from `xds/*/orca/v3/*.proto`, by which balancers read a worker's load; named only there, too

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

/// Generated: ORCA, with the nesting of its packages, by which the one finds the other.
pub mod xds {
    #[allow(missing_docs, reason = "generated")]
    pub mod data {
        pub mod orca {
            #[allow(unreachable_pub, clippy::all, reason = "generated")]
            pub mod v3 {
                tonic::include_proto!("xds.data.orca.v3");
            }
        }
    }

    #[allow(missing_docs, reason = "generated")]
    pub mod service {
        pub mod orca {
            #[allow(unreachable_pub, clippy::all, reason = "generated")]
            pub mod v3 {
                tonic::include_proto!("xds.service.orca.v3");
            }
        }
    }
}

/// All services as an encoded `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/eoscast.bin"));
