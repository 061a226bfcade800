//! What an application developer sees: text, estimates, the same tokens whatever else runs, and the log of it all.

use std::process::Command;

use eoscast_log::record::CLASSIC_FIELDS;
use eoscast_pair::client::{GeneratedReply, chat, generate};
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::{log, prompts::PROMPTS};
use eoscast_proto::predictor::v1::FinishReason;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::until;

/// The fields of a step line that follow the classic ones, in their order.
const FURTHER_FIELDS: [&str; 11] = [
    "eos_logprob_sampled",
    "token_logprob",
    "entropy",
    "top_logprob",
    "eos_rank",
    "temperature",
    "worker_id",
    "model",
    "sequence_number",
    "task",
    "estimate",
];

/// Waits until every step told to the predictor is acknowledged: all steps of replies that have ended are among them.
pub(crate) async fn all_acknowledged(pair: &Pair) {
    let mut client = pair.worker_client().await.unwrap();
    until("all steps are acknowledged", async || {
        let info = client.get_server_info(eoscast_proto::worker::v1::GetServerInfoRequest {}).await.unwrap();
        let link = info.into_inner().predictor.unwrap();
        link.sequence_number > 0 && link.sequence_number == link.acknowledged_sequence_number
    })
    .await;
}

pub(crate) async fn all_at_once(
    pair: &Pair,
    requests: Vec<eoscast_proto::worker::v1::GenerateRequest>,
) -> Vec<GeneratedReply> {
    let mut running = JoinSet::new();
    for (i, request) in requests.into_iter().enumerate() {
        let client = pair.worker_client().await.unwrap();
        running.spawn(async move { (i, generate(client, request).await.unwrap()) });
    }
    let mut replies = running.join_all().await;
    replies.sort_by_key(|(i, _)| *i);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_streams_text_and_the_log_holds_one_complete_line_per_token() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let body = r#"{"request_id":"by-grpcurl","text":"Once upon a time","task":"story","include_eos_logprob":true,
        "sampling_params":{"max_tokens":40,"temperature":0.8,"seed":7}}"#;
    let output = Command::new("grpcurl")
        .args(["-plaintext", "-d", body, &pair.worker_addr.to_string(), "eoscast.worker.v1.WorkerService/Generate"])
        .output()
        .expect("grpcurl is installed by `make test`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages: Vec<Value> =
        serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap).collect();
    let (complete, chunks) = messages.split_last().unwrap();
    let tokens: Vec<u64> = chunks.iter().map(|message| message["chunk"]["tokenIds"][0].as_u64().unwrap()).collect();
    let text: String = chunks.iter().filter_map(|message| message["chunk"]["text"].as_str()).collect();
    assert!(text.len() > 20, "{text:?}");
    assert_eq!(complete["complete"]["usage"]["completionTokens"].as_u64(), Some(tokens.len() as u64));

    all_acknowledged(&pair).await;
    let lines = log::steps(pair.data()).unwrap();
    assert_eq!(lines.len(), tokens.len());
    for (i, line) in lines.iter().enumerate() {
        let fields: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        for field in CLASSIC_FIELDS.into_iter().chain(FURTHER_FIELDS) {
            assert!(fields.contains(&field), "{field} is missing in {line}");
        }
        assert_eq!(line["request_id"], "by-grpcurl");
        assert_eq!(line["current_token_id"].as_u64(), Some(tokens[i]));
        assert_eq!(line["step"].as_u64(), Some(i as u64 + 1));
        assert_eq!(line["is_finished"].as_bool(), Some(i + 1 == lines.len()));
        let (logprob, prob) = (line["eos_logprob"].as_f64().unwrap(), line["eos_prob"].as_f64().unwrap());
        assert!((logprob.exp() - prob).abs() < 1e-6, "{line}");
        assert_eq!(logprob as f32, chunks[i]["chunk"]["eosLogprobs"][0].as_f64().unwrap() as f32);
        assert_eq!(line["task"], "story");
        assert_eq!(line["model"], "smollm2-135m");
        assert_eq!(line["estimate"].is_null(), i + 1 == lines.len());
    }
    let requests = log::requests(pair.data()).unwrap();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["output_length"].as_u64(), Some(tokens.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_and_describes_the_services_of_both() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    for (addr, service) in [
        (pair.worker_addr, "eoscast.worker.v1.WorkerService"),
        (pair.predictor_addr, "eoscast.predictor.v1.PredictorService"),
    ] {
        for words in [vec!["list"], vec!["describe", service], vec!["grpc.health.v1.Health/Check"]] {
            let output = Command::new("grpcurl").arg("-plaintext").arg(addr.to_string()).args(&words).output();
            let output = output.expect("grpcurl is installed by `make test`");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains(service) || text.contains("SERVING") && !text.contains("NOT_SERVING"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_what_a_server_serves_and_prints_the_details_of_errors() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let grpcurl = |addr: std::net::SocketAddr, args: &[&str]| {
        let (options, call) = args.split_at(args.len() - 1);
        let output =
            Command::new("grpcurl").arg("-plaintext").args(options).arg(addr.to_string()).args(call).output().unwrap();
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    };
    for (addr, service, other) in [
        (pair.worker_addr, "eoscast.worker.v1.WorkerService", "PredictorService"),
        (pair.predictor_addr, "eoscast.predictor.v1.PredictorService", "WorkerService"),
    ] {
        let services = grpcurl(addr, &["list"]);
        assert!(services.contains(service) && services.contains("grpc.health.v1.Health"), "{services}");
        assert!(!services.contains(other), "{services}");
    }
    let body = r#"{"text":"hi","sampling_params":{"top_p":7}}"#;
    let error = grpcurl(pair.worker_addr, &["-d", body, "eoscast.worker.v1.WorkerService/Generate"]);
    assert!(error.contains("google.rpc.BadRequest") && error.contains(r#""field":"sampling_params.top_p""#), "{error}");
    let call = "eoscast.predictor.v1.PredictorService/GetEstimate";
    let error = grpcurl(pair.predictor_addr, &["-d", r#"{"request_id":""}"#, call]);
    assert!(error.contains(r#""field":"request_id""#), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_carry_live_estimates_and_the_end_carries_the_first_one() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let client = pair.worker_client().await.unwrap();
    let reply = generate(client, chat("live", PROMPTS[8].1, 3, 96)).await.unwrap();
    let estimates: Vec<_> = reply.estimates.iter().flatten().collect();
    assert!(estimates.len() > reply.tokens.len() / 2, "{} of {}", estimates.len(), reply.tokens.len());
    for estimate in &estimates {
        let left = 96 - estimate.step;
        assert!(estimate.mean >= 1.0 && estimate.mean <= left as f32, "{estimate:?}");
        assert!(estimate.quantiles.is_sorted() && estimate.quantiles.iter().all(|q| *q <= left as f32), "{estimate:?}");
    }
    assert!(estimates.windows(2).all(|pair| pair[0].step <= pair[1].step));
    assert_eq!(reply.complete.first_estimate.map(|estimate| estimate.step), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_the_same_alone_in_a_batch_of_sixteen_and_after_preemption() {
    let requests = || -> Vec<_> {
        (0..16).map(|i| chat(&format!("r{i}"), PROMPTS[i % PROMPTS.len()].1, 100 + i as u64, 48)).collect()
    };
    let roomy = Pair::start(&PairOptions::default()).unwrap();
    let mut alone = Vec::new();
    for request in requests() {
        alone.push(generate(roomy.worker_client().await.unwrap(), request).await.unwrap().tokens);
    }
    let together = all_at_once(&roomy, requests()).await;
    drop(roomy);
    let tight = Pair::start(&PairOptions::worker(&["--kv-tokens", "512", "--policy", "fcfs+aggressive"])).unwrap();
    let preempted = all_at_once(&tight, requests()).await;
    let preemptions: u32 = preempted.iter().map(|reply| reply.complete.usage.unwrap().preemptions).sum();
    assert!(preemptions > 0, "the budget was not tight enough to test anything");
    for (i, tokens) in alone.iter().enumerate() {
        assert_eq!(&together[i].tokens, tokens, "request {i} in a batch");
        assert_eq!(&preempted[i].tokens, tokens, "request {i} under preemption");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_replies_end_by_themselves_and_stop_texts_cut_them() {
    let pair = Pair::start(&PairOptions::worker(&["--compute", "f32"])).unwrap();
    let mut request = chat("capital", "What is the capital of France?", 0, 64);
    request.sampling_params.as_mut().unwrap().temperature = Some(0.0);
    let reply = generate(pair.worker_client().await.unwrap(), request.clone()).await.unwrap();
    assert_eq!(reply.text, "The capital of France is Paris.");
    assert_eq!(reply.complete.finish_reason(), FinishReason::Stop);
    assert_eq!(reply.tokens.last(), Some(&2), "the end-of-turn token counts as a token");
    request.sampling_params.as_mut().unwrap().stop = vec!["France is".into()];
    let reply = generate(pair.worker_client().await.unwrap(), request).await.unwrap();
    assert_eq!(reply.text, "The capital of ");
}
