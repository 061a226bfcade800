//! SIGKILL, again and again: no acknowledged step is lost or doubled, and only what ran in a killed worker fails.

use std::collections::HashSet;
use std::error::Error;
use std::time::{Duration, Instant};

use eoscast_proto::worker::v1::ForecastBasis;
use tonic::{Code, Status};

use crate::support::clients::{Clients, failures, tokens};
use crate::support::log::{agreement, replay};
use crate::support::services::{Launch, Services, Worker};
use crate::support::{percentile, resources, until};

const STREAMS: usize = 16;
const PREDICTOR_KILLS: u64 = 100;
const WORKER_KILLS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(30);

async fn has_estimates(worker: &Worker) -> bool {
    let link = worker.link().await;
    link.connected && link.basis() == ForecastBasis::Estimates
}

/// UNAVAILABLE. Tonic says UNKNOWN when a connection breaks below it; an UNKNOWN that a server sent has no source.
fn is_unavailable(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.code() == Code::Unknown && status.source().is_some()
}

pub(crate) async fn all_acknowledged(worker: &Worker) {
    until("all steps are acknowledged", PATIENCE, async || {
        let link = worker.link().await;
        link.sequence_number == link.acknowledged_sequence_number
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_predictor_killed_a_hundred_times_fails_no_request_and_loses_and_doubles_no_step() {
    let mut services = Services::start(Launch::default(), &Launch::default());
    let clients = Clients::start(services.worker.grpc, "kill", STREAMS, 120);
    until("estimates come", PATIENCE, async || has_estimates(&services.worker).await).await;
    let (start, mut seconds_to_estimates) = (Instant::now(), Vec::new());
    for kill in 0..PREDICTOR_KILLS {
        // At moments that have nothing to do with steps, and away for a moment or for long.
        tokio::time::sleep(Duration::from_millis(300 + kill * 7919 % 1100)).await;
        services.predictor.process.kill().unwrap();
        tokio::time::sleep(Duration::from_millis([0, 50, 300, 800][kill as usize % 4])).await;
        services.predictor.restart();
        let worker = &services.worker;
        seconds_to_estimates.push(until("estimates are back", PATIENCE, async || has_estimates(worker).await).await);
    }
    let outcomes = clients.finish().await;
    all_acknowledged(&services.worker).await;
    let link = services.worker.link().await;
    let found = agreement(services.predictor.data(), &outcomes);
    println!(
        "{PREDICTOR_KILLS} kills of the predictor in {:.0} s under {STREAMS} streams: {} requests, {} failed; {found:?}; \
         estimates back after {:.2} s at the median, {:.2} s at most; worker {:.0} MB, predictor {:.0} MB",
        start.elapsed().as_secs_f64(),
        outcomes.len(),
        failures(&outcomes).len(),
        percentile(&seconds_to_estimates, 50.0),
        percentile(&seconds_to_estimates, 100.0),
        resources::peak_mb(&services.worker.process),
        resources::peak_mb(&services.predictor.process),
    );
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert_eq!((found.lost, found.doubled, found.wrong), (0, 0, 0), "{found:?}");
    assert_eq!((found.outcomes_lost, found.outcomes_doubled), (0, 0), "{found:?}");
    assert_eq!(link.dropped_steps, 0);
    assert!(found.tokens > 1000, "too little ran to test anything");
    println!("{}", replay(services.predictor.data()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_worker_killed_twenty_times_fails_only_what_ran_with_unavailable() {
    let worker = Launch::with(&["--worker-id", "killed"]);
    let mut services = Services::start(Launch::with(&["--orphan-timeout", "5s"]), &worker);
    let (mut replies, mut broken, mut acknowledged) = (0, 0, 0);
    let mut seconds_to_start = Vec::new();
    let mut all = Vec::new();
    for round in 0..WORKER_KILLS {
        if round > 0 {
            let start = Instant::now();
            services.worker.restart(&worker);
            seconds_to_start.push(start.elapsed().as_secs_f64());
        }
        let clients = Clients::start(services.worker.grpc, &format!("round{round}"), STREAMS, 60);
        tokio::time::sleep(Duration::from_millis(2500 + round * 7919 % 1000)).await;
        // Whoever has seen a reply end finds its steps acknowledged once the link has come as far as it was then.
        let (seen, told) = (Instant::now(), services.worker.link().await.sequence_number);
        until("what clients have seen is acknowledged", PATIENCE, async || {
            services.worker.link().await.acknowledged_sequence_number >= told
        })
        .await;
        let killed = Instant::now();
        services.worker.process.kill().unwrap();
        let outcomes = clients.finish().await;
        for outcome in &outcomes {
            match &outcome.reply {
                Ok(_) => replies += 1,
                Err(status) => {
                    assert!(outcome.ended >= killed, "{} failed before the kill: {status}", outcome.request_id);
                    assert!(is_unavailable(status), "{}: {status}", outcome.request_id);
                    broken += usize::from(outcome.began < killed);
                }
            }
        }
        let ended = outcomes.into_iter().filter(|outcome| outcome.reply.is_ok() && outcome.ended < seen);
        let before = all.len();
        all.extend(ended);
        acknowledged += all.len() - before;
    }
    let predictor = &services.predictor;
    let orphans =
        until("requests of killed workers end", PATIENCE, async || predictor.metric("live_requests").await == 0.0)
            .await;
    let ids: HashSet<&str> = all.iter().map(|outcome| outcome.request_id.as_str()).collect();
    let found = agreement(services.predictor.data(), &all);
    println!(
        "{WORKER_KILLS} kills of the worker under {STREAMS} streams: {replies} replies, {broken} broken by the kills, all with \
         UNAVAILABLE; of {} replies ({} tokens) acknowledged before a kill: {found:?}; started again in {:.2} s at the median; \
         orphans ended after {orphans:.1} s",
        ids.len(),
        tokens(&all),
        percentile(&seconds_to_start, 50.0),
    );
    assert!(acknowledged > 20 && broken > 0, "too little ran to test anything");
    assert_eq!((found.lost, found.doubled, found.wrong, found.outcomes_doubled), (0, 0, 0, 0), "{found:?}");
    println!("{}", replay(services.predictor.data()));
}
