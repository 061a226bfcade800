//! Connection settings that both ends must share.
//!
//! h2 (0.4.16 and later) charges each unread DATA frame below 256 bytes to a per-connection budget and closes the connection
//! when it is spent. Step events are that small, so a reader that stalls would lose its stream. Windows of 64 MiB on both ends
//! keep the budget from being reached; adaptive windows would override them.

use std::time::Duration;

use tonic::transport::{Endpoint, Server};

/// Flow-control window of a connection and of each of its streams, in bytes.
pub const WINDOW_BYTES: u32 = 64 << 20;

/// Largest message that either service accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A server builder with the shared settings.
pub fn server() -> Server {
    Server::builder()
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
}

/// An endpoint with the shared settings; connect it lazily or at once.
///
/// # Errors
/// When `uri` is not a URI such as `http://127.0.0.1:50052`.
pub fn endpoint(uri: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(uri.to_owned())?
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true))
}
