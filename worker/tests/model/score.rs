//! The `score` command on a model file.

use std::path::Path;
use std::process::{Command, Output};

use candle_core::quantized::GgmlDType;
use serde_json::Value;

use super::tiny::TinyModel;

fn score(model: &Path, input: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eoscast-worker"))
        .args(["score", "--compute", "f32"])
        .arg("--model")
        .arg(model)
        .arg("--input")
        .arg(input)
        .args(flags)
        .env_remove("EOSCAST_JSON")
        .output()
        .unwrap()
}

/// Scores `input` with a tiny model; standard output if it succeeds, standard error if not.
fn score_tiny(input: &str, flags: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (model, requests) = (folder.path().join("tiny.gguf"), folder.path().join("requests.jsonl"));
    std::fs::write(&model, TinyModel::new(GgmlDType::F32).bytes()).unwrap();
    std::fs::write(&requests, input).unwrap();
    let output = score(&model, &requests, flags);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn every_request_gives_a_line_with_one_entry_per_reply_token() {
    let input = r#"{"id":"a","prompt":"the","input_ids":[5,6,7],"output_ids":[8,9,2]}
{"id":"b","prompt":"x","input_ids":[5],"output_ids":[8]}"#;
    let output = score_tiny(input, &["--json"]).unwrap();
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, (id, tokens)) in lines.iter().zip([("a", 3), ("b", 1)]) {
        assert_eq!(line["id"], id);
        for field in ["top1", "token_logprob", "eos_logprob", "entropy"] {
            assert_eq!(line[field].as_array().unwrap().len(), tokens, "{field}");
        }
        assert!(line["eos_logprob"][0].as_f64().unwrap() < 0.0);
        assert!((0.0..=262f64.ln() + 1e-6).contains(&line["entropy"][0].as_f64().unwrap()));
    }
    assert_eq!(lines[0]["input_ids"][0], 1, "the prompt is rendered by the chat template");
}

#[test]
fn without_json_a_table_names_each_request() {
    let input = r#"{"id":"first","prompt":"the","input_ids":[5],"output_ids":[8,9]}"#;
    let output = score_tiny(input, &[]).unwrap();
    assert_eq!(output.lines().count(), 2);
    assert!(output.contains("first"), "{output}");
}

#[test]
fn tokens_outside_the_vocabulary_and_texts_beyond_the_context_name_the_request() {
    let outside = r#"{"id":"a","prompt":"","input_ids":[5],"output_ids":[262]}"#;
    let error = score_tiny(outside, &[]).unwrap_err();
    assert!(error.contains("request a") && error.contains("output_ids: token 262"), "{error}");
    let long = format!(r#"{{"id":"a","prompt":"","input_ids":{:?},"output_ids":[5]}}"#, vec![5; 128]);
    let error = score_tiny(&long, &[]).unwrap_err();
    assert!(error.contains("129 tokens exceed the context of 128"), "{error}");
}
