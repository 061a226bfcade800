//! Streams and windows of one connection.

use eoscast_proto::transport::{Limits, connections_within_descriptors};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;

use crate::client::{Client, PREFACE};
use crate::server::{ENDLESS, Running, SHORT, Server, forever};

/// A request without the end of its body: POST, http, / and an authority, as HPACK has them.
fn headers(stream: u32) -> Vec<u8> {
    let block = [0x83, 0x86, 0x84, 0x01, 1, b'x'];
    [&[0, 0, block.len() as u8, 1, 4][..], &stream.to_be_bytes(), &block].concat()
}

#[tokio::test]
async fn of_five_thousand_streams_on_one_connection_a_few_hundred_run() {
    let running = Running::default();
    let server = Server::http(ENDLESS, forever(&running)).await;
    let mut client = Client::saying(server.addr, PREFACE).await;
    client.say(&(0..256).flat_map(|n| headers(2 * n + 1)).collect::<Vec<_>>()).await;
    server.until("as many run as may", |_| running.now() == 256).await;
    let flood: Vec<u8> = (256..5_000).flat_map(|n| headers(2 * n + 1)).collect();
    // The server may close meanwhile.
    let _ = client.0.write_all(&flood).await;
    client.is_open_after(2 * SHORT).await;
    assert_eq!(running.most(), 256, "streams ran at a time");
    assert!(Client::new(server.addr).await.is_open_after(SHORT).await, "others are not concerned");
}

#[tokio::test]
async fn what_a_connection_has_unread_is_bounded_by_its_windows() {
    let server = Server::http(ENDLESS, forever(&Running::default())).await;
    let (mut client, connection) = h2::client::handshake(TcpStream::connect(server.addr).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for _ in 0..40 {
        let request = Request::post("http://x/").body(()).unwrap();
        let (_, mut body) = std::future::poll_fn(|cx| client.poll_ready(cx))
            .await
            .and_then(|()| client.send_request(request, false))
            .unwrap();
        body.reserve_capacity(64 << 20);
        bodies.push(body);
    }
    let mut unread = 0;
    loop {
        let next = std::future::poll_fn(|cx| {
            let mut bodies = bodies.iter_mut();
            bodies
                .find_map(|body| match body.poll_capacity(cx) {
                    std::task::Poll::Ready(Some(Ok(bytes))) if bytes > 0 => Some((body.stream_id(), bytes)),
                    _ => None,
                })
                .map_or(std::task::Poll::Pending, std::task::Poll::Ready)
        });
        let Ok((stream, bytes)) = tokio::time::timeout(SHORT, next).await else { break };
        let body = bodies.iter_mut().find(|body| body.stream_id() == stream).unwrap();
        body.send_data(Bytes::from(vec![0; bytes]), false).unwrap();
        unread += bytes;
    }
    assert!((128 << 10..=2 << 20).contains(&unread), "{unread} bytes");
}

#[test]
fn there_are_no_more_connections_than_descriptors() {
    let within = connections_within_descriptors();
    assert!(within >= 8);
    assert_eq!(Limits::grpc().within(9).connections, 9);
    assert_eq!(Limits::grpc().within(usize::MAX).connections, Limits::grpc().connections);
}
