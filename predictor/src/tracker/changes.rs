//! [`Changes`]: which live requests have changed since somebody looked, so that a view of all of them costs what has changed.

use eoscast_log::record::Lines;
use eoscast_proto::domain::{RequestId, RequestState, WorkerId};

/// Names a live request; live requests are listed in this order.
pub type RequestKey = (WorkerId, RequestId);

/// Most changed requests, and most ended ones, that are kept for the next look.
pub(super) const MOST_NOTED: usize = 131_072;

/// What has changed since the last look.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Live requests, each once: they are marked.
    pub(super) changed: Vec<RequestKey>,
    pub(super) ended: Vec<RequestKey>,
    /// There were more than are kept. Nothing is kept or noted then.
    pub(super) is_incomplete: bool,
}

/// What changed since it was taken last.
#[derive(Debug)]
pub struct TakenChanges {
    /// Requests that have ended. One of the same name may have begun since.
    pub ended: Vec<RequestKey>,
    /// Requests that have begun or taken a step.
    pub changed: Vec<RequestState>,
    /// Whether there is more to take.
    pub has_more: bool,
}

impl Changes {
    /// Notes the requests that have ended.
    pub(super) fn note_ends(&mut self, lines: &Lines) {
        self.note(|noted| {
            noted.ended.extend(lines.requests.iter().map(|line| (line.worker_id.clone(), line.request_id.clone())));
        });
    }

    /// Lets `add` note something, and drops everything if that is more than is kept: the view begins anew then.
    pub(super) fn note(&mut self, add: impl FnOnce(&mut Self)) {
        if self.is_incomplete {
            return;
        }
        add(self);
        if self.changed.len().max(self.ended.len()) > MOST_NOTED {
            *self = Self { is_incomplete: true, ..Self::default() };
        }
    }
}
