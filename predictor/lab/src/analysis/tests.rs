//! From a log to a report.

use std::collections::BTreeMap;
use std::path::Path;

use eoscast_proto::domain::{END_WITHIN, Forecast};
use serde_json::{Value, json};

use super::trace::{End, read};
use super::{PAGE, report};
use crate::evaluation::report::{EvaluationReport, ModelReport};
use crate::evaluation::{FinishedReply, Judged};

/// A step line with the twelve classic fields only.
fn classic(request: u32, step: u32, length: u32, cut: bool) -> Value {
    let left = f64::from(length - step);
    let eos_prob = if cut { 1e-4 } else { (-0.3 * left).exp() * 0.9 + 1e-7 };
    let last = step == length;
    json!({
        "request_id": format!("r-{request}"), "timestamp": 1.7e9, "step": step, "current_token_id": 5, "eos_token_id": 2,
        "eos_logprob": eos_prob.ln(), "eos_prob": eos_prob, "is_finished": last,
        "finish_reason": if last { json!(if cut { "length" } else { "stop" }) } else { Value::Null },
        "prompt_length": 7, "output_length": step, "total_length": 7 + step,
    })
}

/// The same with what our own logs add.
fn own(request: u32, step: u32, length: u32, cut: bool) -> Value {
    let mut line = classic(request, step, length, cut);
    let extra = json!({
        "entropy": 1.5, "token_logprob": -0.5, "top_logprob": -0.25, "eos_rank": length - step + 1, "model": "m", "epoch": 1,
        "worker_id": "w", "task": if request.is_multiple_of(2) { "chat" } else { "<code> & \"more\"" },
    });
    if let (Value::Object(line), Value::Object(extra)) = (&mut line, extra) {
        line.extend(extra);
    }
    line
}

/// Requests of 20 to 59 tokens, their steps interleaved as a batch would write them; one in five is cut.
fn log(line: fn(u32, u32, u32, bool) -> Value) -> Vec<String> {
    let length = |request: u32| 20 + request % 40;
    (1..=60)
        .flat_map(|step| (0..40).filter(move |r| step <= length(*r)).map(move |r| (r, step)))
        .map(|(request, step)| line(request, step, length(request), request.is_multiple_of(5)).to_string())
        .collect()
}

fn write(folder: &Path, lines: &[String]) {
    std::fs::write(folder.join("steps-0000000000000000.jsonl"), lines.join("\n") + "\n").unwrap();
}

fn evaluation() -> EvaluationReport {
    let reply = |i: u32| FinishedReply {
        request_id: format!("r-{i}"),
        group: format!("p-{}", i / 2),
        task: None,
        temperature: Some(0.8),
        prompt_length: Some(7),
        prompt_features: vec![],
        max_tokens: 100,
        output_length: 20 + i % 40,
        ended: true,
    };
    let replies: Vec<FinishedReply> = (0..40).map(reply).collect();
    let judged: Vec<_> = replies
        .iter()
        .map(|reply| {
            Judged::new(reply, |t| Forecast {
                end_within: END_WITHIN.map(|k| k as f32 / 100.0),
                ..Forecast::point(40.0 - t as f32 / 2.0)
            })
        })
        .collect();
    EvaluationReport::new(
        &replies,
        vec![ModelReport::new("surv<ival>", &judged, Some(2.0))],
        "a synthetic law",
        &replies,
    )
}

#[test]
fn a_log_becomes_figures_and_a_page_that_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &log(own));
    let traces = read(folder.path(), None, |_| {}).unwrap();
    let out = folder.path().join("report");
    let page = report(&traces, Some(&evaluation()), "data/<x>", &out, |_| {}).unwrap();
    assert_eq!(page, out.join(PAGE));
    let html = std::fs::read_to_string(page).unwrap();
    let mut files: BTreeMap<String, u32> = BTreeMap::new();
    for entry in std::fs::read_dir(&out).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.metadata().unwrap().len() > 1000, "{path:?}");
        *files.entry(path.file_stem().unwrap().to_string_lossy().into_owned()).or_default() += 1;
    }
    assert_eq!(files.remove("report"), Some(1));
    assert_eq!(files.len(), 12, "{files:?}");
    for (figure, formats) in files {
        assert_eq!(formats, 2, "{figure} as SVG and as PNG");
        assert!(html.contains(&format!("id=\"{figure}\"")), "{figure}");
    }
    assert_eq!(html.matches("<svg").count(), 12);
    for outside in ["src=", "href=\"http", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    for raw in ["<code>", "data/<x>", "surv<ival>"] {
        assert!(!html.contains(raw), "{raw} is not escaped");
    }
}

