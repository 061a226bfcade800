//! What may keep a connection waiting, and how long.

use eoscast_proto::transport::{Ending, Limits, RequestBody};
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::service::Routes;

use crate::client::{Client, GET, HALF_HEADER, HALF_PREFACE, PREFACE};
use crate::server::{ENDLESS, Running, SHORT, Server, forever, read};

const FIRST: Limits = Limits { first_request: SHORT, ..ENDLESS };

#[tokio::test]
async fn a_peer_that_says_nothing_or_half_a_request_is_closed() {
    let server = Server::answering(FIRST).await;
    let mut clients = [Client::new(server.addr).await, Client::saying(server.addr, HALF_HEADER).await];
    for client in &mut clients {
        assert_eq!(client.all().await, "");
    }
    server.until_ended(2, Ending::NoRequest).await;
}

#[tokio::test]
async fn a_peer_of_a_grpc_service_that_says_nothing_or_half_a_preface_is_closed() {
    let server = Server::grpc(FIRST, Routes::default()).await;
    let mut silent = Client::new(server.addr).await;
    let mut half = Client::saying(server.addr, HALF_PREFACE).await;
    let mut whole = Client::saying(server.addr, PREFACE).await;
    silent.all().await;
    half.all().await;
    server.until_ended(2, Ending::NoRequest).await;
    assert!(whole.is_open_after(SHORT).await, "a channel that is kept for later");
}

#[tokio::test]
async fn bytes_of_a_header_that_is_not_whole_buy_no_time() {
    let server = Server::answering(FIRST).await;
    let mut client = Client::saying(server.addr, HALF_HEADER).await;
    for _ in 0..1_000 {
        if !client.is_open_after(SHORT / 20).await {
            return server.until_ended(1, Ending::NoRequest).await;
        }
        // It may be closed just now.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, b"a").await;
    }
    panic!("still open");
}

#[tokio::test]
async fn clients_that_are_cut_for_what_they_hold_do_not_put_off_the_end_of_silent_ones() {
    let reading = |request: Request<RequestBody>| async {
        let _ = read(request.into_body()).await;
        Body::empty()
    };
    let server = Server::http(Limits { held_bytes: 0, ..FIRST }, reading).await;
    let mut silent = Client::new(server.addr).await;
    let pressing = async {
        loop {
            let _ = Client::saying(server.addr, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
                .await
                .all()
                .await;
        }
    };
    tokio::select! {
        () = pressing => {}
        said = silent.all() => assert_eq!(said, ""),
    }
    server.until_ended(1, Ending::NoRequest).await;
    assert!(server.counts.ended(Ending::HeldBytes) > 10);
}

#[tokio::test]
async fn a_connection_that_had_a_request_may_be_idle_for_longer_and_not_for_ever() {
    let server = Server::answering(Limits { idle: 4 * SHORT, ..FIRST }).await;
    let mut client = Client::new(server.addr).await;
    assert!(client.is_answered().await);
    assert!(client.is_open_after(2 * SHORT).await);
    client.say(HALF_HEADER).await;
    client.all().await;
    server.until_ended(1, Ending::Idle).await;
}

#[tokio::test]
async fn a_request_may_take_as_long_as_it_takes() {
    let running = Running::default();
    let limits = Limits { first_request: SHORT, idle: SHORT, unread: SHORT, body: SHORT, ..ENDLESS };
    let server = Server::http(limits, forever(&running)).await;
    let mut client = Client::saying(server.addr, GET).await;
    assert!(client.is_open_after(4 * SHORT).await);
    assert_eq!(running.now(), 1);
}

#[tokio::test]
async fn a_client_that_closes_with_bytes_in_the_pipe_ends_its_request() {
    let running = Running::default();
    let server = Server::http(ENDLESS, forever(&running)).await;
    let client = Client::saying(server.addr, &[GET, GET].concat()).await;
    server.until("it runs", |_| running.now() == 1).await;
    drop(client);
    server.until("its request ended", |_| running.now() == 0).await;
    server.until_ended(1, Ending::ClientGone).await;
}

#[tokio::test]
async fn whatever_is_held_open_a_listener_stops_within_its_grace() {
    let running = Running::default();
    let server = Server::http(ENDLESS, forever(&running)).await;
    let addr = server.addr;
    let mut clients = vec![Client::new(addr).await];
    for bytes in [HALF_HEADER, HALF_PREFACE, PREFACE, GET, b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n{"] {
        clients.push(Client::saying(addr, bytes).await);
    }
    server.until("all are in", |counts| counts.open() == 6 && running.now() == 2).await;
    let counts = server.counts.clone();
    let took = server.stop().await;
    assert!(took < 10 * SHORT, "{took:?}");
    assert_eq!((counts.open(), running.now(), counts.ended(Ending::Stopped)), (0, 0, 6));
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn a_listener_that_stops_lets_a_running_request_end() {
    let running = Running::default();
    let begun = running.clone();
    let server = Server::http(Limits { grace: 20 * SHORT, ..ENDLESS }, move |_| {
        let runs = begun.begin();
        async move {
            tokio::time::sleep(SHORT).await;
            drop(runs);
            Body::empty()
        }
    })
    .await;
    let mut client = Client::saying(server.addr, GET).await;
    server.until("its request runs", |_| running.now() == 1).await;
    let took = server.stop().await;
    assert!(client.all().await.starts_with("HTTP/1.1 200"));
    assert!(took < 10 * SHORT, "{took:?}: it ends when the last request does");
}
