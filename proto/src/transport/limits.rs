//! What a listener allows its connections.

use std::time::Duration;

/// What a listener allows its connections. Tests make times short; otherwise only `connections` and `age` are changed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. The next one displaces another or is refused.
    pub connections: usize,
    /// From connecting to a whole request over HTTP, or to a whole preface over gRPC. Covers silent peers and slow headers.
    pub first_request: Duration,
    /// From the end of the last request to the next whole one. Bytes of a header that is not whole do not extend it.
    pub idle: Duration,
    /// From connecting to GOAWAY, a tenth more or less, so that those who connected together do not come back together; never if
    /// `None`. The requests that the connection has then may end, however long they take; when only calls without an end are
    /// left, such as `Health/Watch`, it is cut [`first_request`](Self::first_request) after the last other one.
    pub age: Option<Duration>,
    /// How long what is ready to be sent may wait for the client to take some of it. Then the connection is cut; if only one
    /// stream of HTTP/2 waits, its response is given up.
    pub unread: Duration,
    /// How long a request's body may take, and a second more for each [`BODY_BYTES_PER_SECOND`] that have come. On a stream of
    /// messages: each message, once it has begun.
    pub body: Duration,
    /// Bytes of unfinished requests and unsent responses that all connections together may hold. Beyond, the connection that
    /// holds most of them is closed.
    pub held_bytes: usize,
    /// How long responses may take to be sent when the listener stops.
    pub grace: Duration,
    /// How often connections are looked at.
    pub sweep: Duration,
}

/// A body that is slower, after its first seconds, is not one that somebody waits for.
pub(super) const BODY_BYTES_PER_SECOND: u64 = 16 << 10;

/// Streams of one connection at a time. A connection of Envoy carries as many; each unread one costs a window.
pub(super) const STREAMS_PER_CONNECTION: u32 = 256;

/// Bytes of a request's header, all fields together. Node's limit, and twice gRPC's.
pub(super) const HEADER_BYTES: u32 = 16 << 10;

/// What HTTP/1 reads ahead or keeps to be written, in bytes; at least [`HEADER_BYTES`].
pub(super) const HTTP1_BUFFER_BYTES: usize = 32 << 10;

/// What a stream may have ready to be sent in the connection's own buffers, in bytes.
pub(super) const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Most bytes of a response that HTTP gets at once: what HTTP/2 sends in a frame. When they are sent, the client has read some.
pub(super) const RESPONSE_PIECE_BYTES: usize = 16 << 10;

/// What the operating system keeps of a connection to be sent, in bytes. By itself it takes megabytes, which hide for minutes that a
/// client does not read. At a round trip of 100 ms a connection still carries 2.5 MB/s.
pub(super) const SOCKET_SEND_BYTES: usize = 256 << 10;

/// Wait before the next try to accept when the process has no descriptors left; doubles up to [`MAX_ACCEPT_DELAY`].
pub(super) const MIN_ACCEPT_DELAY: Duration = Duration::from_millis(50);
/// The longest wait. Also the longest that a client waits after descriptors are free again.
pub(super) const MAX_ACCEPT_DELAY: Duration = Duration::from_secs(1);

/// How long connections that are cut may take to be closed.
pub(super) const CUT_PATIENCE: Duration = Duration::from_millis(250);

/// Trouble that comes back within this time is the same trouble, which the log has already.
pub(super) const EPISODE: Duration = Duration::from_secs(60);

impl Limits {
    const COMMON: Self = Self {
        // Each costs up to 32 KiB before it has said anything: 128 MiB together.
        connections: 4_096,
        // A client sends at once when it is connected; over a bad link it may have to repeat a packet a few times.
        first_request: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        age: None,
        // Longer than a mobile client is without its network between two cells.
        unread: Duration::from_secs(30),
        body: Duration::from_secs(30),
        held_bytes: 128 << 20,
        grace: Duration::from_secs(1),
        // How long at most a client that has gone keeps its slot.
        sweep: Duration::from_millis(250),
    };

    /// Of a gRPC service. Its connections are meant to be kept, and keepalive finds peers that have gone, so the idle time is
    /// minutes; Envoy's is an hour, but Envoy does not face strangers.
    pub const fn grpc() -> Self {
        Self { idle: Duration::from_secs(600), ..Self::COMMON }
    }

    /// Of an HTTP API. nginx's idle time, which load balancers are set up for: theirs must be shorter.
    pub const fn http() -> Self {
        Self::COMMON
    }

    /// Of a page for scrapers and health checks, which are few and ask for little.
    pub const fn metrics() -> Self {
        Self { connections: 128, held_bytes: 16 << 20, ..Self::COMMON }
    }

    /// The same for connections that are replaced at this age, if any is given: so that clients that keep one learn of new servers.
    #[must_use]
    pub const fn aging(self, age: Option<Duration>) -> Self {
        Self { age, ..self }
    }

    /// The same with fewer connections, if so many would be too many.
    #[must_use]
    pub const fn within(self, connections: usize) -> Self {
        let connections = if connections < self.connections { connections } else { self.connections };
        Self { connections, ..self }
    }
}
