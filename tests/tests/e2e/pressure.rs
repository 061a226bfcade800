//! A third of the KV memory that sixteen long requests need: all finish, and the forecast saves preemptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eoscast_pair::client::chat;
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::worker::v1 as pb;

use crate::generate::all_at_once;

const MAX_TOKENS: u32 = 224;

fn sixteen(round: &str) -> Vec<pb::GenerateRequest> {
    // The last four prompts ask for long replies.
    (0..16).map(|i| chat(&format!("{round}-{i}"), PROMPTS[8 + i % 4].1, 40 + i as u64, MAX_TOKENS)).collect()
}

/// Preemptions of the second of two rounds; the predictor learns from the first.
async fn preemptions(policy: &str, kv_tokens: u32) -> u64 {
    let budget = kv_tokens.to_string();
    let pair = Pair::start(&PairOptions::worker(&["--kv-tokens", &budget, "--policy", policy])).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let mut observer = pair.worker_client().await.unwrap();
    let watch = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut highest = 0;
            while !over.load(Ordering::Relaxed) {
                let load = observer.get_loads(pb::GetLoadsRequest {}).await.unwrap().into_inner().load.unwrap();
                assert!(load.kv_blocks_used <= load.kv_blocks_total, "{load:?}");
                highest = highest.max(load.kv_blocks_used);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            highest
        }
    });
    all_at_once(&pair, sixteen("first")).await;
    let replies = all_at_once(&pair, sixteen("second")).await;
    over.store(true, Ordering::Relaxed);
    assert!(watch.await.unwrap() > 0);
    assert_eq!(replies.len(), 16);
    replies.iter().map(|reply| u64::from(reply.complete.usage.unwrap().preemptions)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_tight_budget_all_finish_and_peak_preempts_less_than_aggressive() {
    let roomy = Pair::start(&PairOptions::default()).unwrap();
    let needed: u32 = all_at_once(&roomy, sixteen("measure"))
        .await
        .iter()
        .map(|reply| reply.complete.usage.unwrap())
        .map(|usage| usage.prompt_tokens + usage.completion_tokens)
        .sum();
    drop(roomy);
    let budget = (needed / 3).max(MAX_TOKENS + 64);
    let aggressive = preemptions("fcfs+aggressive+lifo", budget).await;
    let peak = preemptions("srpt-pred+peak(0.8)+longest-remaining", budget).await;
    println!("preemptions with {budget} KV tokens of {needed}: aggressive {aggressive}, peak {peak}");
    assert!(aggressive > 0, "the budget was not tight enough to test anything");
    assert!(peak < aggressive, "peak {peak}, aggressive {aggressive}");
}
