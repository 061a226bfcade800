//! The forecast load that the engine publishes. Without forecasts a request is taken to run to its `max_tokens`.

use std::net::IpAddr;
use std::sync::mpsc::Sender;
use std::time::Duration;

use eoscast_sched::ForecastLoad;
use eoscast_worker::engine::{EngineHandle, PreparedRequest};
use eoscast_worker::runner::scripted::peaked_logits;

use crate::support::{ROOMY, Setup, VOCAB, stepwise, until};
use crate::{collect, request};

/// An engine that generates a token for each permission.
fn permitted(setup: &Setup) -> (EngineHandle, Sender<()>) {
    let (allow, script) = stepwise(|_| peaked_logits(VOCAB, 65));
    (setup.start(script).0, allow)
}

fn generate(allow: &Sender<()>, tokens: usize) {
    (0..tokens).for_each(|_| allow.send(()).unwrap());
}

fn load(engine: &EngineHandle) -> ForecastLoad {
    engine.metrics().forecast_load()
}

#[tokio::test]
async fn the_first_request_shows_in_the_load_before_it_has_a_token() {
    let (engine, _allow) = permitted(&ROOMY);
    assert_eq!(load(&engine), ForecastLoad::default());
    let _reply = engine.submit(request("a", "hi", 200)).unwrap();
    until("the load shows it", || load(&engine).mean > 0.0).await;
    assert_eq!(load(&engine).outstanding_mean, 200.0);
}

#[tokio::test]
async fn the_load_falls_while_a_reply_grows_and_is_nothing_when_it_ends() {
    let (engine, allow) = permitted(&ROOMY);
    let reply = engine.submit(request("a", "hi", 200)).unwrap();
    until("the load shows it", || load(&engine).mean > 0.0).await;
    let early = load(&engine);
    generate(&allow, 150);
    until("they are generated", || engine.metrics().generated_tokens() == 150).await;
    // The next step after a tenth of a second has the load of then.
    tokio::time::sleep(Duration::from_millis(110)).await;
    generate(&allow, 2);
    until("the load is of now", || load(&engine).outstanding_mean < 60.0).await;
    let late = load(&engine);
    assert!(late.mean < early.mean / 2.0, "{early:?} {late:?}: it holds more, for a shorter time");
    assert!(engine.metrics().load().0.kv_usage() > 0.03, "while its use of the memory grows");
    drop(allow);
    assert_eq!(collect(reply).await.unwrap().tokens.len(), 200);
    until("nothing is left", || load(&engine) == ForecastLoad::default()).await;
}

#[tokio::test]
async fn requests_that_wait_behind_those_of_other_clients_count() {
    let (engine, allow) = permitted(&Setup { max_running: 1, max_waiting: 200, ..ROOMY });
    let from = |client: u8, i: u32| {
        let client = IpAddr::from([10, 0, 0, client]).into();
        engine.submit(PreparedRequest { client, ..request(&format!("{client:?}-{i}"), "hi", 100) }).unwrap()
    };
    let _replies: Vec<_> = (0..80).map(|i| from(1 + (i % 2) as u8, i)).collect();
    // The scheduler sees 16 of those that wait; the others are taken to be as long.
    generate(&allow, 1);
    tokio::time::sleep(Duration::from_millis(110)).await;
    generate(&allow, 2);
    until("all count", || load(&engine).outstanding_mean > 7_500.0).await;
    assert!(load(&engine).outstanding_mean <= 8_000.0, "{:?}", load(&engine));
}
