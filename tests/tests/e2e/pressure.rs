//! A third of the KV memory that sixteen long requests need: all finish, and the forecast saves preemptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eoscast_pair::client::chat;
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::worker::v1 as pb;

use crate::generate::all_at_once;

const MAX_TOKENS: u32 = 144;
/// A third of what sixteen prompts with the longest replies need.
const KV_TOKENS: u32 = 16 * (40 + MAX_TOKENS) / 3;

fn sixteen(round: &str) -> Vec<pb::GenerateRequest> {
    // The last four prompts ask for long replies.
    (0..16).map(|i| chat(&format!("{round}-{i}"), PROMPTS[8 + i % 4].1, 40 + i as u64, MAX_TOKENS)).collect()
}

/// Preemptions of the last of so many `rounds`; the predictor learns from those before.
async fn preemptions(policy: &str, rounds: usize) -> u64 {
    let budget = KV_TOKENS.to_string();
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
    let mut replies = vec![];
    for round in 0..rounds {
        replies = all_at_once(&pair, sixteen(&round.to_string())).await;
    }
    over.store(true, Ordering::Relaxed);
    assert!(watch.await.unwrap() > 0);
    assert_eq!(replies.len(), 16);
    replies.iter().map(|reply| u64::from(reply.complete.usage.unwrap().preemptions)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_tight_budget_all_finish_and_peak_preempts_less_than_aggressive() {
    // This policy asks no forecast.
    let aggressive = preemptions("fcfs+aggressive+lifo", 1).await;
    let peak = preemptions("srpt-pred+peak(0.8)+longest-remaining", 2).await;
    println!("preemptions with {KV_TOKENS} KV tokens: aggressive {aggressive}, peak {peak}");
    assert!(aggressive > 0, "the budget was not tight enough to test anything");
    assert!(peak < aggressive, "peak {peak}, aggressive {aggressive}");
}
