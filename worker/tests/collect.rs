//! A collection: the same lines however the work is cut, and after an interrupt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "model/tiny.rs"]
#[allow(dead_code, reason = "the tests of model files use the rest")]
mod tiny;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Metadata;
use eoscast_kernels::Compute;
use eoscast_log::location::{Location, Series};
use eoscast_log::packed::pack_for_test;
use eoscast_log::prompts::{Prompt, read_prompts};
use eoscast_proto::domain::{StepBatch, WorkerRun};
use eoscast_sched::SchedulerConfig;
use eoscast_worker::collection::folder::{self, Terms};
use eoscast_worker::collection::requests::{Sampling, requests};
use eoscast_worker::collection::{StepProgress, collect};
use eoscast_worker::engine::handle::spawn;
use eoscast_worker::engine::{EngineConfig, EngineHandle, RequestPreparer};
use eoscast_worker::link::PredictorLink;
use eoscast_worker::metrics::Metrics;
use eoscast_worker::runner::load::LoadedRunner;
use eoscast_worker::runner::{ModelRunner, SketchOptions};
use serde_json::Value;
use tiny::{BLOCK_SIZE, NUM_BLOCKS, TinyModel};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

const SAMPLING: Sampling = Sampling { samples: 3, temperature: 1.0, top_p: 0.99, max_tokens: 40, seed: 5 };

fn terms() -> Terms {
    let Sampling { temperature, top_p, max_tokens, seed, .. } = SAMPLING;
    Terms { model: "tiny".to_owned(), temperature, top_p, max_tokens, seed }
}

fn engine() -> (EngineHandle, RequestPreparer, UnboundedReceiver<StepBatch>) {
    let model = TinyModel::new(GgmlDType::Q8_0).set("llama.context_length", Metadata::U32(256));
    let LoadedRunner { runner, tokenizer, .. } = model.load(Compute::Quantized).unwrap();
    let runner = runner.with_sketch(SketchOptions { dims: Some(4), layer: None }).unwrap();
    let config = EngineConfig {
        scheduler: SchedulerConfig {
            block_size: BLOCK_SIZE as u32,
            num_blocks: NUM_BLOCKS as u32,
            max_running: 8,
            max_batched_tokens: 32,
        },
        policy: "fcfs+aggressive+lifo".parse().unwrap(),
        max_waiting: 8,
        most_unread_bytes: 64 << 20,
        estimate_max_age: 8,
        prefix_cache: true,
        prompt_text: true,
        token_classes: true,
    };
    let (link, batches) = PredictorLink::local(WorkerRun::for_test("w"));
    let tokenizer = Arc::new(tokenizer);
    let preparer = RequestPreparer::new(Arc::clone(&tokenizer), None, runner.spec());
    let (engine, _) = spawn(Box::new(runner), tokenizer, config, link, Arc::new(Metrics::new())).unwrap();
    (engine, preparer, batches)
}

fn prompts() -> Vec<Prompt> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |i: u32| format!("{{\"id\":\"p{i}\",\"task\":\"t{}\",\"prompt\":\"the {i} th\"}}\n", i % 2);
    std::fs::write(file.path(), (0..6).map(line).collect::<String>()).unwrap();
    read_prompts(file.path()).unwrap()
}

/// Collects into `out`; stops when `most` requests have finished.
async fn run(out: &Path, concurrency: usize, resume: bool, most: usize) {
    let (engine, preparer, batches) = engine();
    let mut folder = folder::open_collection(out, &terms(), resume).unwrap();
    let requests = requests(&prompts(), &SAMPLING, folder.done(), &preparer).unwrap();
    let (stop, mut finished) = (CancellationToken::new(), 0);
    let mut progress = |step: StepProgress<'_>| {
        finished += step.finished.len();
        if finished >= most {
            stop.cancel();
        }
    };
    collect(&engine, batches, requests, concurrency, &mut folder, &stop, &mut progress).await.unwrap();
}

fn files(out: &Path, series: Series) -> Vec<PathBuf> {
    let segments = Location::Folder(out.to_owned()).segments(series).unwrap();
    segments.into_iter().map(|segment| segment.path).collect()
}

