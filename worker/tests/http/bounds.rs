//! What clients make the worker keep has bounds, and those who reach them do not shut out the others.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use eoscast_proto::domain::Input;
use eoscast_proto::status::ServiceError;
use eoscast_proto::transport::{Limits, Listener, Peer};
use eoscast_worker::engine::EncodeOptions;
use eoscast_worker::runner::ScriptedRunner;
use eoscast_worker::runner::scripted::peaked_logits;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use super::support::{ROOMY, Setup, stepwise, until};
use super::{Answer, Server, chat, post, tokenizer_size};

/// Never ends by itself.
fn endless(setup: &Setup) -> Server {
    Server::start(setup, |_| peaked_logits(tokenizer_size(), 65))
}

async fn metric(server: &Server, name: &str) -> f64 {
    let page = server.get("/metrics").await.body;
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until the counter is above zero.
async fn until_counted(server: &Server, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while metric(server, name).await == 0.0 {
        assert!(Instant::now() < deadline, "{name} stays at 0");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn from(last_number: u8, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(Peer(SocketAddr::from(([10, 0, 0, last_number], 5000))));
    request
}

/// A server on a socket.
async fn listen(server: &Server) -> SocketAddr {
    let listener = Listener::new(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), Limits::http());
    let addr = listener.local_addr().unwrap();
    tokio::spawn(listener.serve_http(server.router.clone(), CancellationToken::new()));
    addr
}

fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends a part of a body that is said to have `length` bytes.
fn begin(addr: SocketAddr, path: &str, body: &[u8], length: usize) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    // A server that refuses closes before all is sent.
    let _ = socket.write_all(&[head(path, length).as_bytes(), body].concat());
    socket
}

#[tokio::test]
async fn a_text_whose_bytes_cannot_fit_is_refused_before_it_is_encoded() {
    let server = Server::saying("hello");
    // 4,096 tokens of at most 13 bytes.
    let text = "x".repeat(4096 * 13 + 1);
    for (path, body, param) in [
        ("/tokenize", json!({ "prompt": text }), "prompt"),
        ("/tokenize", json!({ "messages": chat(&text) }), "messages"),
        ("/v1/completions", json!({ "prompt": text }), "prompt"),
        ("/v1/completions", json!({ "prompt": ["hi", text] }), "prompt[1]"),
        ("/v1/chat/completions", json!({ "messages": chat(&text) }), "messages"),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!((answer.status, &answer.error()["param"]), (StatusCode::BAD_REQUEST, &json!(param)), "{path}");
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("of up to 13 bytes each, and exceed the context of the model of 4096"), "{message}");
    }
    assert_eq!(server.post("/tokenize", &json!({ "prompt": "x".repeat(4096 * 13) })).await.json()["count"], 4096 * 13);
}

