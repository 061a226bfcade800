use std::path::Path;

use eoscast_log::record::CLASSIC_FIELDS;
use serde_json::{Map, Value, json};

use super::*;
use crate::features::{FEATURE_NAMES, feature_index};
use crate::fitting::dataset::{Dataset, Selection, Wanted};
use crate::fitting::synthetic::{samples, write_log};
use crate::fitting::train::{TrainingOptions, train};
use crate::history::History;
use crate::models::{Artifact, ModelKind};

type Line = Map<String, Value>;

/// Writes the steps of `count` requests with the twelve classic fields alone, each line as `edit` leaves it.
fn write_classic(to: &Path, count: usize, edit: impl Fn(&mut Line)) {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), count, 1);
    let text = std::fs::read_to_string(folder.path().join("steps-0000000000000000.jsonl")).unwrap();
    let line = |line: &str| {
        let mut line: Line = serde_json::from_str(line).unwrap();
        line.retain(|field, _| CLASSIC_FIELDS.contains(&field.as_str()));
        edit(&mut line);
        Value::Object(line).to_string() + "\n"
    };
    std::fs::write(to.join("eos.jsonl"), text.lines().map(line).collect::<String>()).unwrap();
}

fn load(count: usize, edit: impl Fn(&mut Line)) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    write_classic(folder.path(), count, edit);
    Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap()
}

#[test]
fn twelve_classic_fields_give_the_same_replies_with_fewer_signals() {
    let (ours, theirs) = (samples(40, 1), load(40, |_| {}));
    assert_eq!((theirs.model.as_str(), theirs.samples.len()), (UNNAMED, 40));
    let longest = ours.iter().map(|sample| sample.length).max().unwrap();
    for (own, sample) in ours.iter().zip(&theirs.samples) {
        assert_eq!(
            (&own.request_id, own.outcome_number, own.length, own.ended, own.finish_reason),
            (&sample.request_id, sample.outcome_number, sample.length, sample.ended, sample.finish_reason)
        );
        assert_eq!((sample.arrival.max_tokens, sample.arrival.temperature), (None, None));
        assert_eq!((sample.arrival.prompt_length, sample.limit), (own.arrival.prompt_length, longest));
        assert!(sample.is_served_out());
        for (own, row) in own.rows().zip(sample.rows()).skip(1) {
            let (own, inputs) = (own.inputs(), row.inputs());
            for (i, name) in FEATURE_NAMES.iter().enumerate() {
                let is_of_classic = name.starts_with("eos_prob")
                    || name.starts_with("eos_logprob")
                    || ["step", "step_ln", "prompt_length", "repetition_64", "steps_since_eos_prob_max"].contains(name);
                if is_of_classic {
                    assert_eq!(inputs[i].to_bits(), own[i].to_bits(), "{name}");
                }
            }
            for name in
                ["entropy", "entropy_std_64", "hazard", "hazard_sum", "eos_rank_ln", "top_logprob", "max_tokens"]
            {
                assert!(inputs[feature_index(name).unwrap()].is_nan(), "{name}");
            }
        }
    }
}

#[test]
fn every_spelling_of_a_log_gives_the_same_samples() {
    let plain = load(30, |_| {}).samples;
    let edits: [fn(&mut Line); 5] = [
        |line| {
            for (_, value) in line.iter_mut().filter(|(_, value)| value.is_u64()) {
                *value = json!(value.as_f64());
            }
        },
        |line| line["is_finished"] = json!(u8::from(line["is_finished"] == true)),
        |line| {
            let code = ["stop", "length", "abort"].iter().position(|name| line["finish_reason"] == *name);
            line["finish_reason"] = json!(code);
        },
        |line| line["eos_token_id"] = json!([line["eos_token_id"], 7]),
        |line| line["eos_logprob"] = json!(line["eos_logprob"].to_string()),
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let dataset = load(30, edit);
        assert_eq!(dataset.samples, plain, "edit {i}: {:?}", dataset.intake.notes());
        assert!(dataset.intake.notes().is_empty(), "edit {i}: {:?}", dataset.intake.notes());
    }
}

#[test]
fn steps_without_an_eos_probability_are_used_and_counted() {
    let dataset = load(30, |line| {
        if line["step"].as_u64().is_some_and(|step| step.is_multiple_of(2)) {
            (line["eos_logprob"], line["eos_prob"]) = (Value::Null, Value::Null);
        }
    });
    assert_eq!(dataset.samples.len(), 30);
    assert!(dataset.intake.notes()[0].contains("the EOS probability is not known at"), "{:?}", dataset.intake.notes());
    let at = |name: &str| feature_index(name).unwrap();
    let rows: Vec<_> = dataset.samples.iter().find(|sample| sample.length > 40).unwrap().rows().collect();
    let (odd, even) = (rows[33].inputs(), rows[34].inputs());
    assert!(odd[at("eos_prob")].is_finite() && even[at("eos_prob")].is_nan());
    // Windows go on over what is known.
    assert!(even[at("eos_logprob_mean_16")].is_finite() && even[at("eos_logprob_slope_16")].is_finite());
    assert!(rows.iter().all(|row| row.values.iter().all(|value| value.is_finite())));
}

