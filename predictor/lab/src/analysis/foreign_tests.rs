//! Logs of others, each with what its engine, pandas or a rotation makes of the twelve classic fields.

use std::io::Write;

use serde_json::{Value, json};

use super::page;
use super::trace::{End, Traces, read};

/// Lengths of the requests, and whether they were cut.
const REQUESTS: [(u32, bool); 6] = [(20, false), (25, true), (30, false), (35, false), (40, true), (45, false)];
const LINES: u64 = 195;

/// Six requests, interleaved as a batch writes them.
fn lines(edit: impl Fn(&mut Value)) -> Vec<String> {
    let line = |request: usize, step: u32| {
        let (length, cut) = REQUESTS[request];
        let last = step == length;
        let eos_logprob = -9.0 + 8.5 * f64::from(step) / f64::from(length);
        let mut line = json!({
            "request_id": format!("cmpl-{request}"), "timestamp": 1.73e9 + 0.05 * f64::from(step), "step": step,
            "current_token_id": if last && !cut { 2 } else { 100 + step }, "eos_token_id": 2,
            "eos_logprob": eos_logprob, "eos_prob": eos_logprob.exp(), "is_finished": last,
            "finish_reason": if !last { Value::Null } else if cut { json!("length") } else { json!("stop") },
            "prompt_length": 20, "output_length": step, "total_length": 20 + step,
        });
        edit(&mut line);
        line.to_string()
    };
    let steps = (1..=45).flat_map(|step| (0..REQUESTS.len()).map(move |request| (request, step)));
    steps.filter(|(request, step)| *step <= REQUESTS[*request].0).map(|(request, step)| line(request, step)).collect()
}

fn read_text(text: &[u8]) -> Traces {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("eos.jsonl");
    std::fs::write(&file, text).unwrap();
    read(&file, None, |_| {}).unwrap()
}

fn read_edited(edit: impl Fn(&mut Value)) -> Traces {
    read_text(lines(edit).join("\n").as_bytes())
}

fn ends(traces: &Traces) -> [usize; 3] {
    [End::Stopped, End::Cut, End::Unknown].map(|end| traces.traces.iter().filter(|trace| trace.end == end).count())
}

/// Lines that were not used.
fn unused(traces: &Traces) -> u64 {
    traces.intake.damages.count + traces.intake.repeats.count
}

/// All lines are used, and every end is known.
fn is_whole(traces: &Traces) -> bool {
    (traces.intake.steps, unused(traces), traces.intake.missing_steps, ends(traces)) == (LINES, 0, 0, [4, 2, 0])
}

#[test]
fn an_eos_that_missed_the_top_k_is_unknown_and_its_step_is_used() {
    let nothing = |value: Value| {
        let traces = read_edited(|line| {
            if line["step"].as_u64().is_some_and(|step| step % 2 == 0) {
                (line["eos_logprob"], line["eos_prob"]) = (value.clone(), value.clone());
            }
        });
        assert!(is_whole(&traces), "{value}: {:?}", traces.notes());
        assert_eq!(traces.intake.unknown_eos, 96, "{value}");
        assert!(traces.notes()[0].contains("not known at 96 of 195 steps"), "{:?}", traces.notes());
        traces
    };
    nothing(Value::Null);
    nothing(json!("nan"));
    let bare = lines(|_| {}).join("\n").replace("\"eos_logprob\":-", "\"eos_logprob\":NaN,\"x\":-");
    // What one field does not tell, the other may.
    let traces = read_text(bare.as_bytes());
    assert!(is_whole(&traces) && traces.intake.unknown_eos == 0);
    let traces = read_text(bare.replace("\"eos_prob\":", "\"eos_prob\":NaN,\"y\":").as_bytes());
    assert!(is_whole(&traces) && traces.intake.unknown_eos == 195);
    let folder = tempfile::tempdir().unwrap();
    let page = super::report(&traces, None, "x", folder.path(), |_| {}).unwrap();
    assert!(
        std::fs::read_to_string(page).unwrap().contains("<b>100.0 %</b><span>steps without EOS probability</span>")
    );
}

#[test]
fn minus_infinity_is_a_probability_of_nought() {
    let text = lines(|line| line["eos_prob"] = json!(0.0)).join("\n");
    let first = text.find("\"eos_logprob\":-").unwrap();
    let end = first + text[first..].find(',').unwrap();
    let text = format!("{}\"eos_logprob\":-Infinity{}", &text[..first], &text[end..]);
    let traces = read_text(text.as_bytes());
    assert!(is_whole(&traces) && traces.intake.unknown_eos == 0);
    assert!(traces.traces[0].steps[0].eos_prob().unwrap() < 1e-29);
}