#[tokio::test]
async fn the_text_of_a_client_that_has_left_is_not_encoded_to_its_end() {
    let server = Server::saying("hello");
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let input = Input::Text("word ".repeat(10_000));
    let options = EncodeOptions { bare: false, all: true, cancelled: &cancelled };
    let error = server.preparer.encode(&input, options).unwrap_err();
    assert!(matches!(error, ServiceError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn a_prompt_that_cannot_fit_is_given_up_on_the_way() {
    let server = Server::saying("hello");
    let answer = server.post("/v1/completions", &json!({ "prompt": "1 ".repeat(25_000) })).await;
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("prompt of more than 4096 tokens leaves no room"), "{message}");
}

#[tokio::test]
async fn half_sent_bodies_are_bounded_and_other_clients_are_served_meanwhile() {
    let server = Server::saying("hello");
    let addr = listen(&server).await;
    let body = [br#"{"prompt":""#.as_slice(), &vec![b'x'; 3_900_000]].concat();
    let sockets = tokio::task::spawn_blocking(move || {
        (0..12).map(|_| begin(addr, "/tokenize", &body, 4_000_000)).collect::<Vec<_>>()
    });
    let sockets = sockets.await.unwrap();
    // What arrives after the limit is refused.
    let mut bytes = 0.0;
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        bytes = f64::max(bytes, metric(&server, "eoscast_request_bytes").await);
    }
    assert!(bytes > 24_000_000.0, "{bytes} bytes of 46,800,000");
    assert!(bytes < 33_600_000.0, "{bytes} bytes of 46,800,000");
    let request = from(2, post("/v1/completions", json!({ "prompt": "hi" }).to_string()));
    server.send(request).await.json();
    drop(sockets);
    until("the bytes are given back", || {
        server
            .engine
            .metrics()
            .encode(server.engine.link(), eoscast_metrics::format::Format::Text)
            .unwrap()
            .contains("request_bytes 0\n")
    })
    .await;
}

#[tokio::test]
async fn choices_need_a_place_each_and_get_all_of_them_or_none() {
    let server = endless(&Setup { max_waiting: 3, ..ROOMY });
    let answer = server.post("/v1/completions", &json!({ "prompt": "hi", "n": 4 })).await;
    assert_eq!((answer.status, &answer.error()["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("queue_full")));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("4 choices need a place each, and 0 of 3 places are taken"), "{message}");
    assert_eq!(server.engine.link().status().sequence_number, 0, "some were announced");
    assert_eq!(server.complete(&json!({ "prompt": "hi", "n": 3 })).await["choices"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_place_of_a_client_with_many_goes_to_one_with_fewer_and_the_loser_may_try_again() {
    let (allow, script) = stepwise(|_| peaked_logits(tokenizer_size(), 65));
    let server = Server::start(&Setup { max_running: 1, max_waiting: 3, ..ROOMY }, script);
    let send = |client, max_tokens: u32| {
        let request =
            from(client, post("/v1/completions", json!({ "prompt": "hi", "max_tokens": max_tokens }).to_string()));
        tokio::spawn(Answer::of(server.router.clone(), request))
    };
    let running = send(1, 3);
    allow.send(()).unwrap();
    until("the first runs", || server.engine.metrics().load().0.running_requests == 1).await;
    let mut waiting = Vec::new();
    for count in 2..=4 {
        waiting.push(send(1, 1));
        until("it waits", || server.engine.live_count() == count).await;
    }
    let refused = send(1, 1).await.unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    let newcomer = send(2, 1);
    until_counted(&server, "eoscast_requests_evicted_total").await;
    drop(allow);
    newcomer.await.unwrap().json();
    running.await.unwrap().json();
    let evicted = waiting.pop().unwrap().await.unwrap();
    assert_eq!(
        (evicted.status, evicted.headers["retry-after"].to_str().unwrap()),
        (StatusCode::TOO_MANY_REQUESTS, "1")
    );
    assert!(evicted.body.contains("place went to a client with fewer requests"), "{}", evicted.body);
    for waited in waiting {
        waited.await.unwrap().json();
    }
    assert_eq!(metric(&server, "eoscast_requests_evicted_total").await, 1.0);
}

/// 17 MB of log-probabilities, in 32 choices.
fn heavy() -> Value {
    json!({ "prompt": vec![65; 400], "echo": true, "logprobs": 20, "n": 32, "max_tokens": 50, "ignore_eos": true })
}

const FOUR_MIB: Setup = Setup { num_blocks: 6_000, most_unread_bytes: 4 << 20, ..ROOMY };

#[tokio::test]
async fn an_answer_that_takes_too_much_memory_is_given_up() {
    let server = endless(&FOUR_MIB);
    let answer = server.post("/v1/completions", &heavy()).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(answer.body.contains("answers that are not sent yet exceed 4 MiB"), "{}", answer.body);
    until("all is given back", || server.engine.live_count() == 0).await;
    assert_eq!(metric(&server, "eoscast_unread_reply_bytes").await, 0.0);
}

#[tokio::test]
async fn a_reply_that_nobody_reads_is_ended_and_counted() {
    let server = endless(&FOUR_MIB);
    let addr = listen(&server).await;
    let body = super::with(&heavy(), &json!({ "stream": true })).to_string();
    // What is not read lies in the worker, not in the system's buffers.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(addr).await.unwrap();
    socket.write_all(head("/v1/completions", body.len()).as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    until_counted(&server, "eoscast_replies_aborted_unread_total").await;
    until("the other choices have ended too", || server.engine.live_count() == 0).await;
    let bytes = metric(&server, "eoscast_unread_reply_bytes").await;
    assert!(bytes < 4.3e6, "{bytes}");
    // Others are served.
    server.send(from(2, post("/v1/completions", json!({ "prompt": "hi" }).to_string()))).await.json();
    drop(socket);
}

#[tokio::test]
async fn tokens_whose_text_is_too_long_are_refused() {
    let server = Server::start_runner(&ROOMY, |spec| ScriptedRunner::new(spec, super::says("")));
    let end = server.post("/tokenize", &json!({ "prompt": "<|endoftext|>" })).await.json()["tokens"][0].clone();
    let answer = server.post("/detokenize", &json!({ "tokens": vec![end; 400_000] })).await;
    assert_eq!((answer.status, &answer.error()["param"]), (StatusCode::BAD_REQUEST, &json!("tokens")));
}