#[test]
fn what_tells_nothing_is_left_out_with_the_reason() {
    let dataset = load(30, |line| {
        match line["request_id"].as_str() {
            // Its end is lost.
            Some("r1") if line["is_finished"] == true => line["is_finished"] = json!(false),
            // Its end is there without a reason, and the last token is not EOS.
            Some("r2") if line["is_finished"] == true => {
                line["finish_reason"] = Value::Null;
                line["current_token_id"] = json!(1);
            }
            // Its first step was rotated away.
            Some("r3") if line["step"] == 1 => line["request_id"] = json!("other"),
            _ => {}
        }
        line["finish_reason"] = if line["is_finished"] == true { line["finish_reason"].clone() } else { Value::Null };
    });
    assert_eq!(dataset.samples.len(), 27);
    let left_out: Vec<_> = dataset.intake.left_out.iter().map(|(reason, count)| (*reason, *count)).collect();
    let mut expected = [(END_NOT_KNOWN, 1), (END_NOT_LOGGED, 2), (BEGUN_BEFORE, 1)];
    expected.sort_unstable();
    assert_eq!(left_out, expected);
}

#[test]
fn a_log_that_names_no_model_takes_the_name_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    write_classic(folder.path(), 30, |_| {});
    let named = Selection { model: Wanted::Named("qwen"), ..Selection::default() };
    assert_eq!(Dataset::load(folder.path(), &named, |_| {}).unwrap().model, "qwen");
    write_classic(folder.path(), 30, |line| {
        let model = if line["request_id"] == "r1" { "a" } else { "b" };
        line.insert("model".to_owned(), json!(model));
    });
    let error = format!("{:#}", Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap_err());
    assert!(error.contains("mixes models: a (1 requests), b (29 requests)"), "{error}");
}

#[test]
fn a_model_learns_from_a_classic_log_and_forecasts() {
    let dataset = load(140, |_| {});
    let bytes = train(ModelKind::Logistic, &dataset, &TrainingOptions::for_test(), &mut |_| {}).unwrap();
    let artifact = Artifact::parse(&bytes).unwrap();
    let model = artifact.kind.build(Some(&artifact), &History::default());
    let mut memory = model.memory();
    for row in dataset.samples[0].rows() {
        let forecast = crate::forecast::forecast(model.as_ref(), &row, &mut memory).remaining;
        assert!(forecast.mean >= 1.0 && forecast.quantiles.iter().all(|quantile| quantile.is_finite()), "{forecast:?}");
    }
}

#[test]
fn ids_that_ours_may_not_look_like_are_escaped() {
    assert_eq!(id_of("a b/ü#1").unwrap().as_str(), "a%20b/%C3%BC#1");
    assert_eq!(id_of(&"é".repeat(100)).unwrap().as_str().len(), 128);
    assert!(id_of("").is_none());
}

/// The dataset of `model` in a log of these lines, which need no more fields than those given.
fn load_lines(lines: &[Value], model: &str) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("eos.jsonl"), text).unwrap();
    let selection = Selection { model: Wanted::Named(model), ..Selection::default() };
    Dataset::load(folder.path(), &selection, |_| {}).unwrap()
}

#[test]
fn sketches_have_one_length_for_each_model_of_a_log() {
    let line = |model: &str, step: u32, sketch: &[f32]| {
        json!({ "request_id": "a", "model": model, "step": step, "eos_logprob": -1.0, "sketch": sketch,
            "finish_reason": (step == 3).then_some("stop") })
    };
    let lines = [
        line("small", 1, &[1.0, 2.0]),
        line("large", 1, &[1.0, 2.0, 3.0]),
        line("small", 2, &[1.0]),
        line("large", 2, &[4.0, 5.0, 6.0]),
        line("large", 3, &[7.0, 8.0, 9.0]),
    ];
    let large = load_lines(&lines, "large");
    assert_eq!(large.samples[0].steps().map(|step| step.sketch[0]).collect::<Vec<_>>(), [1.0, 4.0, 7.0]);
    assert_eq!((large.intake.damages.count, large.intake.damages.first[0].line), (1, 3));
    assert!(large.intake.damages.first[0].kind.starts_with("sketch: has another length"));
}

#[test]
fn length_control_in_a_log_that_counts_from_nought_and_has_its_first_step_last_does_no_harm() {
    let line = |step: u32, eos_bias: f32| {
        json!({ "request_id": "a", "step": step, "timestamp": step, "eos_logprob": -1.0, "eos_bias": eos_bias,
            "finish_reason": (step == 2).then_some("stop") })
    };
    // Steered from its first token: nothing is known of its natural length.
    let dataset = load_lines(&[line(1, 0.5), line(2, 0.5), line(0, 0.5)], "m");
    assert_eq!((dataset.samples.len(), dataset.intake.left_out[STEERED_AT_ONCE]), (0, 1));
    // From its third: two tokens came naturally.
    let dataset = load_lines(&[line(1, 0.0), line(2, 0.5), line(0, 0.0)], "m");
    assert_eq!((dataset.samples[0].length, dataset.samples[0].ended), (2, false));
}
