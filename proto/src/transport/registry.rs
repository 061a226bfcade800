//! Who is connected to a listener.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::admission::victim;
use super::client::Client;
use super::connection::{Connection, Shared};
use super::counts::Ending;

/// Connections that are being closed while others have come already. Within the descriptors that are kept free.
const CLOSING_BESIDE: usize = 8;

/// The connections of a listener.
pub(super) struct Registry {
    shared: Arc<Shared>,
    has_preface: bool,
    open: Mutex<Open>,
    /// A connection has come or gone.
    changed: Notify,
}

#[derive(Default)]
struct Open {
    last_id: u64,
    /// Oldest first.
    connections: BTreeMap<u64, Arc<Connection>>,
    /// How many of them each client has.
    clients: HashMap<Client, Arc<AtomicUsize>>,
    /// Connections that were displaced and are not closed yet.
    leaving: usize,
}

impl Open {
    fn of(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn victim(&self, newcomer: Client) -> Option<u64> {
        let largest = self.clients.values().map(|count| count.load(Ordering::Relaxed)).max()?;
        let staying = self.connections.values().filter(|one| !one.is_cut()).map(|one| one.candidate());
        victim(staying, newcomer, self.of(newcomer), largest)
    }

    fn insert(
        &mut self,
        connection: impl FnOnce(u64, Arc<AtomicUsize>) -> Arc<Connection>,
        client: Client,
    ) -> Arc<Connection> {
        self.last_id += 1;
        let siblings = Arc::clone(self.clients.entry(client).or_default());
        siblings.fetch_add(1, Ordering::Relaxed);
        let connection = connection(self.last_id, siblings);
        self.connections.insert(self.last_id, Arc::clone(&connection));
        connection
    }

    /// The connection, unless it was taken out before.
    fn take(&mut self, id: u64) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        if let Some(count) = self.clients.get(&connection.client)
            && count.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.clients.remove(&connection.client);
        }
        Some(connection)
    }
}

/// What becomes of a newcomer.
pub(super) enum Admission {
    /// It is in.
    Taken(Registered),
    /// The same, and another has to go.
    Displacing(Registered),
    Refused,
}

/// A connection as long as it lasts.
pub(super) struct Registered {
    registry: Arc<Registry>,
    pub(super) connection: Arc<Connection>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.registry.open();
        if open.take(self.connection.id).is_none() {
            open.leaving -= 1;
        }
        drop(open);
        self.registry.shared.counts.open.fetch_sub(1, Ordering::Relaxed);
        self.registry.changed.notify_waiters();
    }
}

impl Registry {
    pub(super) fn new(shared: Arc<Shared>, has_preface: bool) -> Arc<Self> {
        Arc::new(Self { shared, has_preface, open: Mutex::default(), changed: Notify::new() })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Admission {
        let mut open = self.open();
        let client = Client::at(peer.ip());
        let is_full = open.connections.len() >= self.shared.limits.connections;
        if is_full {
            let victim = open.victim(client).and_then(|id| open.take(id));
            let Some(victim) = victim else {
                self.shared.counts.count(Ending::Refused);
                return Admission::Refused;
            };
            open.leaving += 1;
            victim.cut(Ending::Displaced);
        }
        let make =
            |id, siblings| Connection::new(Arc::clone(&self.shared), id, stream, peer, siblings, self.has_preface);
        let connection = open.insert(make, client);
        self.shared.counts.open.fetch_add(1, Ordering::Relaxed);
        drop(open);
        self.changed.notify_waiters();
        let registered = Registered { registry: Arc::clone(self), connection };
        if is_full { Admission::Displacing(registered) } else { Admission::Taken(registered) }
    }

    /// All that are connected, oldest first, without those that were displaced.
    pub(super) fn all(&self) -> Vec<Arc<Connection>> {
        self.open().connections.values().cloned().collect()
    }

    async fn until(&self, holds: impl Fn(usize) -> bool) {
        loop {
            let changed = self.changed.notified();
            let open = {
                let open = self.open();
                open.connections.len() + open.leaving
            };
            if holds(open) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until those that were displaced have been closed, but for a few.
    pub(super) async fn has_room(&self) {
        self.until(|open| open < self.shared.limits.connections + CLOSING_BESIDE).await;
    }

    pub(super) async fn is_empty(&self) {
        self.until(|open| open == 0).await;
    }

    pub(super) async fn is_not_empty(&self) {
        self.until(|open| open > 0).await;
    }
}
