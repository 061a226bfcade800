//! Soft landing with the real model: fewer replies are cut, most end with a sentence, and none counts as natural.

use std::collections::HashMap;

use eoscast_pair::client::{GeneratedReply, chat};
use eoscast_pair::log;
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::prompts::PROMPTS;
use eoscast_proto::predictor::v1::{FinishReason, GetModelRequest};
use eoscast_proto::worker::v1 as pb;

use crate::generate::{all_acknowledged, all_at_once};

const TARGET: u32 = 48;
const MAX_TOKENS: u32 = 80;
const REPLIES: usize = 36;

fn requests(name: &str, control: Option<pb::LengthControl>) -> Vec<pb::GenerateRequest> {
    (0..REPLIES)
        .map(|i| {
            let mut request = chat(&format!("{name}-{i}"), PROMPTS[i % PROMPTS.len()].1, 70 + i as u64, MAX_TOKENS);
            request.sampling_params.as_mut().unwrap().length_control = control;
            request
        })
        .collect()
}

fn cut(replies: &[GeneratedReply]) -> usize {
    replies.iter().filter(|reply| reply.complete.finish_reason() == FinishReason::Length).count()
}

/// A full stop, an exclamation or question mark, or what closes a quotation or a block of code.
fn ends_a_sentence(reply: &GeneratedReply) -> bool {
    reply.text.trim_end().ends_with(['.', '!', '?', '"', '\'', '\u{201D}', '`'])
}

#[tokio::test(flavor = "multi_thread")]
async fn controlled_replies_end_with_a_sentence_near_the_target_and_teach_the_predictor_nothing_false() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    let plain = all_at_once(&pair, requests("plain", None)).await;
    let control = Some(pb::LengthControl { target_tokens: TARGET, strength: None });
    let controlled = all_at_once(&pair, requests("controlled", control)).await;
    all_acknowledged(&pair).await;

    let lines = log::requests(pair.data()).unwrap();
    let steered: HashMap<&str, u64> = lines
        .iter()
        .filter_map(|line| Some((line["request_id"].as_str().unwrap(), line["steered_from"].as_u64()?)))
        .collect();
    assert!(steered.keys().all(|id| id.starts_with("controlled-")), "{steered:?}");
    let stopped: Vec<&GeneratedReply> = controlled
        .iter()
        .enumerate()
        .filter(|(i, reply)| {
            let was_steered = steered.contains_key(format!("controlled-{i}").as_str());
            was_steered && reply.complete.finish_reason() == FinishReason::Stop
        })
        .map(|(_, reply)| reply)
        .collect();
    let sentences = stopped.iter().filter(|reply| ends_a_sentence(reply)).count();
    println!(
        "of {REPLIES} replies, cut by max_tokens: {} without length control, {} with; of {} steered ones that ended, \
         {sentences} ended with a sentence",
        cut(&plain),
        cut(&controlled),
        stopped.len()
    );
    assert!(cut(&controlled) < cut(&plain));
    assert!(sentences * 2 > stopped.len(), "{sentences} of {}", stopped.len());

    for line in &lines {
        if let Some(from) = steered.get(line["request_id"].as_str().unwrap()) {
            assert_eq!(line["censored"], true, "{line}");
            assert!(*from > u64::from(TARGET / 2), "{line}");
        }
    }
    for step in log::steps(pair.data()).unwrap() {
        let from = steered.get(step["request_id"].as_str().unwrap());
        let natural = from.is_none_or(|from| step["step"].as_u64().unwrap() < *from);
        assert!(!natural || step["eos_bias"] == 0.0, "{step}");
    }
    let mut predictor = pair.predictor_client().await.unwrap();
    let model = predictor.get_model(GetModelRequest {}).await.unwrap().into_inner();
    assert_eq!(model.outcomes, 2 * REPLIES as u64);
    assert_eq!(model.censored_outcomes as usize, cut(&plain) + steered.len());
}
