//! What metrics show of a listener.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Why the server ended a connection, or did not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The listener was full, and nobody had to give way.
    Refused,
    /// The listener was full, and a newcomer was let in.
    Displaced,
    /// No request had begun in time.
    NoRequest,
    /// No further request had begun in time.
    Idle,
    /// It was as old as it may be.
    Aged,
    /// The client did not take what was sent.
    Unread,
    /// The client had closed its side while a request was running.
    ClientGone,
    /// It held most of the bytes when all connections held too many.
    HeldBytes,
    /// The service stopped.
    Stopped,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Displaced,
        Self::NoRequest,
        Self::Idle,
        Self::Aged,
        Self::Unread,
        Self::ClientGone,
        Self::HeldBytes,
        Self::Stopped,
    ];

    /// As metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Displaced => "displaced",
            Self::NoRequest => "no_request",
            Self::Idle => "idle",
            Self::Aged => "aged",
            Self::Unread => "unread",
            Self::ClientGone => "client_gone",
            Self::HeldBytes => "held_bytes",
            Self::Stopped => "stopped",
        }
    }
}

/// What a listener counts.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) open: AtomicUsize,
    pub(super) held_bytes: AtomicUsize,
    pub(super) accept_errors: AtomicU64,
    pub(super) slow_bodies: AtomicU64,
    pub(super) unread_responses: AtomicU64,
    endings: [AtomicU64; Ending::ALL.len()],
}

impl Counts {
    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Bytes of unfinished requests and unsent responses.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// Errors of accepting.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Requests refused because their bodies did not arrive in time.
    pub fn slow_bodies(&self) -> u64 {
        self.slow_bodies.load(Ordering::Relaxed)
    }

    /// Responses given up because their clients did not read them, while the connection went on.
    pub fn unread_responses(&self) -> u64 {
        self.unread_responses.load(Ordering::Relaxed)
    }

    /// Connections that the server ended, or did not take, for this reason.
    pub fn ended(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, ending: Ending) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
    }
}
