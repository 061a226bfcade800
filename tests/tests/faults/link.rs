//! The stream between worker and predictor stalls, breaks, delays, and has much to announce: no request fails, and estimates
//! come back.

use std::time::{Duration, Instant};

use eoscast_pair::client::{chat, generate};
use eoscast_proto::worker::v1::{ForecastBasis, PredictorLink};
use tokio::task::JoinSet;

use crate::kills::all_acknowledged;
use crate::support::clients::{Clients, failures};
use crate::support::log::{agreement, replay};
use crate::support::proxy::{Proxy, Weather};
use crate::support::services::{Launch, Predictor, Services, Worker};
use crate::support::until;

const PATIENCE: Duration = Duration::from_secs(40);
/// So many that a step takes long: of the longest stall the worker can keep all steps, on a fast machine too.
const CLIENTS: usize = 64;

fn gives_estimates(link: &PredictorLink) -> bool {
    link.connected && link.basis() == ForecastBasis::Estimates
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_link_that_stalls_breaks_and_delays_fails_no_request_and_estimates_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let predictor = Predictor::start(&folder.path().join("data"), Launch::default());
    let proxy = Proxy::start(predictor.grpc).await;
    let worker = Worker::start(&proxy.url(), &Launch::default());
    let clients = Clients::start(worker.grpc, "link", CLIENTS, 100);
    until("estimates come", PATIENCE, async || gives_estimates(&worker.link().await)).await;
    let spells = [
        ("stalled for 5 s", Weather::Stalled, 5000),
        ("broken for a moment", Weather::Broken, 50),
        ("broken for 4 s", Weather::Broken, 4000),
        ("delayed by 200 ms for 6 s", Weather::Delayed(Duration::from_millis(200)), 6000),
        ("stalled for 40 s, beyond the keep-alive", Weather::Stalled, 40_000),
    ];
    for (what, weather, millis) in spells {
        let reconnects = worker.link().await.reconnects;
        proxy.set(weather);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let during = worker.link().await;
        proxy.set(Weather::Clear);
        let back = until("estimates are back", PATIENCE, async || gives_estimates(&worker.link().await)).await;
        println!(
            "a link {what}: scheduled by {:?} at its end, {} reconnects, estimates back after {back:.2} s",
            during.basis(),
            worker.link().await.reconnects - reconnects
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let outcomes = clients.finish().await;
    all_acknowledged(&worker).await;
    let found = agreement(predictor.data(), &outcomes);
    let dropped = worker.link().await.dropped_steps as usize;
    println!("{} requests, {} failed; {found:?}; {dropped} steps dropped", outcomes.len(), failures(&outcomes).len());
    assert!(failures(&outcomes).is_empty(), "{:?}", failures(&outcomes));
    assert_eq!((found.lost, found.doubled, found.wrong, found.outcomes_doubled), (0, 0, 0, 0), "{found:?}");
    println!("{}", replay(predictor.data()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: make faults"]
async fn a_predictor_restarted_under_three_hundred_long_prompts_is_told_of_all_of_them() {
    const PROMPTS: usize = 300;
    let mut services = Services::start(Launch::default(), &Launch::default());
    let mut waiting = JoinSet::new();
    for number in 0..PROMPTS {
        let text: String = format!("{number} {}", "word ".repeat(4000)).chars().take(16_384).collect();
        let client = services.worker.client().await;
        waiting.spawn(generate(client, chat(&format!("long{number}"), &text, 1, 50)));
    }
    let worker = &services.worker;
    until("all wait", PATIENCE, async || {
        let load = worker.load().await;
        (load.running_requests + load.waiting_requests) as usize >= PROMPTS - 5
    })
    .await;
    until("all are announced", PATIENCE, async || services.predictor.metric("live_requests").await >= 290.0).await;
    services.predictor.restart();
    let (start, before) = (Instant::now(), services.worker.link().await);
    let told = until("steps taken after the restart are acknowledged", PATIENCE, async || {
        services.worker.link().await.acknowledged_sequence_number > before.sequence_number + 10
    })
    .await;
    let live = services.predictor.metric("live_requests").await;
    let link = services.worker.link().await;
    println!(
        "{PROMPTS} waiting prompts of 16,384 characters: ten steps acknowledged {told:.1} s after a restart of the predictor; {live} \
         live; {} reconnects in {:.0} s; basis {:?}",
        link.reconnects,
        start.elapsed().as_secs_f64(),
        link.basis()
    );
    assert!(link.connected && link.reconnects <= 3, "{link:?}");
    assert!(live > 250.0, "{live} are live");
    waiting.abort_all();
}
