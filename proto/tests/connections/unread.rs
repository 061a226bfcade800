//! Replies that their clients do not read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use eoscast_proto::transport::{Ending, Limits};
use h2::RecvStream;
use h2::client::SendRequest;
use http_body::Frame;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::Request;

use crate::client::{Client, GET, PATIENCE};
use crate::server::{ENDLESS, Running, Runs, SHORT, Server};

/// Replies that send bytes until the test stops them.
#[derive(Clone, Default)]
struct Replies {
    making: Running,
    made_bytes: Arc<AtomicUsize>,
    shall_end: Arc<AtomicBool>,
}

/// One of them.
struct Reply {
    of: Replies,
    _runs: Runs,
}

impl Replies {
    const CHUNK: &[u8] = &[0; 64 << 10];

    async fn serve(&self, limits: Limits) -> Server {
        let replies = self.clone();
        Server::http(limits, move |_| {
            let reply = Reply { of: replies.clone(), _runs: replies.making.begin() };
            async { Body::new(reply) }
        })
        .await
    }

    fn made_bytes(&self) -> usize {
        self.made_bytes.load(Ordering::Relaxed)
    }
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.of.shall_end.load(Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        self.of.made_bytes.fetch_add(Replies::CHUNK.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(Replies::CHUNK)))))
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_reply_is_cut_and_one_that_reads_is_not() {
    let server = Replies::default().serve(Limits { unread: 10 * SHORT, ..ENDLESS }).await;
    let unread = Client::saying(server.addr, GET).await;
    let mut read = Client::saying(server.addr, GET).await;
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while read.0.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    server.until_ended(1, Ending::Unread).await;
    tokio::time::sleep(2 * SHORT).await;
    assert!(!reading.is_finished());
    assert_eq!(server.counts.held_bytes() / (1 << 20), 0, "what was not sent is gone");
    drop(unread);
    reading.abort();
}

#[tokio::test]
async fn little_of_a_reply_is_made_while_its_client_does_not_read() {
    let replies = Replies::default();
    let server = replies.serve(Limits { unread: 4 * SHORT, ..ENDLESS }).await;
    let _unread = Client::saying(server.addr, GET).await;
    server.until_ended(1, Ending::Unread).await;
    let made = replies.made_bytes();
    assert!((1..2 << 20).contains(&made), "{made} bytes");
}

/// A connection of HTTP/2 with so large a window for each stream; and when it ends.
async fn http2(server: &Server, window: u32) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(1 << 20);
    let (client, connection) = builder.handshake(stream).await.unwrap();
    (client, tokio::spawn(connection))
}

async fn reply(client: &mut SendRequest<Bytes>) -> RecvStream {
    let request = Request::get("http://x/").body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    response.await.unwrap().into_body()
}

#[tokio::test]
async fn a_reply_whose_stream_has_no_window_is_given_up_and_its_connection_is_idle_then() {
    let replies = Replies::default();
    let limits = Limits { unread: SHORT, idle: SHORT, first_request: SHORT, ..ENDLESS };
    let server = replies.serve(limits).await;
    let (mut client, connection) = http2(&server, 0).await;
    let _unread = reply(&mut client).await;
    assert_eq!(replies.making.now(), 1);
    server.until("it is not made any more", |_| replies.making.now() == 0).await;
    server.until_ended(1, Ending::Idle).await;
    let _ = tokio::time::timeout(PATIENCE, connection).await.expect("the end in time");
    server.until("nothing is held", |counts| counts.held_bytes() == 0).await;
    assert_eq!((server.counts.unread_responses(), server.counts.ended(Ending::Unread)), (1, 0));
}

#[tokio::test]
async fn of_two_replies_on_one_connection_only_the_unread_one_is_given_up() {
    let replies = Replies::default();
    let server = replies.serve(Limits { unread: 4 * SHORT, ..ENDLESS }).await;
    let (mut client, _connection) = http2(&server, 100_000).await;
    let mut unread = reply(&mut client).await;
    let mut read = reply(&mut client).await;
    let reading = tokio::spawn(async move {
        while let Some(data) = read.data().await {
            read.flow_control().release_capacity(data?.len())?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, h2::Error>(())
    });
    server.until("one is given up", |counts| counts.unread_responses() == 1).await;
    server.until("the other is made", |_| replies.making.now() == 1).await;
    tokio::time::sleep(2 * SHORT).await;
    replies.shall_end.store(true, Ordering::Relaxed);
    tokio::time::timeout(PATIENCE, reading).await.expect("the end in time").unwrap().expect("a whole reply");
    // What was sent comes, and then an error instead of the end.
    let last = async {
        loop {
            match unread.data().await {
                Some(Ok(data)) => unread.flow_control().release_capacity(data.len()).unwrap(),
                last => return last,
            }
        }
    };
    let last = tokio::time::timeout(PATIENCE, last).await.expect("the end in time");
    assert!(last.is_some_and(|last| last.is_err_and(|error| error.is_reset())), "not whole");
    assert_eq!(server.counts.unread_responses(), 1);
}
