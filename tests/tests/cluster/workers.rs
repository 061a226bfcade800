//! Workers are killed, and restarted one after the other, under load.

use std::error::Error;
use std::time::Instant;

use tonic::{Code, Status};

use crate::support::clients::{Clients, failures};
use crate::support::cluster::{Cluster, Container, WORKER};
use crate::support::http::{self, HttpClients};
use crate::support::until;

/// UNAVAILABLE; or INTERNAL made by the client's library, because Envoy resets a stream that has begun when its worker is gone.
fn tells_of_a_broken_worker(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.code() == Code::Internal && status.source().is_some()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn a_killed_worker_fails_only_what_ran_in_it() {
    let cluster = Cluster::settled().await;
    let victim = cluster.workers().swap_remove(0);
    let clients = Clients::start(cluster.published("envoy", "50051"), "killed", 9, 48);
    let http_clients = HttpClients::start(cluster.published("envoy", "8080"), 3, 48);
    until("it runs requests", async || victim.metric(&WORKER, "eoscast_num_requests_running") >= 3.0).await;
    let before_kill = Instant::now();
    victim.kill();
    let killed = Instant::now();
    let noticed = until("Envoy sends it nothing more", async || cluster.healthy_in_envoy() == [2.0; 2]).await;
    let generated = |workers: &[Container]| -> f64 {
        workers.iter().map(|worker| worker.metric(&WORKER, "eoscast_request_success_total")).sum()
    };
    let others = cluster.workers();
    let before = generated(&others);
    until("the others serve on", async || generated(&others) >= before + 20.0).await;
    let (outcomes, http_outcomes) = (clients.finish().await, http_clients.finish().await);
    victim.start();
    cluster.settle().await;

    let (failed, http_failed) = (failures(&outcomes), http::failures(&http_outcomes));
    println!(
        "a killed worker: {} of {} requests over gRPC and {} of {} over HTTP failed; Envoy without it after {noticed:.1} s",
        failed.len(),
        outcomes.len(),
        http_failed.len(),
        http_outcomes.len()
    );
    assert!(!failed.is_empty() || !http_failed.is_empty(), "nothing ran in it");
    for outcome in &outcomes {
        let Err(status) = &outcome.reply else { continue };
        let ran_in_it = outcome.began < killed && outcome.ended > before_kill;
        assert!(ran_in_it, "{} failed before or after the kill: {status}", outcome.request_id);
        assert!(tells_of_a_broken_worker(status), "{}: {status}", outcome.request_id);
    }
    for outcome in &http_outcomes {
        let Some(error) = &outcome.error else { continue };
        assert!(outcome.began < killed, "a request failed after the kill: {error}");
        assert!(matches!(error, ureq::Error::StatusCode(502 | 503)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn a_rolling_restart_of_all_workers_fails_no_request() {
    let cluster = Cluster::settled().await;
    let clients = Clients::start(cluster.published("envoy", "50051"), "rolling", 9, 32);
    let http_clients = HttpClients::start(cluster.published("envoy", "8080"), 3, 32);
    let mut seconds = Vec::new();
    for worker in cluster.workers() {
        let start = Instant::now();
        worker.stop();
        worker.start();
        cluster.settle().await;
        seconds.push(start.elapsed().as_secs());
    }
    let (outcomes, http_outcomes) = (clients.finish().await, http_clients.finish().await);
    println!(
        "each worker stopped and started, in {seconds:?} s: {} requests over gRPC, {} over HTTP",
        outcomes.len(),
        http_outcomes.len()
    );
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert!(http::failures(&http_outcomes).is_empty(), "{:?}", http::failures(&http_outcomes));
    assert!(outcomes.len() + http_outcomes.len() > 30, "too little ran to test anything");
}
