//! Memory that is kept for clients: so much for one thing, so much in total, and beyond the total so much a client, so that those who
//! fill it do not shut out the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::metrics::gauge::Gauge;

use super::client::ClientKey;

/// Entries of clients without memory that are kept before they are cleared.
const MOST_IDLE_CLIENTS: usize = 64;

/// Limits in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteLimits {
    /// Of one account.
    pub(crate) account: usize,
    /// Of all accounts.
    pub(crate) total: usize,
    /// Of one client while the total is used up, until as much again is used.
    pub(crate) client: usize,
}

/// Which limit bytes would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverBudget {
    Account,
    Total,
}

/// Memory for one kind of thing.
pub(crate) struct ByteBudget {
    limits: ByteLimits,
    /// In use; read by metrics as well.
    total: Gauge,
    clients: Mutex<HashMap<ClientKey, Weak<AtomicUsize>>>,
}

/// What one thing of a client uses; dropping it gives all of it back.
pub(crate) struct ByteAccount {
    budget: Arc<ByteBudget>,
    client: Arc<AtomicUsize>,
    used: AtomicUsize,
}

impl ByteBudget {
    pub(crate) fn new(limits: ByteLimits, total: Gauge) -> Arc<Self> {
        Arc::new(Self { limits, total, clients: Mutex::default() })
    }

    /// An empty account of `client`.
    pub(crate) fn account(self: &Arc<Self>, client: ClientKey) -> ByteAccount {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.get(&client).and_then(Weak::upgrade);
        let of_client = known.unwrap_or_else(|| {
            if clients.len() >= MOST_IDLE_CLIENTS {
                clients.retain(|_, used| used.strong_count() > 0);
            }
            let used = Arc::new(AtomicUsize::new(0));
            clients.insert(client, Arc::downgrade(&used));
            used
        });
        ByteAccount { budget: Arc::clone(self), client: of_client, used: AtomicUsize::new(0) }
    }
}

// The counts are statistics of their own: nothing else is read by them, so that no order among atomics matters.
impl ByteAccount {
    /// Takes so many bytes more, or none.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), OverBudget> {
        let limits = self.budget.limits;
        self.force(bytes);
        let (total, most) = (self.budget.total.get(), limits.total as i64);
        let has_share = self.client.load(Ordering::Relaxed) <= limits.client && total <= 2 * most;
        let over = if self.used() > limits.account {
            Some(OverBudget::Account)
        } else if total > most && !has_share {
            Some(OverBudget::Total)
        } else {
            None
        };
        over.map_or(Ok(()), |over| {
            self.give_back(bytes);
            Err(over)
        })
    }

    /// Takes so many bytes whether or not they are there.
    pub(crate) fn force(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.client.fetch_add(bytes, Ordering::Relaxed);
        self.budget.total.inc_by(bytes as i64);
    }

    /// Gives back bytes that were taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.client.fetch_sub(bytes, Ordering::Relaxed);
        self.budget.total.dec_by(bytes as i64);
    }

    pub(crate) fn limits(&self) -> ByteLimits {
        self.budget.limits
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for ByteAccount {
    fn drop(&mut self) {
        self.give_back(self.used());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u8) -> ClientKey {
        IpAddr::from([10, 0, 0, number]).into()
    }

    fn budget() -> Arc<ByteBudget> {
        ByteBudget::new(ByteLimits { account: 100, total: 150, client: 10 }, Gauge::default())
    }

    #[test]
    fn an_account_has_its_limit_and_so_have_all_together() {
        let budget = budget();
        let [first, second] = [budget.account(client(1)), budget.account(client(1))];
        assert_eq!(first.take(101), Err(OverBudget::Account));
        assert_eq!((first.take(100), second.take(50)), (Ok(()), Ok(())));
        assert_eq!((second.take(1), second.used()), (Err(OverBudget::Total), 50));
        drop(first);
        assert_eq!((second.take(50), budget.total.get()), (Ok(()), 100));
    }

    #[test]
    fn a_client_has_a_little_even_when_others_have_taken_all() {
        let budget = budget();
        let greedy = [budget.account(client(1)), budget.account(client(1))];
        assert_eq!((greedy[0].take(100), greedy[1].take(50)), (Ok(()), Ok(())));
        let [one, two] = [budget.account(client(2)), budget.account(client(2))];
        assert_eq!((one.take(6), two.take(4), two.take(1)), (Ok(()), Ok(()), Err(OverBudget::Total)));
        drop((greedy, one, two));
        assert_eq!(budget.total.get(), 0);
    }

    #[test]
    fn many_clients_take_no_more_than_as_much_again() {
        let budget = budget();
        let accounts: Vec<_> = (0..100).map(|number| budget.account(client(number))).collect();
        let taken = accounts.iter().filter(|account| account.take(10).is_ok()).count();
        assert_eq!((taken, budget.total.get()), (30, 300));
    }

    #[test]
    fn clients_without_memory_are_forgotten() {
        let budget = budget();
        for number in 0..=255 {
            drop(budget.account(client(number)));
        }
        assert!(budget.clients.lock().unwrap().len() <= MOST_IDLE_CLIENTS);
    }
}
