//! The way of a reply from the engine to its client, and what is kept of it on the way.
//!
//! The engine never waits for a client, so what the client has not taken is kept, up to a limit. Bytes count from when the engine makes
//! them until the connection takes them; those of an answer that is sent as a whole, until that is sent.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use eoscast_proto::domain::{Chunk, ReplyEvent, RequestId};
use eoscast_proto::status::ServiceError;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::bounds::{ByteAccount, ByteLimits, OverBudget, RETRY_AFTER};

/// Limits of replies that clients have not taken, by that of all together.
pub(crate) fn unread_limits(total: usize) -> ByteLimits {
    ByteLimits { account: total / 4, total, client: total / 64 }
}

/// Bytes of a token with its log-probability, in memory as in JSON.
const LOGPROB_BYTES: usize = 64;

/// Bytes of a chunk without its contents.
const CHUNK_BYTES: usize = size_of::<Queued>() + 64;

/// The engine's end.
pub(crate) struct ReplySender {
    events: mpsc::UnboundedSender<Queued>,
    shared: Arc<Unread>,
}

/// The events of one reply. Dropping it frees the request's slot within a step.
pub struct ReplyStream {
    /// The request that it answers.
    pub request_id: RequestId,
    events: mpsc::UnboundedReceiver<Queued>,
    shared: Arc<Unread>,
}

/// What is kept of a reply.
pub(crate) struct Unread {
    account: ByteAccount,
    /// The answer is sent as a whole.
    is_gathered: AtomicBool,
    /// Nobody wants the chunks.
    skips_chunks: AtomicBool,
}

/// An event on its way.
struct Queued {
    event: Result<ReplyEvent, ServiceError>,
    /// Of what it holds; 0 of the last event.
    content_bytes: usize,
}

/// Both ends of the reply to `request_id`, which is kept on `account`.
pub(crate) fn channel(request_id: RequestId, account: ByteAccount) -> (ReplySender, ReplyStream) {
    #[expect(clippy::disallowed_methods, reason = "the account bounds what is in it")]
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Unread { account, is_gathered: AtomicBool::default(), skips_chunks: AtomicBool::default() });
    (ReplySender { events: sender, shared: Arc::clone(&shared) }, ReplyStream { request_id, events: receiver, shared })
}

impl ReplySender {
    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.events.is_closed()
    }

    /// Sends the next chunk.
    ///
    /// # Errors
    /// `ResourceExhausted` if too much of the reply, or of all replies, is unread. Nothing more should be made of it.
    pub(crate) fn send(&self, chunk: Chunk) -> Result<(), ServiceError> {
        if self.shared.skips_chunks.load(Ordering::Relaxed) {
            return Ok(());
        }
        let content_bytes = content_bytes(&chunk);
        self.shared.account.take(CHUNK_BYTES + content_bytes).map_err(|over| self.shared.too_much(over))?;
        // A closed channel means that the client is gone, which the next step sees.
        let _ = self.events.send(Queued { event: Ok(ReplyEvent::Chunk(chunk)), content_bytes });
        Ok(())
    }

    /// Sends the last event.
    pub(crate) fn end(self, last: Result<ReplyEvent, ServiceError>) {
        // The client may be gone.
        let _ = self.events.send(Queued { event: last, content_bytes: 0 });
    }
}

impl ReplyStream {
    /// The answer is sent as a whole: what is taken from here on stays counted until what is returned is dropped.
    pub(crate) fn gather(&self) -> Arc<Unread> {
        self.shared.is_gathered.store(true, Ordering::Relaxed);
        Arc::clone(&self.shared)
    }

    /// Only the last event is wanted from here on.
    pub(crate) fn skip_chunks(&self) {
        self.shared.skips_chunks.store(true, Ordering::Relaxed);
    }

    /// Counts bytes that the answer holds beside what the engine makes, until the reply is dropped.
    ///
    /// # Errors
    /// As of [`ReplySender::send`].
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), ServiceError> {
        self.shared.account.take(bytes).map_err(|over| self.shared.too_much(over))
    }
}

impl Stream for ReplyStream {
    type Item = Result<ReplyEvent, ServiceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(Queued { event, content_bytes }) = ready!(self.events.poll_recv(cx)) else { return Poll::Ready(None) };
        if let Ok(ReplyEvent::Chunk(_)) = event {
            let kept = if self.shared.is_gathered.load(Ordering::Relaxed) { content_bytes } else { 0 };
            self.shared.account.give_back(CHUNK_BYTES + content_bytes - kept);
        }
        Poll::Ready(Some(event))
    }
}

