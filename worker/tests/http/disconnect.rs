//! Clients that leave, over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use eoscast_proto::transport::{Limits, Listener};
use eoscast_worker::runner::scripted::peaked_logits;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{ROOMY, stepwise, until};
use super::{Server, tokenizer_size};

fn send(addr: SocketAddr, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut socket = TcpStream::connect(addr).unwrap();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length:";
    write!(socket, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
    socket
}

/// A client of a reply that would take thousands of tokens sends `further` bytes and leaves; its blocks must come free.
async fn leaves(more: &Value, further: &'static str) {
    let (allow, script) = stepwise(|_| peaked_logits(tokenizer_size(), 65));
    let server = Server::start(&ROOMY, script);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let listener = Listener::new(listener, Limits::http());
    tokio::spawn(listener.serve_http(server.router.clone(), CancellationToken::new()));

    let body = super::with(&json!({ "prompt": "hi", "max_tokens": 4000 }), more);
    let streams = body["stream"] == true;
    let choices = u32::try_from(body["n"].as_u64().unwrap_or(1)).unwrap();
    let mut socket = tokio::task::spawn_blocking(move || send(addr, &body)).await.unwrap();
    let load = || server.engine.metrics().load().0;
    until("all choices run", || {
        allow.send(()).unwrap();
        load().running_requests == choices
    })
    .await;
    if streams {
        let mut first = [0; 12];
        socket = tokio::task::spawn_blocking(move || {
            socket.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            socket
        })
        .await
        .unwrap();
    }
    socket.write_all(further.as_bytes()).unwrap();
    drop(socket);
    until("the blocks are free", || {
        // A step may be waiting for its permission.
        allow.send(()).unwrap();
        load().kv_blocks_used == 0
    })
    .await;
    assert!(load().generated_tokens < 4000, "the reply ran to its end");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_whole_answer_frees_its_slots() {
    leaves(&json!({ "n": 3 }), "").await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_stream_frees_its_slot() {
    leaves(&json!({ "stream": true }), "").await;
}

#[tokio::test]
async fn a_client_that_leaves_with_a_further_request_in_the_pipe_frees_its_slot() {
    leaves(&json!({}), "GET /health HTTP/1.1\r\nhost: here\r\n\r\n").await;
}
