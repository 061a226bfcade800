//! Model files whose chat template takes more than it may, as the program itself meets them.

use std::path::Path;
use std::process::{Command, Output};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use tempfile::TempDir;

use super::tiny::TinyModel;

/// Prints a dictionary that holds itself.
const TOO_DEEP: &str = "{% set n = namespace() %}{% set n.n = n %}{{ n }}";
/// Makes a list of every character of 100 MB.
const TOO_LARGE: &str = "{% set s = 'a' * 99999999 %}{{ s.strip(s) }}";

fn model(template: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = TinyModel::new(GgmlDType::F32).set("tokenizer.chat_template", Value::String(template.to_owned()));
    std::fs::write(folder.path().join("tiny.gguf"), model.bytes()).unwrap();
    folder
}

fn generate(folder: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eoscast-worker"))
        .args(["generate", "hi", "--predictor", "none", "--max-tokens", "2", "--kv-tokens", "256", "--model"])
        .arg(folder.join("tiny.gguf"))
        .args(flags)
        .output()
        .unwrap()
}

#[test]
fn a_template_that_exceeds_a_limit_is_refused_by_its_name_and_costs_the_chat_only() {
    for (template, limit) in [(TOO_DEEP, "64 MiB of stack"), (TOO_LARGE, "512 MiB of memory")] {
        let folder = model(template);
        let chat = generate(folder.path(), &[]);
        let error = String::from_utf8_lossy(&chat.stderr).into_owned();
        assert_eq!(chat.status.code(), Some(1), "{template}: {error}");
        assert!(error.contains("the chat template exceeds a limit") && error.contains(limit), "{template}: {error}");
        let raw = generate(folder.path(), &["--raw"]);
        assert!(raw.status.success(), "{template}: {}", String::from_utf8_lossy(&raw.stderr));
    }
}

#[test]
fn a_template_that_is_too_long_is_a_warning_and_costs_the_chat_only() {
    let folder = model(&"{{ 1 }}\n".repeat(20_000));
    let error = String::from_utf8_lossy(&generate(folder.path(), &[]).stderr).into_owned();
    assert!(error.contains("longer than 131072 bytes"), "{error}");
    assert!(generate(folder.path(), &["--raw"]).status.success());
}
