//! Which request ids are in use.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use eoscast_proto::domain::RequestId;
use eoscast_proto::status::ServiceError;

/// Ids of live requests, so that a second one of the same name is refused at once.
#[derive(Clone, Default)]
pub(crate) struct LiveIds(Arc<Mutex<HashSet<RequestId>>>);

impl LiveIds {
    /// Takes an id until the result is dropped.
    ///
    /// # Errors
    /// `AlreadyExists` if the id is live.
    pub(crate) fn claim(&self, id: &RequestId) -> Result<LiveId, ServiceError> {
        let claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        if claimed {
            Ok(LiveId { ids: self.clone(), id: id.clone() })
        } else {
            Err(ServiceError::AlreadyExists(format!("request_id: {id} is in use by a live request")))
        }
    }

    pub(crate) fn list(&self) -> Vec<RequestId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn contains(&self, id: &RequestId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

/// Holds an id; dropping it makes the id free again.
pub(crate) struct LiveId {
    ids: LiveIds,
    id: RequestId,
}

impl Drop for LiveId {
    fn drop(&mut self) {
        self.ids.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
