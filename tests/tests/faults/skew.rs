//! One side of an older release: `make faults` builds it from the commit that the Makefile pins.

use std::path::PathBuf;
use std::time::Duration;

use crate::kills::all_acknowledged;
use crate::support::clients::{Clients, failures};
use crate::support::log::{agreement, replay};
use crate::support::services::{Launch, Predictor, Worker};

fn older() -> PathBuf {
    let folder = std::env::var("EOSCAST_OLDER_BINARIES");
    folder.expect("EOSCAST_OLDER_BINARIES names the folder of the older binaries; `make faults` builds them").into()
}

/// Replies with estimates before and after a restart of the predictor, and a log that tells of each token once.
async fn work_together(what: &str, predictor: Launch, worker: Launch) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut predictor = Predictor::start(&data, predictor);
    let worker = Worker::start(&predictor.url(), &worker);
    let clients = Clients::start(worker.grpc, "skew", 8, 64);
    tokio::time::sleep(Duration::from_secs(4)).await;
    predictor.restart();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let outcomes = clients.finish().await;
    all_acknowledged(&worker).await;
    let with = outcomes.iter().filter(|outcome| matches!(outcome.reply, Ok((_, estimates)) if estimates > 0)).count();
    let found = agreement(&data, &outcomes);
    println!(
        "{what}: {} requests, {} failed, {with} with estimates; {found:?}",
        outcomes.len(),
        failures(&outcomes).len()
    );
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert!(2 * with > outcomes.len(), "{with} of {} replies carried estimates", outcomes.len());
    assert_eq!((found.lost, found.doubled, found.wrong), (0, 0, 0), "{found:?}");
    assert_eq!((found.outcomes_lost, found.outcomes_doubled), (0, 0), "{found:?}");
    println!("{}", replay(&data));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn an_older_worker_works_with_this_predictor() {
    work_together("an older worker with this predictor", Launch::default(), Launch::default().from(&older())).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn this_worker_works_with_an_older_predictor() {
    work_together("this worker with an older predictor", Launch::default().from(&older()), Launch::default()).await;
}
