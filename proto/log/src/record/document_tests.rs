//! `docs/reference/jsonl.md` explains every field of the lines, and none that they do not have.

use std::path::Path;

use eoscast_proto::domain::FinishReason;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::tests::step_line;
use super::*;
use crate::prompt::PromptFeatures;

/// The keys of an object, in order.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Keys;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = vec![];
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        object.deserialize_map(OfMap)
    }
}

fn fields(line: &impl serde::Serialize) -> Vec<String> {
    serde_json::from_str::<Keys>(&serde_json::to_string(line).unwrap()).unwrap().0
}

/// The fields of the table under a heading: what stands in backticks at the start of a row.
fn documented(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/jsonl.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let name = |row: &str| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    section.lines().filter_map(name).collect()
}

fn whole_step() -> StepLine {
    StepLine { sentence_end_logprob: Some(-1.0), newline_logprob: Some(-1.0), sketch: [1.0].into(), ..step_line() }
}

// These literals name every field, so that a new one that is left out when it is empty cannot be forgotten here.

fn whole_request() -> RequestLine {
    let StepLine { request_id, worker_id, model, estimate, .. } = whole_step();
    RequestLine {
        request_id,
        worker_id,
        epoch: 1,
        model,
        task: None,
        timestamp: 2.0,
        started_at: 1.0,
        finish_reason: FinishReason::Stop,
        prompt_length: 1,
        output_length: 1,
        total_length: 2,
        max_tokens: 9,
        temperature: 1.0,
        ignore_eos: false,
        censored: false,
        first_estimate: estimate,
        first_length: 0,
        steps_observed: 1,
        final_eos_prob: 0.5,
        mean_eos_prob: 0.5,
        max_eos_prob: 0.5,
        std_eos_prob: 0.0,
        outcome_number: 1,
        censored_outcomes: 0,
        steered_from: None,
        prompt_features: Some(PromptFeatures::of("Why?")),
        pits: Some(Pits { artifact: 1, values: [None; Pits::AGES] }),
    }
}

fn whole_start() -> StartLine {
    let StepLine { request_id, worker_id, model, estimate, .. } = whole_step();
    StartLine {
        request_id,
        timestamp: 1.0,
        worker_id,
        epoch: 1,
        sequence_number: 1,
        model,
        eos_token_ids: vec![2],
        task: None,
        prompt_length: 1,
        output_length: 0,
        max_tokens: 9,
        temperature: 1.0,
        ignore_eos: false,
        estimate,
        target_tokens: None,
        prompt_features: Some(PromptFeatures::of("Why?")),
    }
}

#[test]
fn the_reference_has_every_field_of_every_line_in_its_order_and_no_other() {
    assert_eq!(documented("Step lines"), fields(&whole_step()));
    assert_eq!(documented("Request lines"), fields(&whole_request()));
    assert_eq!(documented("Start lines"), fields(&whole_start()));
    assert_eq!(documented("Estimates"), fields(&step_line().estimate));
}

#[test]
fn a_step_line_begins_with_the_classic_fields() {
    assert_eq!(fields(&whole_step())[..CLASSIC_FIELDS.len()], CLASSIC_FIELDS);
}