#[test]
fn numbers_and_ids_are_read_in_every_spelling() {
    let edits: [fn(&mut Value); 6] = [
        |line| {
            for field in ["step", "current_token_id", "eos_token_id", "prompt_length", "output_length", "total_length"]
            {
                line[field] = json!(line[field].as_f64().unwrap());
            }
        },
        |line| line["is_finished"] = json!(u8::from(line["is_finished"] == true)),
        |line| line["is_finished"] = json!(if line["is_finished"] == true { "True" } else { "false" }),
        |line| line["request_id"] = json!(line["request_id"].as_str().unwrap()[5..].parse::<f64>().unwrap()),
        |line| line["eos_token_id"] = json!([7, 2, 151_643]),
        |line| {
            line["timestamp"] = json!("2026-11-29T18:00:00Z");
            line["output_length"] = Value::Null;
            line["step"] = json!(line["step"].to_string());
        },
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let traces = read_edited(edit);
        assert!(is_whole(&traces), "edit {i}: {:?} {:?}", page::summary(&traces), traces.notes());
    }
}

#[test]
fn finish_reasons_of_vllm_are_known_in_every_form() {
    for names in [
        [json!(0), json!(1)],
        [json!("0"), json!("1")],
        [json!(0.0), json!(1.0)],
        [json!("FinishReason.STOP"), json!("FinishReason.LENGTH")],
        [json!("RequestStatus.FINISHED_STOPPED"), json!("FINISHED_LENGTH_CAPPED")],
        [json!({ "type": "stop", "matched": 2 }), json!({ "type": "length", "length": 25 })],
    ] {
        let traces = read_edited(|line| match line["finish_reason"].as_str() {
            Some("stop") => line["finish_reason"] = names[0].clone(),
            Some(_) => line["finish_reason"] = names[1].clone(),
            None => {}
        });
        assert!(is_whole(&traces), "{names:?}: {:?}", ends(&traces));
    }
}

#[test]
fn an_end_without_a_reason_is_unknown_unless_eos_was_drawn_and_shares_are_of_what_is_known() {
    let traces = read_edited(|line| line["finish_reason"] = Value::Null);
    assert_eq!((traces.intake.steps, ends(&traces)), (LINES, [4, 0, 2]));
    let folder = tempfile::tempdir().unwrap();
    let page = super::report(&traces, None, "x", folder.path(), |_| {}).unwrap();
    let html = std::fs::read_to_string(page).unwrap();
    assert!(html.contains("<b>100.0 %</b><span>ended by themselves</span>"));
    assert!(html.contains("<b>2</b><span>aborted, or end not known</span>"));

    let odd = read_edited(|line| {
        if line["finish_reason"] == "length" {
            line["finish_reason"] = json!("banana");
        }
    });
    assert_eq!(ends(&odd), [4, 0, 2]);
    let notes = odd.notes();
    assert!(
        notes[0] == "2 values are not understood and count as unknown"
            && notes[1].starts_with("  2 lines: finish_reason, first "),
        "{notes:?}"
    );
}

#[test]
fn two_runs_with_the_same_ids_are_twice_as_many_requests() {
    let later = lines(|line| line["timestamp"] = json!(line["timestamp"].as_f64().unwrap() + 1000.0));
    let traces = read_text([lines(|_| {}), later].concat().join("\n").as_bytes());
    assert_eq!((traces.intake.steps, ends(&traces), unused(&traces)), (2 * LINES, [8, 4, 0], 0));
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_folder_of_rotated_and_packed_files_is_one_log_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let all = lines(|_| {});
    let part = |from: usize, to: usize| all[from..to].join("\n") + "\n";
    write("eos.jsonl", part(150, 195).as_bytes());
    write("eos.jsonl.1", part(100, 150).as_bytes());
    write("eos.jsonl.2.gz", &packed(&part(60, 100)));
    write("eos.jsonl-20261128.gz", &packed(&part(0, 60)));
    write("notes.txt", b"not a log");
    let traces = read(folder.path(), None, |_| {}).unwrap();
    assert!(is_whole(&traces) && traces.intake.gaps.count == 0, "{:?}", traces.notes());
    assert_eq!(traces.notes(), ["not read: notes.txt"]);
    let summary = page::summary(&traces);
    assert!(summary.contains("Read 4 files (eos.jsonl-20261128.gz to eos.jsonl): 195 step lines"), "{summary}");
}

#[test]
fn byte_order_marks_and_windows_line_ends_are_no_part_of_a_line() {
    let text = lines(|_| {}).join("\r\n");
    assert!(is_whole(&read_text(format!("\u{feff}{text}\r\n").as_bytes())));
}

#[test]
fn what_is_not_used_is_told_by_kind_with_the_first_line_of_each() {
    let mut all = lines(|_| {});
    all[0] = "{\"request_id\":".to_owned();
    all[7] = "[]".to_owned();
    all[9] = "[1]".to_owned();
    let traces = read_text(all.join("\n").as_bytes());
    let notes = traces.notes();
    assert_eq!(notes[0], "3 damaged lines skipped");
    assert!(
        notes[1].starts_with("  2 lines: is not a JSON object, first ") && notes[1].ends_with("eos.jsonl:8"),
        "{notes:?}"
    );
    assert!(
        notes[2].starts_with("  1 line: is not JSON, first ") && notes[2].contains("eos.jsonl:1: EOF"),
        "{notes:?}"
    );
    assert_eq!(traces.intake.steps, LINES - 3);
}
