//! [`Worker`]: how far the messages of one worker are applied, and its live requests.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use eoscast_proto::domain::RequestId;

use super::live::LiveRequest;

/// Names one open stream; later streams have larger numbers.
pub type StreamId = u64;

#[derive(Default)]
pub(super) struct Worker {
    pub(super) epoch: u64,
    pub(super) last_applied: u64,
    /// A place is empty while the request's step is [taken out](Self::take).
    pub(super) live: BTreeMap<RequestId, Option<Box<LiveRequest>>>,
    pub(super) stream: Option<StreamId>,
    /// Since when there is no stream.
    pub(super) alone_since: Option<Instant>,
    /// It had no stream for so long that its requests were ended. It may come back as any run.
    pub(super) is_given_up: bool,
    /// Highest sequence number found in the log after a restart. That message may be only partly written, so it counts as not
    /// applied.
    pub(super) last_logged: u64,
    /// Requests that finished in that message, as the log knows.
    pub(super) finished_last: HashSet<RequestId>,
}

/// What [`Worker::take`] finds.
pub(super) enum Taken {
    Live(Box<LiveRequest>),
    /// It is taken out already.
    Out,
    Unknown,
}

impl Worker {
    /// The last message that is known, though perhaps not applied.
    pub(super) fn last_known(&self) -> u64 {
        self.last_applied.max(self.last_logged)
    }

    /// Takes a live request out of its place. It is [put back](Self::put_back) or [forgotten](Self::forget) later.
    pub(super) fn take(&mut self, id: &RequestId) -> Taken {
        match self.live.get_mut(id).map(Option::take) {
            Some(Some(live)) => Taken::Live(live),
            Some(None) => Taken::Out,
            None => Taken::Unknown,
        }
    }

    pub(super) fn put_back(&mut self, id: &RequestId, live: Box<LiveRequest>) {
        if let Some(place) = self.live.get_mut(id) {
            *place = Some(live);
        }
    }

    pub(super) fn forget(&mut self, id: &RequestId) {
        self.live.remove(id);
    }

    pub(super) fn get(&self, id: &RequestId) -> Option<&LiveRequest> {
        self.live.get(id)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: &RequestId) -> Option<&mut LiveRequest> {
        self.live.get_mut(id)?.as_deref_mut()
    }

    /// Takes all live requests out for good.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Box<LiveRequest>> + use<> {
        std::mem::take(&mut self.live).into_values().flatten()
    }
}