fn lines(out: &Path, series: Series) -> Vec<Value> {
    let text: String = files(out, series).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All lines but for what depends on when and in which order requests ran, sorted.
fn content(out: &Path) -> Vec<String> {
    let mut content: Vec<String> = [Series::Starts, Series::Requests, Series::Steps]
        .into_iter()
        .flat_map(|series| lines(out, series))
        .map(|mut line| {
            for field in ["timestamp", "started_at", "sequence_number", "outcome_number", "censored_outcomes"] {
                line.as_object_mut().unwrap().remove(field);
            }
            line.to_string()
        })
        .collect();
    content.sort();
    content
}

#[tokio::test]
async fn every_request_is_there_once_with_all_its_signals_and_its_steps_in_order() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 4, false, usize::MAX).await;
    let starts = lines(folder.path(), Series::Starts);
    let ids: BTreeSet<&str> = starts.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!((starts.len(), ids.len()), (18, 18));
    assert!(ids.contains("p0#1") && ids.contains("p5#3"));
    assert!(starts.iter().all(|line| line["prompt_features"].is_array() && line["estimate"].is_null()));
    let mut steps: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(folder.path(), Series::Steps) {
        steps.entry(line["request_id"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    for (number, outcome) in (1..).zip(lines(folder.path(), Series::Requests)) {
        assert_eq!(outcome["outcome_number"], number);
        let steps = &steps[outcome["request_id"].as_str().unwrap()];
        assert_eq!(outcome["output_length"], steps.len());
        for (index, line) in (1..).zip(steps) {
            assert_eq!((&line["step"], line["is_finished"].as_bool()), (&index.into(), Some(index == steps.len())));
            // Forecasts go on with the last one.
            assert_eq!(line["sketch"].as_array().map(Vec::len), (index % 4 == 1).then_some(4));
            assert!(line["sentence_end_logprob"].as_f64().unwrap() < 0.0);
            assert!(line["newline_logprob"].as_f64().unwrap() < 0.0);
        }
    }
}

#[tokio::test]
async fn one_request_at_a_time_or_eight_give_the_same_replies() {
    let folder = tempfile::tempdir().unwrap();
    let (one, eight) = (folder.path().join("one"), folder.path().join("eight"));
    run(&one, 1, false, usize::MAX).await;
    run(&eight, 8, false, usize::MAX).await;
    assert!(content(&one) == content(&eight));
    let replies: BTreeSet<String> =
        lines(&one, Series::Requests).iter().map(|line| line["output_length"].to_string()).collect();
    assert!(replies.len() > 1, "samples differ");
}

/// A process that is killed may have written the arrival, the arrival and the outcome, or those and a part of the steps.
#[tokio::test]
async fn a_collection_that_was_killed_in_any_place_is_whole_once_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let uninterrupted = folder.path().join("uninterrupted");
    run(&uninterrupted, 4, false, usize::MAX).await;
    let killed: [(&str, &[Series]); 4] = [
        ("between", &[]),
        ("in-steps", &[Series::Steps]),
        ("before-steps", &[Series::Steps, Series::Requests]),
        ("at-once", &[Series::Steps, Series::Requests, Series::Starts]),
    ];
    for (name, torn) in killed {
        let out = folder.path().join(name);
        run(&out, 4, false, 7).await;
        for series in torn {
            let path = &files(&out, *series)[0];
            let bytes = std::fs::metadata(path).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes - 10).unwrap();
        }
        run(&out, 4, true, usize::MAX).await;
        assert!(content(&out) == content(&uninterrupted), "killed {name}");
        run(&out, 4, true, usize::MAX).await;
        assert!(content(&out) == content(&uninterrupted), "resumed when nothing was left");
    }
}

#[tokio::test]
async fn packed_files_of_a_collection_count_when_it_is_resumed_and_are_never_cut() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 4, false, 7).await;
    let open = || folder::open_collection(folder.path(), &terms(), true);
    let done = open().unwrap().done().len();
    pack_for_test(&files(folder.path(), Series::Steps)[0]).unwrap();
    assert_eq!(open().unwrap().done().len(), done);
    // The last outcome is torn, so that the steps of its request would have to go.
    let requests = &files(folder.path(), Series::Requests)[0];
    let bytes = std::fs::metadata(requests).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(requests).unwrap().set_len(bytes - 10).unwrap();
    let error = format!("{:#}", open().err().unwrap());
    assert!(error.contains("steps-0000000000000000.jsonl.gz: ") && error.contains("gunzip"), "{error}");
}

#[tokio::test]
async fn a_folder_with_lines_is_refused_unless_it_is_resumed_on_the_same_terms() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), 4, false, 2).await;
    let error =
        |terms: &Terms, resume| format!("{:#}", folder::open_collection(folder.path(), terms, resume).err().unwrap());
    assert!(error(&terms(), false).contains("with --resume"));
    for (other, flag) in [
        (Terms { temperature: 0.5, ..terms() }, "--temperature 0.5 "),
        (Terms { top_p: 0.5, ..terms() }, "--top-p 0.5 "),
        (Terms { seed: 6, ..terms() }, "--seed 6;"),
        (Terms { max_tokens: 41, ..terms() }, "--max-tokens 41 "),
        (Terms { model: "other".to_owned(), ..terms() }, "not model other,"),
    ] {
        let message = error(&other, true);
        assert!(message.contains("with model tiny, --temperature 1 ") && message.contains(flag), "{message}");
    }
    // A folder from before there were cards tells of some terms in its lines.
    std::fs::remove_file(folder.path().join("collection.json")).unwrap();
    assert!(error(&Terms { temperature: 0.5, ..terms() }, true).contains("--temperature 0.5 "));
    assert!(folder::open_collection(folder.path(), &terms(), true).is_ok());
    std::fs::write(folder.path().join("collection.json"), "{").unwrap();
    assert!(error(&terms(), true).contains("collection.json"));
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_named() {
    let (_, preparer, _) = engine();
    let long = Prompt { id: "long".to_owned(), task: None, prompt: "x".repeat(300) };
    let error = requests(&[long], &SAMPLING, &Default::default(), &preparer).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.starts_with("long: ") && message.contains("300 tokens"), "{message}");
}