impl Unread {
    /// Bytes that count.
    pub(crate) fn bytes(&self) -> usize {
        self.account.used()
    }

    /// Counts so many bytes more: they are there already.
    pub(crate) fn count(&self, bytes: usize) {
        self.account.force(bytes);
    }

    fn too_much(&self, over: OverBudget) -> ServiceError {
        let limits = self.account.limits();
        let message = match (over, self.is_gathered.load(Ordering::Relaxed)) {
            (OverBudget::Account, false) => {
                format!("the client does not read its reply: more than {} MiB are unread", limits.account >> 20)
            }
            (OverBudget::Account, true) => format!(
                "the answer exceeds {} MiB: ask for fewer tokens or log-probabilities, or stream it",
                limits.account >> 20
            ),
            (OverBudget::Total, false) => {
                format!(
                    "the client does not read its reply, and clients leave more than {} MiB unread",
                    limits.total >> 20
                )
            }
            (OverBudget::Total, true) => {
                format!(
                    "answers that are not sent yet exceed {} MiB: try again later, or stream it",
                    limits.total >> 20
                )
            }
        };
        ServiceError::ResourceExhausted { message, retry_after: RETRY_AFTER }
    }
}

/// What the client gets of a chunk.
fn content_bytes(chunk: &Chunk) -> usize {
    let Chunk { text, token_ids, prompt_logprobs, logprobs, eos_logprobs, estimate: _ } = chunk;
    let of_prompt = prompt_logprobs.iter().map(|entry| 1 + entry.top.len());
    let of_reply = logprobs.iter().map(|entry| 1 + entry.top.len());
    let ranked: usize = of_prompt.chain(of_reply).sum();
    text.len() + 4 * (token_ids.len() + eos_logprobs.len()) + LOGPROB_BYTES * ranked
}

#[cfg(test)]
mod tests {
    use eoscast_proto::domain::{RankedToken, TokenLogprob};
    use prometheus_client::metrics::gauge::Gauge;
    use tokio_stream::StreamExt;

    use super::*;
    use crate::bounds::{ByteBudget, ClientKey};

    fn reply(limits: ByteLimits, total: &Gauge) -> (ReplySender, ReplyStream) {
        let account = ByteBudget::new(limits, total.clone()).account(ClientKey::default());
        channel(RequestId::for_test("a"), account)
    }

    fn chunk() -> Chunk {
        let token = RankedToken::new(1, -1.0, b"a");
        let logprobs = vec![TokenLogprob { token: token.clone(), top: vec![token; 20], text_offset: 0 }];
        Chunk { text: "a".to_owned(), token_ids: vec![1], logprobs, ..Chunk::default() }
    }

    #[tokio::test]
    async fn what_is_read_no_longer_counts_and_a_reader_is_never_cut_off() {
        let total = Gauge::default();
        let (sender, mut stream) = reply(ByteLimits { account: 10_000, total: 10_000, client: 0 }, &total);
        for _ in 0..1000 {
            sender.send(chunk()).unwrap();
            assert!(total.get() > 1344);
            stream.next().await.unwrap().unwrap();
            assert_eq!(total.get(), 0);
        }
    }

    #[tokio::test]
    async fn a_reply_that_is_not_read_is_refused_more_and_all_is_given_back_in_the_end() {
        let total = Gauge::default();
        let (sender, stream) = reply(unread_limits(64 << 20), &total);
        let error = (0..1_000_000).find_map(|_| sender.send(chunk()).err()).unwrap();
        assert!(error.to_string().contains("does not read its reply: more than 16 MiB"), "{error}");
        assert!(total.get() <= 16 << 20);
        drop((sender, stream));
        assert_eq!(total.get(), 0);
    }

    #[tokio::test]
    async fn what_an_answer_gathers_counts_until_it_is_sent() {
        let total = Gauge::default();
        let (sender, mut stream) = reply(unread_limits(64 << 20), &total);
        let unread = stream.gather();
        let error = loop {
            if let Err(error) = sender.send(chunk()) {
                break error;
            }
            stream.next().await.unwrap().unwrap();
        };
        assert!(error.to_string().contains("the answer exceeds 16 MiB: ask for fewer"), "{error}");
        drop((sender, stream));
        assert!(total.get() > 15 << 20);
        drop(unread);
        assert_eq!(total.get(), 0);
    }

    #[tokio::test]
    async fn chunks_that_nobody_wants_are_not_kept() {
        let total = Gauge::default();
        let (sender, stream) = reply(unread_limits(64 << 20), &total);
        stream.skip_chunks();
        sender.send(chunk()).unwrap();
        assert_eq!(total.get(), 0);
    }
}
