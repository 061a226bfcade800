//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response, Version};
use tonic::transport::server::TcpConnectInfo;
use tower::{Service, ServiceExt};

use super::connection::Connection;
use super::limits::{HEADER_BYTES, HTTP1_BUFFER_BYTES, SEND_BUFFER_BYTES, STREAMS_PER_CONNECTION};
use super::registry::Registered;
use super::request_body::{Arrival, RequestBody, is_endless};
use super::response_body::ResponseBody;
use super::settings::{
    KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, SERVER_CONNECTION_WINDOW_BYTES, SERVER_STREAM_WINDOW_BYTES,
};
use super::socket::Socket;

/// Where a request came from: in its extensions, beside tonic's own.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    /// HTTP/1, or HTTP/2 for clients that begin with it.
    Http,
}

pub(super) fn builder(protocol: Protocol) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if protocol == Protocol::Grpc {
        builder = builder.http2_only();
    }
    // The sweep times headers: a timer of HTTP/1 would end idle connections, too.
    builder.http1().header_read_timeout(None).max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .initial_stream_window_size(SERVER_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(SERVER_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    builder
}

/// Answers a connection's requests by `service` until one of both ends it.
pub(super) async fn serve<S, B>(
    registered: Registered,
    builder: auto::Builder<TokioExecutor>,
    protocol: Protocol,
    service: S,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = Arc::clone(&registered.connection);
    let socket = TokioIo::new(Socket::of(Arc::clone(&connection)));
    let requests = Requests { service, connection: Arc::clone(&connection), protocol };
    let mut served = pin!(builder.serve_connection(socket, requests));
    // Both how a connection ends and errors of its bytes concern nobody else.
    tokio::select! {
        biased;
        () = connection.closing() => {}
        _ = served.as_mut() => return,
    }
    served.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        () = connection.was_cut() => {}
        _ = served => {}
    }
}

/// The service behind a connection, which counts the requests that are running.
struct Requests<S> {
    service: S,
    connection: Arc<Connection>,
    protocol: Protocol,
}

impl<S, B> HyperService<Request<Incoming>> for Requests<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = self.connection.begin(is_endless(request.uri().path()));
        let is_http2 = request.version() == Version::HTTP_2;
        let arrival = match self.protocol {
            Protocol::Grpc => Arrival::of_grpc(request.uri().path()),
            Protocol::Http => Arrival::Body,
        };
        let connection = Arc::clone(&self.connection);
        let mut request = request.map(|body| RequestBody::new(body, Arc::clone(&connection), arrival));
        request.extensions_mut().insert(Peer(connection.peer));
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: Some(connection.peer) });
        let answered = self.service.clone().oneshot(request);
        Box::pin(async move {
            let (head, body) = answered.await?.into_parts();
            let body = ResponseBody::new(body, connection, running);
            Ok(Response::from_parts(head, if is_http2 { body.watched() } else { body }))
        })
    }
}