#[test]
fn twelve_classic_fields_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("eos.jsonl");
    std::fs::write(&file, log(classic).join("\n")).unwrap();
    for path in [file.as_path(), folder.path()] {
        let traces = read(path, None, |_| {}).unwrap();
        let cut = traces.traces.iter().filter(|trace| trace.end == End::Cut).count();
        assert_eq!((traces.traces.len(), cut, traces.intake.damages.count, traces.intake.missing_steps), (40, 8, 0, 0));
        assert!(traces.traces.iter().all(|trace| trace.steps.len() as u32 == trace.length()));
    }
    let traces = read(&file, None, |_| {}).unwrap();
    let out = folder.path().join("report");
    assert!(report(&traces, None, "eos.jsonl", &out, |_| {}).is_ok());
    assert!(!out.join("fan.svg").exists());
}

#[test]
fn damage_is_counted_and_told_by_line_and_the_rest_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = log(own);
    let whole = lines.len() as u64;
    let broken = [
        lines[3].replace("\"step\":1", "\"step\":-1"),
        lines[3].replace("\"eos_logprob\":-", "\"eos_logprob\":NaN,\"x\":-"),
        lines[3].clone(),
        "{\"request_id\":".to_owned(),
        "[]".to_owned(),
        own(900, 1, 2, false).to_string().replace("\"eos_logprob\":-", "\"eos_logprob\":"),
        "\u{0}\u{1}".to_owned(),
    ];
    lines.extend(broken);
    lines.remove(500);
    write(folder.path(), &lines);
    let traces = read(folder.path(), None, |_| {}).unwrap();
    let intake = &traces.intake;
    assert_eq!((intake.steps, intake.damages.count, intake.repeats.count, intake.missing_steps), (whole - 1, 5, 2, 1));
    let told: Vec<_> = intake.damages.first.iter().chain(&intake.repeats.first).map(ToString::to_string).collect();
    assert!(told[0].contains(&format!("steps-0000000000000000.jsonl:{whole}: ")), "{told:?}");
    assert!(told[3].contains("is not of a probability"), "{told:?}");
    assert!(told[6].ends_with("step 1 of request r-3 is there twice; the first is used"), "{told:?}");
    assert!(report(&traces, None, "x", &folder.path().join("report"), |_| {}).is_ok());
}

#[test]
fn models_are_not_mixed_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = log(own);
    lines.extend(log(own).iter().take(100).map(|line| line.replace("\"model\":\"m\"", "\"model\":\"other\"")));
    write(folder.path(), &lines);
    let error = format!("{:#}", read(folder.path(), None, |_| {}).unwrap_err());
    assert!(
        error.contains("mixes models: m (") && error.contains("other (100 lines)") && error.contains("--model"),
        "{error}"
    );
    let other = read(folder.path(), Some("other"), |_| {}).unwrap();
    assert_eq!((other.intake.steps, other.model.as_deref()), (100, Some("other")));
    let error = format!("{:#}", read(folder.path(), Some("third"), |_| {}).unwrap_err());
    assert!(error.contains("no usable step line of model third"), "{error}");
}

#[test]
fn nothing_to_read_is_an_error_that_says_what_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let error = format!("{:#}", read(folder.path(), None, |_| {}).unwrap_err());
    assert!(error.contains("no log at") && error.contains("steps-*.jsonl"), "{error}");
    write(folder.path(), &["{}".to_owned()]);
    let error = format!("{:#}", read(folder.path(), None, |_| {}).unwrap_err());
    assert!(error.contains("1 damaged lines") && error.contains("missing field `request_id`, first "), "{error}");
    assert!(error.ends_with("steps-0000000000000000.jsonl:1"), "{error}");
}

#[test]
fn a_single_step_makes_a_report() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[classic(1, 1, 1, false).to_string()]);
    let traces = read(folder.path(), None, |_| {}).unwrap();
    assert!(report(&traces, None, "x", &folder.path().join("report"), |_| {}).is_ok());
}

#[test]
fn what_cannot_end_or_was_steered_is_no_natural_end() {
    let folder = tempfile::tempdir().unwrap();
    let with = |request: u32, step: u32, key: &str, value: Value| {
        let mut line = own(request, step, 2, false);
        line[key] = value;
        line.to_string()
    };
    write(
        folder.path(),
        &[
            with(1, 1, "ignore_eos", json!(true)),
            with(1, 2, "ignore_eos", json!(true)),
            with(2, 1, "eos_bias", json!(0.5)),
            own(2, 2, 2, false).to_string(),
            with(3, 2, "finish_reason", json!("abort")),
        ],
    );
    let ends: Vec<_> = read(folder.path(), None, |_| {}).unwrap().traces.iter().map(|trace| trace.end).collect();
    assert_eq!(ends, [End::Unknown, End::Cut, End::Unknown]);
}
