//! Envoy sends fewer requests to a worker whose memory will be in use.

use std::time::Duration;

use eoscast_pair::client::chat;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::clients::{failures, one};
use crate::support::cluster::{Cluster, Container, ENVOY, WORKER, WORKERS};
use crate::support::until;

const CALLS: usize = 600;
const CALLERS: usize = 12;
/// Long replies that one worker generates meanwhile, for clients that call it without Envoy.
const LONG_REPLIES: u64 = 16;
const LONG_TOKENS: u32 = 1_800;
/// Equal shares are a third.
const MOST_OF_LOADED: f64 = 0.2;

fn forecast_load(worker: &Container) -> f64 {
    worker.metric(&WORKER, "eoscast_forecast_load")
}

/// Requests that ended by themselves or came to their limit.
fn served(worker: &Container) -> f64 {
    worker.metric(&WORKER, "eoscast_request_success_total")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn a_worker_loaded_by_hand_gets_a_smaller_share_of_the_calls() {
    let cluster = Cluster::settled().await;
    let (workers, envoy) = (cluster.workers(), cluster.only("envoy"));
    let loaded = &workers[0];
    let mut long = JoinSet::new();
    for reply in 0..LONG_REPLIES {
        let mut request = chat(&format!("long-{reply}"), "Tell a story.", reply, LONG_TOKENS);
        request.sampling_params.as_mut().unwrap().ignore_eos = true;
        long.spawn(one(loaded.address(50051), request));
    }
    until("its forecast load is ten times that of an idle worker", async || forecast_load(loaded) > 0.1).await;
    let sessions = "envoy_cluster_lb_orca_oob_active_sessions";
    until("all report to Envoy, for gRPC and HTTP", async || envoy.metric(&ENVOY, sessions) == 2.0 * WORKERS as f64)
        .await;
    // Two periods of Envoy's weights.
    sleep(Duration::from_secs(1)).await;

    let before: Vec<f64> = workers.iter().map(served).collect();
    let callers = (0..CALLERS).map(|caller| {
        let to = cluster.published("envoy", "50051");
        async move {
            let mut outcomes = Vec::new();
            for call in 0..CALLS / CALLERS {
                outcomes.push(one(to, chat(&format!("call-{caller}-{call}"), "Name a colour.", call as u64, 2)).await);
            }
            outcomes
        }
    });
    let mut calls: JoinSet<_> = callers.collect();
    let (mut outcomes, mut loads) = (Vec::new(), Vec::new());
    while !calls.is_empty() {
        loads.push(workers.iter().map(forecast_load).collect::<Vec<f64>>());
        let sample = sleep(Duration::from_secs(1));
        tokio::select! {
            Some(ended) = calls.join_next() => outcomes.extend(ended.unwrap()),
            () = sample => {}
        }
    }
    assert_eq!(long.try_join_next().map(|ended| ended.unwrap().request_id), None, "the worker was loaded to the end");
    let shares: Vec<f64> =
        workers.iter().zip(&before).map(|(worker, before)| (served(worker) - before) / CALLS as f64).collect();
    long.shutdown().await;

    for (at, worker) in workers.iter().enumerate() {
        let mean = loads.iter().map(|loads| loads[at]).sum::<f64>() / loads.len() as f64;
        println!("{}: {:.1} % of {CALLS} calls, forecast load {mean:.3}", worker.name(), 100.0 * shares[at]);
    }
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 0.01, "each call ran once: {shares:?}");
    assert!(shares[0] < MOST_OF_LOADED, "the loaded worker got {:.1} %", 100.0 * shares[0]);
}
