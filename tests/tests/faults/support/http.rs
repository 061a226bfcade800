//! HTTP/1.1 by hand, from any address of the loopback range: one connection a request.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The address of the client that behaves well.
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(120);

/// Another address of the loopback range: that of a stranger.
pub(crate) fn stranger(number: u8) -> IpAddr {
    assert!(number > 1);
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, number))
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Headers and body.
    pub(crate) text: String,
}

/// A connection from `from`.
pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// The same with a receive buffer so small that hardly anything is sent before it is read.
pub(crate) async fn connect_narrow(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// The bytes of a POST with a JSON body.
pub(crate) fn post_bytes(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: eoscast\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn exchange(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let mut connection = connect(from, to).await?;
    // A server that refuses early closes before all is written; what it said is read all the same.
    let written = connection.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    match text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok()) {
        Some(status) => Ok(Answer { status, text }),
        None => Err(written.and(read.map(|_| ())).err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    }
}

async fn patient(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    tokio::time::timeout(PATIENCE, exchange(from, to, bytes)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// A POST of a JSON body.
pub(crate) async fn post(from: IpAddr, to: SocketAddr, path: &str, body: &str) -> io::Result<Answer> {
    patient(from, to, &post_bytes(path, body)).await
}

/// A GET.
pub(crate) async fn get(from: IpAddr, to: SocketAddr, path: &str) -> io::Result<Answer> {
    patient(from, to, format!("GET {path} HTTP/1.1\r\nhost: eoscast\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// The sum of the series of a metric, 0 without any.
pub(crate) async fn metric(page: SocketAddr, name: &str) -> f64 {
    let answer = get(HOME, page, "/metrics").await.unwrap();
    let values = answer.text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with(['{', ' '])).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    // The sum of nothing would be -0.
    values.fold(0.0, |sum, value| sum + value)
}
