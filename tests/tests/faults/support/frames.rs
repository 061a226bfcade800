//! HTTP/2 frames by hand, for clients that no library would let one write.

use std::io;

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Begins a connection: preface, settings and their acknowledgement. Gives what the server sent first, its settings among it.
/// Without a window the server may write nothing of a reply.
pub(crate) async fn begin(connection: &mut TcpStream, has_window: bool) -> io::Result<Vec<u8>> {
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let settings: &[u8] = if has_window { &[] } else { &[0, 4, 0, 0, 0, 0] };
    connection.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await?;
    let mut first = vec![0; 4096];
    let read = connection.read(&mut first).await?;
    first.truncate(read);
    connection.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
    Ok(first)
}

/// What a client sends before all frames.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The headers of a gRPC call.
pub(crate) fn call(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "eoscast"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literals that are not indexed, without Huffman codes (RFC 7541, 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// Bytes of a call's body.
pub(crate) fn data(stream: u32, payload: &[u8], last: bool) -> Vec<u8> {
    frame(DATA, if last { END_STREAM } else { 0 }, stream, payload)
}

/// A whole gRPC message, in frames that any server takes.
pub(crate) fn message(stream: u32, message: &impl Message, last: bool) -> Vec<u8> {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let whole = [&[0], &length[..], &body].concat();
    let pieces = whole.chunks(16_384);
    let count = pieces.len();
    pieces.enumerate().flat_map(|(at, piece)| data(stream, piece, last && at + 1 == count)).collect()
}

/// Cancels a call.
pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

/// How many streams the server allows at a time, if the bytes that it sent first say so.
pub(crate) fn most_streams(sent: &[u8]) -> Option<u32> {
    let mut rest = sent;
    while let [a, b, c, kind, flags, _, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let payload = after.get(..length)?;
        if *kind == SETTINGS && flags & ACK == 0 {
            let settings = payload.chunks_exact(6);
            let named = |setting: &&[u8]| setting[..2] == SETTINGS_MAX_CONCURRENT_STREAMS.to_be_bytes();
            if let Some(setting) = settings.clone().find(named) {
                return Some(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
            }
        }
        rest = &after[length..];
    }
    None
}
