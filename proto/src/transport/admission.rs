//! Who has to give way when a listener is full.
//!
//! Each [`Client`] is served alike, whatever others do: with many connections of a few clients, another client always gets in.
//!
//! 1. A newcomer whose client has fewer connections than the largest client displaces one of the largest's: first one that
//!    has not begun a request, then an idle one, then one with requests.
//! 2. A newcomer of a largest client displaces one of its own that has no requests. So a client with a flood without requests
//!    is still answered: its health check, for example.
//! 3. Otherwise the newcomer is refused.
//!
//! Of several, the oldest gives way.

use super::client::Client;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It has not begun a request.
    New,
    /// It had requests.
    Idle,
    /// It has requests.
    Busy,
}

/// A connection that may have to give way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Rises with each connection.
    pub(super) id: u64,
    pub(super) client: Client,
    /// Connections of that client.
    pub(super) siblings: usize,
    pub(super) phase: Phase,
}

/// Which of `open` gives way to `newcomer`, whose client has `own` connections, if the largest has so many; `None` if it is refused.
pub(super) fn victim(
    open: impl Iterator<Item = Candidate>,
    newcomer: Client,
    own: usize,
    largest: usize,
) -> Option<u64> {
    let gives_way = |candidate: &Candidate| {
        if own < largest {
            candidate.siblings == largest
        } else {
            candidate.client == newcomer && candidate.phase != Phase::Busy
        }
    };
    open.filter(gives_way).min_by_key(|candidate| (candidate.phase, candidate.id)).map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Busy, Idle, New};

    fn client(last: u8) -> Client {
        Client::at([127, 0, 0, last].into())
    }

    /// Who gives way to a newcomer from `from`, of connections from the least to the most recent.
    fn gives_way(open: &[(u8, Phase)], from: u8) -> Option<u64> {
        let count = |last: u8| open.iter().filter(|(other, _)| *other == last).count();
        let largest = open.iter().map(|(last, _)| count(*last)).max().unwrap();
        let candidates = (0..).zip(open).map(|(id, &(last, phase))| Candidate {
            id,
            client: client(last),
            siblings: count(last),
            phase,
        });
        victim(candidates, client(from), count(from), largest)
    }

    #[test]
    fn another_client_displaces_the_largest_even_if_it_is_busy() {
        assert_eq!(gives_way(&[(1, Busy), (2, Busy), (2, Busy)], 3), Some(1));
        assert_eq!(gives_way(&[(1, New), (2, Busy), (2, Busy)], 1), Some(1));
    }

    #[test]
    fn what_has_not_begun_goes_first_then_what_is_idle() {
        assert_eq!(gives_way(&[(1, Busy), (1, Idle), (1, New), (1, New)], 2), Some(2));
        assert_eq!(gives_way(&[(1, Busy), (1, Idle)], 2), Some(1));
    }

    #[test]
    fn the_largest_itself_displaces_only_its_own_that_have_no_request() {
        assert_eq!(gives_way(&[(2, New), (1, Busy), (1, Idle)], 1), Some(2));
        assert_eq!(gives_way(&[(2, New), (1, Busy), (1, Busy)], 1), None);
    }

    #[test]
    fn of_many_with_one_connection_each_the_oldest_gives_way_to_a_newcomer() {
        assert_eq!(gives_way(&[(1, Busy), (2, New), (3, New)], 4), Some(1));
    }
}
