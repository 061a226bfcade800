//! The predictor is killed, cut off from the network, and taken down with everything else.

use std::time::Duration;

use crate::support::clients::{Clients, failures, tokens};
use crate::support::cluster::{Cluster, Container, PREDICTOR, WORKER, docker};
use crate::support::http::{self, HttpClients};
use crate::support::log::{agreement, replay};
use crate::support::until;

const CUT_OFF: Duration = Duration::from_secs(20);

fn steps(worker: &Container, bases: &[&str]) -> f64 {
    let label = |basis: &&str| format!("basis=\"{basis}\"");
    let text = http::get(worker.address(WORKER.port), WORKER.path);
    let lines = text.lines().filter(|line| line.starts_with("eoscast_steps_by_forecast_basis_total"));
    let lines = lines.filter(|line| bases.iter().any(|basis| line.contains(&label(basis))));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).fold(0.0, |sum, value| sum + value)
}

/// Waits until each worker has scheduled further steps on one of `bases`.
async fn all_schedule_by(workers: &[Container], bases: &[&str]) {
    for worker in workers {
        let before = steps(worker, bases);
        let what = format!("{} schedules by {bases:?}", worker.name());
        until(&what, async || steps(worker, bases) > before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn a_predictor_killed_and_cut_off_fails_no_request_and_its_log_is_complete() {
    let cluster = Cluster::settled().await;
    let (workers, predictor) = (cluster.workers(), cluster.only("predictor"));
    let network = predictor.inspect("{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}");
    let clients = Clients::start(cluster.published("envoy", "50051"), "predictor", 9, 64);
    let http_clients = HttpClients::start(cluster.published("envoy", "8080"), 3, 32);
    all_schedule_by(&workers, &["estimate"]).await;

    predictor.kill();
    all_schedule_by(&workers, &["prior", "worst_case"]).await;
    predictor.start();
    all_schedule_by(&workers, &["estimate"]).await;

    docker(&["network", "disconnect", &network, &predictor.id]);
    let cut_off = tokio::time::sleep(CUT_OFF);
    all_schedule_by(&workers, &["prior", "worst_case"]).await;
    cut_off.await;
    docker(&["network", "connect", "--alias", "predictor", &network, &predictor.id]);
    all_schedule_by(&workers, &["estimate"]).await;

    let (outcomes, http_outcomes) = (clients.finish().await, http_clients.finish().await);
    cluster.all_acknowledged().await;
    let log = tempfile::tempdir().unwrap();
    cluster.copy_log(log.path());
    let found = agreement(log.path(), &outcomes);
    println!(
        "predictor killed, then cut off for 20 s: {} requests over gRPC ({} tokens) and {} over HTTP; {found:?}",
        outcomes.len(),
        tokens(&outcomes),
        http_outcomes.len()
    );
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert!(http::failures(&http_outcomes).is_empty(), "{:?}", http::failures(&http_outcomes));
    assert_eq!((found.lost, found.doubled, found.wrong), (0, 0, 0), "{found:?}");
    assert_eq!((found.outcomes_lost, found.outcomes_doubled), (0, 0), "{found:?}");
    assert!(found.tokens > 500, "too little ran to test anything");
    let dropped = |worker: &Container| worker.metric(&WORKER, "eoscast_predictor_dropped_steps_total");
    assert_eq!(workers.iter().map(dropped).sum::<f64>(), 0.0);
    assert_eq!(predictor.metric(&PREDICTOR, "eoscast_predictor_log_lost_lines_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn the_log_and_what_was_learned_survive_down_and_up() {
    let cluster = Cluster::settled().await;
    let clients = Clients::start(cluster.published("envoy", "50051"), "survive", 6, 16);
    until("some requests have ended", async || cluster.model().await.outcomes >= 6).await;
    let outcomes = clients.finish().await;
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    cluster.all_acknowledged().await;
    let before = cluster.model().await;

    cluster.compose(&["down"]);
    assert!(cluster.containers("predictor").is_empty());
    cluster.compose(&["up", "--detach", "--scale", "worker=3"]);
    cluster.settle().await;

    let after = cluster.model().await;
    println!("{} outcomes before `down`, {} after `up`", before.outcomes, after.outcomes);
    assert_eq!((after.outcomes, after.prior), (before.outcomes, before.prior));
    let log = tempfile::tempdir().unwrap();
    cluster.copy_log(log.path());
    let found = agreement(log.path(), &outcomes);
    assert_eq!((found.lost, found.doubled, found.outcomes_lost, found.outcomes_doubled), (0, 0, 0, 0), "{found:?}");
    println!("{}", replay(log.path()));
}
