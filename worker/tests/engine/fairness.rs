//! Clients that share the queue.

use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use eoscast_proto::status::ServiceError;
use eoscast_worker::engine::{EngineHandle, PreparedRequest, ReplyStream};
use eoscast_worker::runner::scripted::peaked_logits;

use super::support::{ROOMY, Setup, VOCAB, stepwise, until};
use super::{collect, request};

fn from(client: u8, id: &str) -> PreparedRequest {
    PreparedRequest { client: IpAddr::from([10, 0, 0, client]).into(), ..request(id, "hi", 1) }
}

/// One request of client 1 runs and so many wait; all go on, a token in a millisecond, when the sender is dropped.
async fn flooded(setup: &Setup, flood: usize) -> (EngineHandle, Vec<ReplyStream>, Sender<()>) {
    let (allow, script) = stepwise(|_| {
        std::thread::sleep(Duration::from_millis(1));
        peaked_logits(VOCAB, 65)
    });
    let (engine, _) = setup.start(script);
    let first = PreparedRequest { max_tokens: 3, ..from(1, "first") };
    let mut replies = vec![engine.submit(first).unwrap()];
    allow.send(()).unwrap();
    until("the first runs", || engine.metrics().load().0.running_requests == 1).await;
    replies.extend((0..flood).map(|i| engine.submit(from(1, &format!("flood{i}"))).unwrap()));
    (engine, replies, allow)
}

#[tokio::test]
async fn a_flood_does_not_make_another_client_wait_for_all_of_it() {
    let setup = Setup { max_running: 1, max_waiting: 200, ..ROOMY };
    let (engine, flood, allow) = flooded(&setup, 100).await;
    let reply = engine.submit(from(2, "other")).unwrap();
    drop(allow);
    let other = collect(reply).await.unwrap().complete.total;
    let mut before = 0;
    for reply in flood {
        before += usize::from(collect(reply).await.unwrap().complete.total < other);
    }
    // The one that ran, and those that the scheduler sees beside it.
    assert!(before <= 17, "{before} of 101 went before it");
}

#[tokio::test]
async fn in_a_full_queue_a_client_with_fewer_gets_the_place_of_the_newest_of_one_with_more() {
    let setup = Setup { max_running: 1, max_waiting: 4, ..ROOMY };
    let (engine, mut flood, allow) = flooded(&setup, 4).await;
    assert!(matches!(engine.submit(from(1, "more")), Err(ServiceError::ResourceExhausted { .. })));
    let others = [engine.submit(from(2, "a")).unwrap(), engine.submit(from(2, "b")).unwrap()];
    assert!(matches!(engine.submit(from(2, "c")), Err(ServiceError::ResourceExhausted { .. })), "it has its share");
    drop(allow);
    for reply in others {
        collect(reply).await.unwrap();
    }
    let evicted = [flood.pop().unwrap(), flood.pop().unwrap()];
    for reply in evicted {
        let error = collect(reply).await.err().unwrap();
        assert!(matches!(error, ServiceError::ResourceExhausted { .. }), "{error}");
    }
    for reply in flood {
        collect(reply).await.unwrap();
    }
}
