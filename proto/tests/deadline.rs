//! `grpc-timeout` over the wire. The client is h2 itself: tonic's would end the call before the server does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eoscast_proto::transport::{Limits, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::codegen::Bytes;
use tonic::codegen::http::{HeaderMap, Request};
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::server::health_reporter;

/// An empty message, with its frame.
const EMPTY: Bytes = Bytes::from_static(&[0; 5]);

/// The status of a call to the health service: of the headers, or of the trailers behind them.
async fn status(addr: std::net::SocketAddr, method: &str, timeout: &str) -> Status {
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(addr).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{addr}/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout);
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(EMPTY, true).unwrap();
    let response = response.await.unwrap();
    let of = |headers: &HeaderMap| Status::from_header_map(headers);
    if let Some(status) = of(response.headers()) {
        return status;
    }
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data.unwrap().len());
    }
    of(&body.trailers().await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn a_deadline_that_passes_is_deadline_exceeded_before_and_after_the_first_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_reporter, health) = health_reporter();
    let listener = Listener::new(listener, Limits::grpc());
    tokio::spawn(listener.serve_grpc(Routes::new(health), CancellationToken::new()));
    for (method, timeout, expected) in [
        ("Check", "0n", Code::DeadlineExceeded),
        ("Check", "1n", Code::DeadlineExceeded),
        ("Check", "10S", Code::Ok),
        ("Watch", "0S", Code::DeadlineExceeded),
        ("Watch", "50m", Code::DeadlineExceeded),
        ("Check", "soon", Code::InvalidArgument),
        ("Check", "", Code::InvalidArgument),
    ] {
        let status = status(addr, method, timeout).await;
        assert_eq!(status.code(), expected, "{method} with {timeout}: {status}");
    }
}
