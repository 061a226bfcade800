//! Connections: what both ends share, and how both services serve them.
//!
//! One accept loop serves gRPC and HTTP of both services, so that there is one place for caps, timeouts and, later, TLS.
//!
//! # Layout
//! - `settings`: windows and message sizes, and the endpoint of a client
//! - [`Limits`]: what a listener allows its connections, each number with its reason; `descriptors`: how many there may be
//! - [`Listener`]: the accept loop; `serving`: one connection from its first byte to its end
//! - [`Client`]: who counts as one; `admission`: who gets in when a listener is full; `registry`: who is connected
//! - `connection`: what is known of one connection; `socket`: its bytes; `request_body`, `response_body`: its requests
//! - `responses`: responses of a connection, what is unsent of each, and how those that are not read are given up
//! - `sweep`: ends connections and responses that wait too long
//! - [`Counts`]: what metrics show

mod admission;
mod client;
mod connection;
mod counts;
mod descriptors;
mod limits;
mod listener;
mod registry;
mod request_body;
mod response_body;
mod responses;
mod serving;
mod settings;
mod socket;
mod sweep;

pub use client::Client;
pub use counts::{Counts, Ending};
pub use descriptors::connections_within_descriptors;
pub use limits::Limits;
pub use listener::Listener;
pub use request_body::RequestBody;
pub use response_body::ResponseBody;
pub use serving::Peer;
pub use settings::{MAX_MESSAGE_BYTES, MOST_UNACKNOWLEDGED, WINDOW_BYTES, endpoint};
