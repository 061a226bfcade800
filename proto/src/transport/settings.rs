//! Windows, message sizes and keepalive, which both ends must share.
//!
//! h2 (0.4.16 and later) charges each unread DATA frame below 256 bytes, by what it lacks to them, to a per-connection budget of
//! half the connection's window, and closes the connection when it is spent. Step events and estimates are that small. Each side has
//! its own answer:
//! - A server gives little. A stream's window is a sixteenth of the connection's, so a client that sends frames of [`SMALLEST_FRAME`]
//!   bytes or more has to wait for the window before it can spend the budget, however long nothing is read.
//! - A client trusts the server that it chose: windows of 64 MiB, whose budget no predictor reaches with what it may have
//!   on its way. Adaptive windows would override them.

use std::time::Duration;

use tonic::transport::Endpoint;

/// Flow-control window of a client's connection and of each of its streams, in bytes.
pub const WINDOW_BYTES: u32 = 64 << 20;

/// What a server lets one stream have unread, in bytes. It holds the eight steps of 64 requests that a worker sends together;
/// at a round trip of 1 ms a stream carries 128 MB/s.
pub(super) const SERVER_STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// What a server lets the streams of one connection have unread together, in bytes.
pub(super) const SERVER_CONNECTION_WINDOW_BYTES: u32 = 2 << 20;

/// DATA frames of a step stream are no smaller, in bytes: a frame holds a message of its run, number and time at least.
const SMALLEST_FRAME: u32 = 32;
/// h2 charges an unread frame the difference between this size and its own.
const UNCHARGED_FRAME: u32 = 256;
// A stream full of the smallest frames, none of them read, stays within h2's budget.
const _: () = assert!(
    SERVER_STREAM_WINDOW_BYTES / SMALLEST_FRAME * (UNCHARGED_FRAME - SMALLEST_FRAME)
        <= SERVER_CONNECTION_WINDOW_BYTES / 2
);

/// Most messages of a step stream that are not acknowledged (the contract says so too).
pub const MOST_UNACKNOWLEDGED: usize = 65_536;
// If the answers to all of them lie unread at the worker, half of h2's budget there is spent.
const _: () = assert!(MOST_UNACKNOWLEDGED * UNCHARGED_FRAME as usize <= WINDOW_BYTES as usize / 4);

/// Largest message that either service accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// How often a silent connection is asked whether its peer is there.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
