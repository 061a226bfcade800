//! Clients that say what they are told to, and no more.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// For what has to happen; far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
pub(crate) const HALF_HEADER: &[u8] = b"GET / HTTP/1.1\r\nx: ";
/// An empty SETTINGS frame is missing.
pub(crate) const HALF_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// One connection.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn new(server: SocketAddr) -> Self {
        Self::from([127, 0, 0, 1].into(), server).await
    }

    /// From another address of this machine.
    pub(crate) async fn from(address: IpAddr, server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        Self(socket.connect(server).await.unwrap())
    }

    pub(crate) async fn saying(server: SocketAddr, bytes: &[u8]) -> Self {
        let mut client = Self::new(server).await;
        client.say(bytes).await;
        client
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// What comes until the other side closes.
    pub(crate) async fn all(&mut self) -> String {
        let mut bytes = Vec::new();
        // A connection that is cut may end by an error.
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await.expect("the end in time");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends a request and reads the first bytes of the answer; whether they are of one.
    pub(crate) async fn is_answered(&mut self) -> bool {
        let mut head = [0; 12];
        let asked = async { self.0.write_all(GET).await.is_ok() && self.0.read_exact(&mut head).await.is_ok() };
        tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time") && &head == b"HTTP/1.1 200"
    }

    /// Whether the connection is there still after `time`; reads what comes meanwhile.
    pub(crate) async fn is_open_after(&mut self, time: Duration) -> bool {
        let mut sink = [0; 1024];
        let closed = async { while self.0.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(time, closed).await.is_err()
    }
}
