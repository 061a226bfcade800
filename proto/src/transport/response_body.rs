//! The body of a response, which counts until the client takes it, and is given up if the client does not.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http_body::{Body, Frame, SizeHint};
use tonic::codegen::Bytes;

use super::connection::{Connection, InFlight};
use super::limits::RESPONSE_PIECE_BYTES;
use super::responses::{GiveUp, Unsent};

/// What makes a response, until it is given up.
type Source<B> = Mutex<Option<Making<B>>>;

/// A response that is being made. The request lasts as long as this does.
struct Making<B> {
    body: B,
    /// What it has made and HTTP has not asked for.
    rest: Bytes,
    /// Who waits for more of it.
    waiting: Option<Waker>,
    _request: InFlight,
}

/// The body of a response.
pub struct ResponseBody<B> {
    /// Also locked by the sweep, once, to give it up.
    source: Arc<Source<B>>,
    unsent: Arc<Unsent>,
    connection: Arc<Connection>,
    is_end: bool,
}

impl<B: Body<Data = Bytes> + Send + 'static> ResponseBody<B> {
    pub(super) fn new(body: B, connection: Arc<Connection>, request: InFlight) -> Self {
        let is_end = body.is_end_stream();
        let making = Making { body, rest: Bytes::new(), waiting: None, _request: request };
        Self { source: Arc::new(Mutex::new(Some(making))), unsent: Arc::default(), connection, is_end }
    }

    /// Lets the sweep give it up if the client does not take it. For HTTP/2: a client of HTTP/1 that does not read blocks the
    /// connection, which is cut.
    pub(super) fn watched(self) -> Self {
        self.connection.responses.insert(Arc::clone(&self.unsent), self.source.clone());
        self
    }
}

impl<B> Drop for ResponseBody<B> {
    fn drop(&mut self) {
        self.connection.responses.remove(&self.unsent);
    }
}

impl<B> Making<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(cx).map_ok(Frame::into_data) {
                Poll::Ready(Some(Ok(Ok(data)))) => self.rest = data,
                Poll::Ready(Some(Ok(Err(other)))) => return Poll::Ready(Some(Ok(other))),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    self.waiting.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
                    return Poll::Pending;
                }
            }
        }
        let piece = self.rest.len().min(RESPONSE_PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut source = lock(&self.source);
        let Some(making) = source.as_mut() else { return Poll::Ready(Some(Err(given_up()))) };
        let polled = making.poll_frame(cx);
        let is_end = making.is_end();
        drop(source);
        self.is_end = is_end;
        polled.map_err(Into::into).map_ok(|frame| frame.map_data(|data| Part::of(data, &self)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_end
    }

    fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        let Some(making) = source.as_ref() else { return SizeHint::default() };
        let (of_body, rest) = (making.body.size_hint(), making.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

fn lock<B>(source: &Source<B>) -> MutexGuard<'_, Option<Making<B>>> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

/// HTTP/2 resets the stream for it.
fn given_up() -> Box<dyn Error + Send + Sync> {
    io::Error::new(io::ErrorKind::TimedOut, "the client did not read its response").into()
}

impl<B: Send> GiveUp for Source<B> {
    fn give_up(&self) {
        // Dropping it and waking run code of others, for which the lock is free.
        let Some(making) = lock(self).take() else { return };
        let Making { waiting, .. } = making;
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

/// Bytes that HTTP's buffers hold. They go when they are sent, or the request is reset.
struct Part {
    data: Bytes,
    unsent: Arc<Unsent>,
    connection: Arc<Connection>,
}

impl Part {
    fn of<B>(data: Bytes, response: &ResponseBody<B>) -> Bytes {
        let (unsent, connection) = (Arc::clone(&response.unsent), Arc::clone(&response.connection));
        connection.hold(data.len());
        unsent.on_handed_over(data.len(), connection.now());
        Bytes::from_owner(Self { data, unsent, connection })
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.connection.release(self.data.len());
        self.unsent.on_taken(self.data.len(), self.connection.now());
    }
}
