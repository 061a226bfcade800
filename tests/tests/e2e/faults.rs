//! The predictor is killed, absent or late, and clients leave: the worker goes on, and nothing acknowledged is lost.

use std::collections::HashMap;
use std::time::Duration;

use eoscast_pair::client::{chat, generate};
use eoscast_pair::log;
use eoscast_pair::pair::{Pair, PairOptions, connect, start_worker};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::worker::v1 as pb;
use pb::worker_service_client::WorkerServiceClient;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::generate::all_acknowledged;
use crate::until;

async fn link(pair: &Pair) -> pb::PredictorLink {
    let mut client = pair.worker_client().await.unwrap();
    client.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner().predictor.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_predictor_fails_no_request_and_loses_no_acknowledged_event() {
    let options = PairOptions::worker(&["--estimate-max-age", "4"]);
    let mut pair = Pair::start(&options).unwrap();
    let mut running = JoinSet::new();
    for i in 0..16 {
        let client = pair.worker_client().await.unwrap();
        let mut request = chat(&format!("r{i}"), PROMPTS[i % PROMPTS.len()].1, i as u64, 160);
        request.sampling_params.as_mut().unwrap().ignore_eos = true;
        running.spawn(async move { (format!("r{i}"), generate(client, request).await) });
    }
    until("steps are acknowledged", async || link(&pair).await.acknowledged_sequence_number > 10).await;
    pair.predictor.kill().unwrap();
    until("the worker falls back", async || {
        let link = link(&pair).await;
        !link.connected && link.basis() != pb::ForecastBasis::Estimates
    })
    .await;
    assert!(!running.is_empty());
    pair.restart_predictor().unwrap();
    until("the stream is open again", async || link(&pair).await.reconnects == 1).await;

    let mut generated = HashMap::new();
    while let Some(outcome) = running.join_next().await {
        let (id, reply) = outcome.unwrap();
        generated.insert(id, reply.expect("no request fails").tokens);
    }
    all_acknowledged(&pair).await;
    assert_eq!(link(&pair).await.dropped_steps, 0);
    let mut logged: HashMap<String, Vec<(u64, u32)>> = HashMap::new();
    for line in log::steps(pair.data()).unwrap() {
        let entry = (line["step"].as_u64().unwrap(), line["current_token_id"].as_u64().unwrap() as u32);
        logged.entry(line["request_id"].as_str().unwrap().to_owned()).or_default().push(entry);
    }
    for (id, tokens) in generated {
        let expected: Vec<(u64, u32)> = (1..).zip(tokens).collect();
        assert_eq!(logged[&id], expected, "{id}: each token once and in order");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_predictor_delays_no_reply_and_gets_every_step_when_it_goes_on() {
    let pair = Pair::start(&PairOptions::worker(&["--estimate-max-age", "4"])).unwrap();
    generate(pair.worker_client().await.unwrap(), chat("before", PROMPTS[0].1, 1, 16)).await.unwrap();
    pair.predictor.stall().unwrap();
    let mut running = JoinSet::new();
    for i in 0..4 {
        let mut request = chat(&format!("r{i}"), PROMPTS[8 + i % 4].1, i as u64, 200);
        request.sampling_params.as_mut().unwrap().ignore_eos = true;
        let client = pair.worker_client().await.unwrap();
        running.spawn(async move { generate(client, request).await.map(|reply| reply.tokens.len()) });
    }
    let lengths: Vec<usize> = running.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(lengths, [200; 4], "all replies ended while the predictor did nothing");
    assert_eq!(link(&pair).await.basis(), pb::ForecastBasis::Prior);
    pair.predictor.resume().unwrap();
    all_acknowledged(&pair).await;
    assert_eq!(link(&pair).await.dropped_steps, 0);
    let lines = log::steps(pair.data()).unwrap();
    assert_eq!(lines.iter().filter(|line| line["request_id"] != "before").count(), 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_predictor_serves_and_says_that_it_assumes_the_worst_case() {
    let mut worker = start_worker("http://127.0.0.1:9", &[]).unwrap();
    let mut client = WorkerServiceClient::new(connect(worker.address("addr").unwrap()).await.unwrap());
    let reply = generate(client.clone(), chat("alone", PROMPTS[0].1, 1, 16)).await.unwrap();
    assert!(!reply.tokens.is_empty());
    assert!(reply.estimates.iter().all(Option::is_none));
    let info = client.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.predictor.unwrap().basis(), pb::ForecastBasis::WorstCase);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_frees_its_slot_and_its_blocks() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let mut client = pair.worker_client().await.unwrap();
    let mut request = chat("gone", PROMPTS[8].1, 1, 2000);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let mut stream = client.generate(request).await.unwrap().into_inner();
    stream.message().await.unwrap();
    let mut observer = pair.worker_client().await.unwrap();
    let mut load = async || observer.get_loads(pb::GetLoadsRequest {}).await.unwrap().into_inner().load.unwrap();
    until("the request runs", async || load().await.running_requests == 1).await;
    drop(stream);
    until("the slot is free", async || {
        let load = load().await;
        load.running_requests == 0 && load.kv_blocks_used == 0
    })
    .await;
    until("its end is logged", async || !log::requests(pair.data()).unwrap().is_empty()).await;
    let requests = log::requests(pair.data()).unwrap();
    assert_eq!(requests[0]["finish_reason"], "abort");
    assert_eq!(requests[0]["censored"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_reply_and_frees_the_slot() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let client = pair.worker_client().await.unwrap();
    let mut body = chat("late", PROMPTS[8].1, 1, 4000);
    body.sampling_params.as_mut().unwrap().ignore_eos = true;
    let mut request = Request::new(body);
    request.set_timeout(Duration::from_millis(400));
    let status = generate(client, request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    let mut observer = pair.worker_client().await.unwrap();
    until("the slot is free", async || {
        let load = observer.get_loads(pb::GetLoadsRequest {}).await.unwrap().into_inner().load.unwrap();
        load.running_requests == 0 && load.kv_blocks_used == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_ends_the_reply_of_another_connection() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let mut request = chat("long", PROMPTS[8].1, 1, 4000);
    request.sampling_params.as_mut().unwrap().ignore_eos = true;
    let reply = tokio::spawn(generate(pair.worker_client().await.unwrap(), request));
    let mut other = pair.worker_client().await.unwrap();
    until("the request is live and aborted", async || {
        other.abort(pb::AbortRequest { request_id: "long".into() }).await.unwrap().into_inner().aborted
    })
    .await;
    let complete = reply.await.unwrap().unwrap().complete;
    assert_eq!(complete.finish_reason(), eoscast_proto::predictor::v1::FinishReason::Abort);
}
