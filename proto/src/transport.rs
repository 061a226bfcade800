//! Connection settings that both ends must share.
//!
//! h2 (0.4.16 and later) charges each unread DATA frame below 256 bytes, by what it lacks to them, to a per-connection budget of
//! half the window and closes the connection when it is spent. Step events are that small, so a reader that stalls would lose its
//! stream. Windows of 64 MiB on both ends and a bound on the messages on their way keep the budget from being reached; adaptive
//! windows would override them.

use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

/// Flow-control window of a connection and of each of its streams, in bytes.
pub const WINDOW_BYTES: u32 = 64 << 20;

/// Most messages of a step stream that are not acknowledged (the contract says so too).
pub const MOST_UNACKNOWLEDGED: usize = 65_536;
// If all of them lie unread, half of h2's budget is spent.
const _: () = assert!(MOST_UNACKNOWLEDGED * 256 <= WINDOW_BYTES as usize / 4);

/// Largest message that either service accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A server builder with the shared settings.
#[expect(clippy::disallowed_methods, reason = "this is the function to use instead")]
pub fn server() -> Server {
    Server::builder()
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// Connections to `listener` for [`server`]: what is written is sent at once. Else a message in two writes, or a token while the one
/// before is not confirmed, would wait for the other side to send something (Nagle, RFC 896). The server's own setting does not
/// reach listeners that it is given.
pub fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// An endpoint with the shared settings; connect it lazily or at once.
///
/// # Errors
/// When `uri` is not a URI such as `http://127.0.0.1:50052`.
#[expect(clippy::disallowed_methods, reason = "this is the function to use instead")]
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_server_sends_what_it_writes_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(incoming(listener).next().await.unwrap().unwrap().nodelay().unwrap());
    }
}
