//! The accept loop.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body::Body;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response};
use tonic::service::Routes;
use tower::{Layer, Service, ServiceExt};

use super::connection::Shared;
use super::counts::{Counts, Ending};
use super::limits::{CUT_PATIENCE, EPISODE, Limits, MAX_ACCEPT_DELAY, MIN_ACCEPT_DELAY, SOCKET_SEND_BYTES};
use super::registry::{Admission, Registry};
use super::request_body::RequestBody;
use super::serving::{Protocol, builder, serve};
use super::sweep;
use crate::deadline::DeadlineLayer;

/// A socket that listens, and what its connections may do.
pub struct Listener {
    tcp: TcpListener,
    shared: Arc<Shared>,
}

impl Listener {
    /// Takes over a bound socket.
    pub fn new(tcp: TcpListener, limits: Limits) -> Self {
        Self { tcp, shared: Arc::new(Shared::new(limits)) }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// What it counts, for metrics.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.shared.counts)
    }

    /// Serves gRPC until `stop`; ends calls at their deadline. Then no connection is accepted, calls have [`Limits::grace`]
    /// to end, and what is left is cut. Dropping the future cuts all connections.
    pub async fn serve_grpc(self, routes: Routes, stop: CancellationToken) {
        let service = DeadlineLayer.layer(routes.prepare());
        let service = service.map_request(|request: Request<RequestBody>| request.map(tonic::body::Body::new));
        // Routes fail for no request.
        self.serve(Protocol::Grpc, service, stop).await;
    }

    /// Serves HTTP in the same way.
    pub async fn serve_http<S, B>(self, service: S, stop: CancellationToken)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.serve(Protocol::Http, service, stop).await;
    }

    async fn serve<S, B>(self, protocol: Protocol, service: S, stop: CancellationToken)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let registry = Registry::new(Arc::clone(&self.shared), protocol == Protocol::Grpc);
        let sweep = tokio::spawn(sweep::run(Arc::clone(&registry))).abort_handle();
        let connections = Connections { registry: Arc::clone(&registry), sweep };
        let builder = builder(protocol);
        let mut accepting = Accepting::new(&self.tcp, &self.shared.counts);
        let mut crowd = Episode::default();
        loop {
            let accepted = async {
                registry.has_room().await;
                accepting.next().await
            };
            let Some((stream, peer)) = stop.run_until_cancelled(accepted).await else { break };
            // What is written is sent at once. Else a message in two writes, or a token while the one before is not confirmed,
            // would wait for the other side to send something (Nagle, RFC 896). A connection that has gone needs it no more.
            let _ = stream.set_nodelay(true);
            let _ = set_socket_send_buffer_size(&stream, SOCKET_SEND_BYTES);
            let admission = registry.admit(stream, peer);
            if !matches!(admission, Admission::Taken(_)) && crowd.begins() {
                let connections = self.shared.limits.connections;
                tracing::warn!(connections, %peer, "as many connections as there may be: newcomers displace others");
            }
            match admission {
                Admission::Taken(registered) | Admission::Displacing(registered) => {
                    tokio::spawn(serve(registered, builder.clone(), protocol, service.clone()));
                }
                Admission::Refused => {}
            }
        }
        let grace = self.shared.limits.grace;
        // Nobody new waits in the kernel for an answer that does not come.
        drop(self.tcp);
        registry.all().iter().for_each(|connection| connection.close(Ending::Stopped));
        if tokio::time::timeout(grace, registry.is_empty()).await.is_err() {
            drop(connections);
            // Their tasks end at once, unless all threads are busy.
            let _ = tokio::time::timeout(CUT_PATIENCE, registry.is_empty()).await;
        }
    }
}

/// The connections of a listener that serves. When it does no more, they are cut.
struct Connections {
    registry: Arc<Registry>,
    sweep: AbortHandle,
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.sweep.abort();
        self.registry.all().iter().for_each(|connection| connection.cut(Ending::Stopped));
    }
}

/// The next connection, whatever goes wrong with others.
struct Accepting<'a> {
    tcp: &'a TcpListener,
    counts: &'a Counts,
    delay: Duration,
    trouble: Episode,
}

impl<'a> Accepting<'a> {
    fn new(tcp: &'a TcpListener, counts: &'a Counts) -> Self {
        Self { tcp, counts, delay: MIN_ACCEPT_DELAY, trouble: Episode::default() }
    }

    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let error = match self.tcp.accept().await {
                Ok(accepted) => {
                    self.delay = MIN_ACCEPT_DELAY;
                    return accepted;
                }
                Err(error) => error,
            };
            self.counts.accept_errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if is_of_one_connection(&error) {
                continue;
            }
            if self.trouble.begins() {
                tracing::warn!(%error, "cannot accept connections, trying again");
            }
            tokio::time::sleep(self.delay).await;
            self.delay = (self.delay * 2).min(MAX_ACCEPT_DELAY);
        }
    }
}

/// The client has gone already; the next one may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Trouble that may come back many times a second, and is logged once.
#[derive(Default)]
struct Episode {
    last: Option<Instant>,
}

impl Episode {
    /// Notes that it happened; whether it is new.
    fn begins(&mut self) -> bool {
        let now = Instant::now();
        self.last.replace(now).is_none_or(|last| now.duration_since(last) > EPISODE)
    }
}
