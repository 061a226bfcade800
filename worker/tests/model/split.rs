//! Models in several GGUF files.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use eoscast_kernels::Compute;
use eoscast_worker::runner::ModelRunner;
use eoscast_worker::runner::load::load;
use tempfile::TempDir;

use super::tiny::{TinyModel, load_bytes, load_error, options};

fn name(number: usize) -> String {
    format!("m-0000{number}-of-00003.gguf")
}

/// A folder with a model in three files.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (index, bytes) in TinyModel::new(GgmlDType::Q8_0).split(3).iter().enumerate() {
        std::fs::write(folder.path().join(name(index + 1)), bytes).unwrap();
    }
    folder
}

fn refusal(path: &Path) -> String {
    load_error(load(&options(path, Compute::F32), &mut |_, _| ()))
}

#[test]
fn any_of_the_files_loads_all() {
    let folder = folder();
    let whole = TinyModel::new(GgmlDType::Q8_0).load(Compute::F32).unwrap();
    for number in 1..=3 {
        let model = load(&options(&folder.path().join(name(number)), Compute::F32), &mut |_, _| ()).unwrap();
        assert_eq!(model.runner.spec().parameters, whole.runner.spec().parameters);
        assert_eq!(model.runner.spec().quantization, "Q8_0");
        assert_eq!(model.tokenizer.encode("the 12").unwrap(), whole.tokenizer.encode("the 12").unwrap());
        assert!(model.chat_template.is_some());
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder();
    std::fs::remove_file(folder.path().join(name(2))).unwrap();
    let message = refusal(&folder.path().join(name(1)));
    assert!(message.contains(&name(2)) && message.contains("is missing") && message.contains("3 files"), "{message}");
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let folder = folder();
    std::fs::copy(folder.path().join(name(3)), folder.path().join(name(2))).unwrap();
    let message = refusal(&folder.path().join(name(1)));
    assert!(message.contains(&name(2)) && message.contains("says that it is 3 of 3"), "{message}");
    std::fs::write(folder.path().join(name(2)), b"GGUF").unwrap();
    let message = refusal(&folder.path().join(name(1)));
    assert!(message.contains(&name(2)) && message.contains("truncated"), "{message}");
}

#[test]
fn a_file_of_a_split_model_under_another_name_says_so() {
    let files = TinyModel::new(GgmlDType::F32).split(3);
    let message = load_error(load_bytes(&files[0], Compute::F32));
    assert!(message.contains("file 1 of 3") && message.contains("NAME-00001-of-00003.gguf"), "{message}");
}

#[test]
fn tensors_are_counted_over_all_files() {
    let model = TinyModel::new(GgmlDType::F32).set("split.tensors.count", Value::I32(7));
    let message = load_error(model.load(Compute::F32));
    assert!(message.contains("`split.tensors.count` is 7"), "{message}");
}
