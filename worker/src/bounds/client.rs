//! Who counts as one client.

use std::net::IpAddr;

use axum::http::Extensions;
use eoscast_proto::transport::{Client, Peer};

/// Who shares a place with whom: requests of one client. Those from nowhere, as of tests and of commands without a server, are
/// one client together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ClientKey(Option<Client>);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        Self(Some(Client::at(address)))
    }
}

/// The client of a call over HTTP or gRPC.
pub(crate) fn client_of(extensions: &Extensions) -> ClientKey {
    extensions.get().map_or_else(ClientKey::default, |Peer(address)| address.ip().into())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_call_belongs_to_the_address_that_it_came_from() {
        let mut extensions = Extensions::new();
        assert_eq!(client_of(&extensions), ClientKey::default());
        extensions.insert(Peer(SocketAddr::from(([10, 0, 0, 1], 5000))));
        assert_eq!(client_of(&extensions), IpAddr::from([10, 0, 0, 1]).into());
    }
}
