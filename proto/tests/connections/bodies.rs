//! Bodies that do not arrive, and what unfinished ones may hold.

use eoscast_proto::reflection;
use eoscast_proto::transport::{Ending, Limits};
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::server::health_reporter;

use crate::client::Client;
use crate::server::{ENDLESS, SHORT, Server, read};

const IN_TIME: Limits = Limits { body: SHORT, ..ENDLESS };

fn post(length: usize, part: &[u8]) -> Vec<u8> {
    [format!("POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n").as_bytes(), part]
        .concat()
}

/// Answers with the length of the body, or with why it could not be read.
async fn reading(limits: Limits) -> Server {
    Server::http(limits, |request| async {
        let read = read(request.into_body()).await;
        Body::new(http_body_of(format!("{read:?}")))
    })
    .await
}

fn http_body_of(text: String) -> impl http_body::Body<Data = Bytes, Error = Status> + Send + 'static {
    struct Once(Option<Bytes>);
    impl http_body::Body for Once {
        type Data = Bytes;
        type Error = Status;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
            std::task::Poll::Ready(self.0.take().map(|data| Ok(http_body::Frame::data(data))))
        }
    }
    Once(Some(text.into()))
}

#[tokio::test]
async fn a_body_that_does_not_arrive_in_time_is_refused() {
    let server = reading(IN_TIME).await;
    let answer = Client::saying(server.addr, &post(100, b"{")).await.all().await;
    assert!(answer.contains("too slowly"), "{answer}");
    assert_eq!(server.counts.slow_bodies(), 1);
    let answer = Client::saying(server.addr, &post(3, b"{ }")).await.all().await;
    assert!(answer.contains("Ok(3)"), "{answer}");
}

#[tokio::test]
async fn of_unfinished_bodies_that_hold_too_much_the_largest_goes() {
    let server = reading(Limits { held_bytes: 1 << 20, ..ENDLESS }).await;
    let mut small = Client::saying(server.addr, &post(300_000, &[0; 299_999])).await;
    let mut large = Client::saying(server.addr, &post(3_000_000, &[0; 600_000])).await;
    server.until("both are held", |counts| counts.held_bytes() == 899_999).await;
    // Until the connection is cut.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut large.0, &[0; 2_000_000]).await;
    assert!(!large.all().await.contains("200 OK"));
    server.until_ended(1, Ending::HeldBytes).await;
    small.say(&[0]).await;
    assert!(small.all().await.contains("Ok(300000)"), "the other goes on");
    server.until("nothing is held", |counts| counts.held_bytes() == 0).await;
}

async fn grpc() -> (Server, SendRequest<Bytes>) {
    let (_, health) = health_reporter();
    let (reflection, _) = reflection::services(&["eoscast.worker.v1.WorkerService"]).unwrap();
    let server = Server::grpc(IN_TIME, Routes::new(health).add_service(reflection)).await;
    let (client, connection) = h2::client::handshake(TcpStream::connect(server.addr).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    (server, client)
}

/// How a call ends of which only `bytes` come.
async fn ending(client: &mut SendRequest<Bytes>, path: &str, bytes: &'static [u8]) -> Option<Code> {
    let request =
        Request::post(format!("http://x{path}")).header("content-type", "application/grpc").header("te", "trailers");
    let (response, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(bytes), false).unwrap();
    let ended = async {
        let response = response.await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status.code();
        }
        let mut answers = response.into_body();
        while answers.data().await.is_some() {}
        Status::from_header_map(&answers.trailers().await.unwrap().unwrap()).unwrap().code()
    };
    tokio::time::timeout(4 * SHORT, ended).await.ok()
}

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const HALF_MESSAGE: &[u8] = &[0, 0, 0, 0, 9, 1];

#[tokio::test]
async fn a_call_whose_message_does_not_arrive_exceeds_its_time_and_a_stream_may_be_silent() {
    let (server, mut client) = grpc().await;
    let check = "/grpc.health.v1.Health/Check";
    assert_eq!(ending(&mut client, check, b"").await, Some(Code::DeadlineExceeded), "no byte of it");
    assert_eq!(ending(&mut client, check, HALF_MESSAGE).await, Some(Code::DeadlineExceeded));
    // It keeps the reason to itself.
    assert!(ending(&mut client, REFLECTION, HALF_MESSAGE).await.is_some());
    assert_eq!(server.counts.slow_bodies(), 3);
    assert_eq!(ending(&mut client, REFLECTION, b"").await, None, "between messages any time may pass");
}
