//! More connections than there may be.

use eoscast_proto::transport::{Ending, Limits};

use crate::client::{Client, GET, HALF_HEADER};
use crate::server::{ENDLESS, Running, Server, forever};

const FEW: Limits = Limits { connections: 4, ..ENDLESS };

#[tokio::test]
async fn whoever_comes_to_a_listener_full_of_half_requests_is_answered() {
    let server = Server::answering(FEW).await;
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(Client::saying(server.addr, HALF_HEADER).await);
    }
    assert!(Client::new(server.addr).await.is_answered().await, "from the address of the flood");
    assert!(Client::from([127, 0, 0, 2].into(), server.addr).await.is_answered().await, "from another");
    server.until("no more than there may be", |counts| counts.open() <= 4).await;
    assert!(server.counts.ended(Ending::Displaced) >= 36);
    assert_eq!(server.counts.ended(Ending::Refused), 0);
}

#[tokio::test]
async fn requests_of_one_address_do_not_keep_another_out_nor_each_other_in() {
    let running = Running::default();
    let server = Server::http(FEW, forever(&running)).await;
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(Client::saying(server.addr, GET).await);
    }
    server.until("all run", |_| running.now() == 4).await;
    assert_eq!(Client::saying(server.addr, GET).await.all().await, "", "it has its share already");
    server.until_ended(1, Ending::Refused).await;
    let mut other = Client::from([127, 0, 0, 2].into(), server.addr).await;
    other.say(GET).await;
    server.until_ended(1, Ending::Displaced).await;
    first[0].all().await;
    server.until("the other runs", |_| running.now() == 4).await;
    assert!(other.is_open_after(std::time::Duration::from_millis(50)).await);
}

#[tokio::test]
async fn a_connection_that_ends_makes_room() {
    let server = Server::http(FEW, forever(&Running::default())).await;
    for round in 0..10 {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Client::saying(server.addr, GET).await);
        }
        server.until("all are in", |counts| counts.open() == 4).await;
        drop(clients);
        server.until("all have gone", |counts| counts.open() == 0).await;
        assert_eq!(server.counts.ended(Ending::Refused), 0, "round {round}");
    }
}
