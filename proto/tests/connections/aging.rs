//! Connections that are replaced when they are old.

use std::time::{Duration, Instant};

use eoscast_proto::transport::{Ending, Limits, RequestBody, endpoint};
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::client::{Client, PATIENCE, PREFACE};
use crate::server::{ENDLESS, SHORT, Server};

const AGING: Limits = Limits { age: Some(SHORT), ..ENDLESS };
const WATCH: &str = "/grpc.health.v1.Health/Watch";

#[tokio::test]
async fn no_call_fails_while_the_connections_of_clients_are_replaced_again_and_again() {
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::grpc(AGING, Routes::new(health)).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        // Each has its own: tonic cancels what it has not sent when GOAWAY comes while another call is open.
        let channel = endpoint(&format!("http://{}", server.addr)).unwrap().connect_lazy();
        let (mut client, counts) = (HealthClient::new(channel), server.counts.clone());
        callers.spawn(async move {
            let mut calls = 0;
            while counts.ended(Ending::Aged) < 40 {
                client
                    .check(HealthCheckRequest::default())
                    .await
                    .unwrap_or_else(|error| panic!("call {calls}: {error}"));
                calls += 1;
            }
            calls
        });
    }
    let calls: Vec<u32> = tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("the end in time");
    assert!(calls.iter().all(|calls| *calls > 100), "{calls:?}");
}

#[tokio::test]
async fn connections_that_were_opened_together_do_not_end_together() {
    let server = Server::grpc(Limits { age: Some(10 * SHORT), ..ENDLESS }, Routes::default()).await;
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (client, connection) = connect(&server).await;
        clients.spawn(async move {
            ends(connection).await;
            drop(client);
            Instant::now()
        });
    }
    let ends = clients.join_all().await;
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    assert!(*last - *first > SHORT / 3, "{:?}", *last - *first);
    server.until_ended(20, Ending::Aged).await;
}

/// Calls of [`WATCH`] have no end; the others take some time.
async fn serve(limits: Limits) -> Server {
    Server::http(limits, |request: Request<RequestBody>| async move {
        match request.uri().path() {
            WATCH => std::future::pending::<()>().await,
            _ => tokio::time::sleep(6 * SHORT).await,
        }
        Body::empty()
    })
    .await
}

async fn connect(server: &Server) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

fn call(client: &mut SendRequest<Bytes>, path: &str) -> h2::client::ResponseFuture {
    let request = Request::get(format!("http://x{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap().0
}

async fn ends(connection: JoinHandle<Result<(), h2::Error>>) {
    // Whether it is closed or cut.
    let _ = tokio::time::timeout(PATIENCE, connection).await.expect("the end in time").unwrap();
}

#[tokio::test]
async fn a_call_may_take_as_long_as_it_takes_however_old_its_connection_becomes() {
    let server = serve(AGING).await;
    let (mut client, connection) = connect(&server).await;
    let running = call(&mut client, "/");
    server.until_ended(1, Ending::Aged).await;
    assert!(tokio::time::timeout(PATIENCE, client.ready()).await.expect("an answer").is_err(), "it was told to go");
    assert!(running.await.unwrap().status().is_success());
    ends(connection).await;
}

#[tokio::test]
async fn calls_without_an_end_keep_an_old_connection_no_longer_than_the_others_need() {
    let server = serve(Limits { first_request: 4 * SHORT, ..AGING }).await;
    let (mut client, connection) = connect(&server).await;
    let (watching, running) = (call(&mut client, WATCH), call(&mut client, "/"));
    assert!(running.await.unwrap().status().is_success());
    assert!(tokio::time::timeout(PATIENCE, watching).await.expect("the end in time").is_err());
    ends(connection).await;
    assert_eq!(server.counts.ended(Ending::Aged), 1);
}

#[tokio::test]
async fn without_an_age_a_connection_stays() {
    let server = Server::grpc(ENDLESS, Routes::default()).await;
    let mut client = Client::saying(server.addr, PREFACE).await;
    assert!(client.is_open_after(Duration::from_secs(1)).await);
}
