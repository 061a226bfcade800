use std::path::{Path, PathBuf};

use eoscast_log::packed::pack_for_test;
use eoscast_log::record::StepLine;

use super::*;
use crate::features::{FeatureRow, FeatureState};
use crate::fitting::left_out::OLDER;
use crate::fitting::synthetic::{MODEL, samples, write_log};

fn file(folder: &Path, series: &str) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.to_string_lossy().contains(series)).unwrap()
}

/// Writes a log of 30 requests whose lines `edit` has changed, and reads it.
fn edited(series: &str, edit: impl FnOnce(&mut Vec<String>)) -> anyhow::Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 30, 1);
    let path = file(folder.path(), series);
    let mut lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    edit(&mut lines);
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    Dataset::load(folder.path(), &Selection::default(), |_| {})
}

#[test]
fn rows_of_a_sample_are_those_that_the_predictor_saw() {
    let all = samples(30, 1);
    assert_eq!(all.len(), 30);
    for sample in &all {
        let rows: Vec<FeatureRow> = sample.rows().collect();
        assert_eq!(rows.len() as u32, sample.length);
        assert!(rows.iter().zip(0..).all(|(row, step)| row.step == step && row.observed == step));
        let mut state = FeatureState::new(sample.arrival, 0);
        let last = sample.events().map(|event| state.observe(&event)).nth(rows.len().saturating_sub(2));
        assert!(rows.len() == 1 || rows.last() == last.as_ref());
    }
    assert!(all.iter().any(|sample| !sample.ended) && all.iter().any(|sample| sample.ended));
}

#[test]
fn damaged_lines_are_told_by_file_and_line_and_skipped() {
    let dataset = edited("steps", |lines| {
        lines[3] = lines[3].replace("\"step\":", "\"step\":-");
        lines[5] = lines[5].replace("\"entropy\":", "\"entropy\":NaN,\"x\":");
        lines[7].truncate(40);
        lines[9] = lines[9].replace("\"token_logprob\":-", "\"token_logprob\":");
        lines.insert(0, "}".to_owned());
    })
    .unwrap();
    assert_eq!(dataset.samples.len(), 30);
    let told: Vec<u64> = dataset.intake.damages.first.iter().map(|damage| damage.line).collect();
    // A NaN in line 7 is a signal that is not known.
    assert_eq!(told, [1, 5, 9, 11]);
    assert!(dataset.intake.notes()[1].contains("steps") && dataset.intake.notes()[1].contains(":1: "));
    assert_eq!(dataset.intake.missing_steps, 3);
    assert!(dataset.intake.gaps.first[0].to_string().contains("steps of request"), "{:?}", dataset.intake.gaps);
}

#[test]
fn repeated_steps_count_once() {
    let whole = samples(30, 1);
    let dataset =
        edited("steps", |lines| *lines = lines.iter().flat_map(|line| [line.clone(), line.clone()]).collect());
    let dataset = dataset.unwrap();
    assert_eq!(dataset.samples, whole);
    assert!(dataset.intake.repeats.count > 100);
    assert_eq!(dataset.intake.repeats.first[0].line, 2);
}

#[test]
fn a_step_that_names_no_worker_or_no_run_is_counted_and_named() {
    let dataset = edited("steps", |lines| {
        lines[3] = lines[3].replace("\"worker_id\"", "\"w\"");
        lines[5] = lines[5].replace("\"epoch\"", "\"e\"");
    })
    .unwrap();
    let told: Vec<_> = dataset.intake.damages.first.iter().map(|damage| (damage.line, damage.kind)).collect();
    assert_eq!(told, [(4, NO_RUN), (6, NO_RUN)]);
}

#[test]
fn a_step_of_a_request_without_an_outcome_is_counted() {
    let dataset = edited("steps", |lines| {
        let stranger = lines[0].replace("\"request_id\":\"r0\"", "\"request_id\":\"unfinished\"");
        lines.push(stranger);
    })
    .unwrap();
    assert_eq!(dataset.intake.passed_over, 1);
    assert!(dataset.intake.notes()[0].starts_with("1 step lines skipped: "), "{:?}", dataset.intake.notes());
}

#[test]
fn a_log_whose_lines_are_all_bad_says_so_and_not_that_it_has_no_request() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 3, 1);
    let load = |bad_lines| {
        let selection = Selection { bad_lines, ..Selection::default() };
        format!("{:#}", Dataset::load(folder.path(), &selection, |_| {}).unwrap_err())
    };
    for (series, name) in [("requests", "requests-0000000000000000.jsonl:1"), ("steps", "eos.jsonl:1")] {
        if series == "steps" {
            // A log of steps alone.
            for series in ["starts", "requests", "steps"] {
                std::fs::remove_file(file(folder.path(), series)).unwrap();
            }
            std::fs::write(folder.path().join("eos.jsonl"), "{\n").unwrap();
        } else {
            std::fs::write(file(folder.path(), series), "{\n").unwrap();
        }
        let (refused, skipped) = (load(BadLines::Refuse), load(BadLines::Skip));
        assert!(refused.contains("--bad-lines is refuse:\n1 damaged lines") && refused.contains(name), "{refused}");
        assert!(skipped.contains("no request can be used\n1 damaged lines") && skipped.contains(name), "{skipped}");
    }
}

#[test]
fn a_packed_log_is_read_as_the_one_that_was_packed() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 30, 1);
    let whole = Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap();
    for series in ["requests", "steps"] {
        pack_for_test(&file(folder.path(), series)).unwrap();
    }
    let (mut read, selection) = (0, Selection::default());
    let dataset = Dataset::load(folder.path(), &selection, |bytes| read += bytes).unwrap();
    assert_eq!(dataset.samples, whole.samples);
    assert_eq!(read, Dataset::bytes(folder.path(), &selection).unwrap(), "progress comes to its total");
}

#[test]
fn requests_that_tell_nothing_are_left_out_with_the_reason() {
    let dataset = edited("requests", |lines| {
        lines[0] = lines[0].replace("\"ignore_eos\":false", "\"ignore_eos\":true");
        lines[1] = lines[1].replace("\"first_length\":0", "\"first_length\":3");
        let again = lines[2].clone();
        lines.push(again);
        lines[3] = lines[3].replace("\"request_id\":\"r3\"", "\"request_id\":\"unseen\"");
    })
    .unwrap();
    assert_eq!(dataset.samples.len(), 26);
    let reasons: Vec<_> = dataset.intake.left_out.iter().map(|(reason, count)| (*reason, *count)).collect();
    let mut expected = [(IGNORES_EOS, 1), (BEGUN_BEFORE, 1), (REUSED, 1), (NO_STEPS, 1)];
    expected.sort_unstable();
    assert_eq!(reasons, expected);
}

#[test]
fn a_steered_reply_is_cut_where_steering_began() {
    let dataset = edited("requests", |lines| {
        let line = lines.iter_mut().find(|line| line.contains("\"output_length\":200")).unwrap();
        *line = line
            .replace("\"steered_from\":null", "\"steered_from\":51")
            .replace("\"censored\":false", "\"censored\":true");
    })
    .unwrap();
    let sample = dataset.samples.iter().find(|sample| sample.length == 50).unwrap();
    assert!(!sample.ended && sample.events().count() == 50);
    assert_eq!(dataset.intake.damages.count, 0);
}

#[test]
fn requests_of_several_models_are_not_mixed_unasked() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 30, 1);
    for series in ["requests", "steps"] {
        let path = file(folder.path(), series);
        let text = std::fs::read_to_string(&path).unwrap();
        let other = |line: &str| {
            let of_r1 = line.contains("\"request_id\":\"r1\"");
            if of_r1 { line.replace("\"model\":\"synthetic\"", "\"model\":\"other\"") } else { line.to_owned() }
        };
        std::fs::write(&path, text.lines().map(other).collect::<Vec<_>>().join("\n")).unwrap();
    }
    let load = |model| Dataset::load(folder.path(), &Selection { model, ..Selection::default() }, |_| {});
    let error = |wanted| format!("{:#}", load(wanted).unwrap_err());
    assert_eq!(
        error(Wanted::Only),
        format!(
            "{}: the log mixes models: other (1 requests), synthetic (29 requests); choose one with --model-name",
            folder.path().display()
        )
    );
    let synthetic = load(Wanted::Named(MODEL)).unwrap();
    assert_eq!(synthetic.samples.len(), 29);
    assert_eq!(synthetic.intake.left_out[OTHER_MODEL], 1);
    assert!(synthetic.intake.passed_over > 0, "the steps of the other model's request");
    assert_eq!(load(Wanted::Named("other")).unwrap().samples.len(), 1);
    assert_eq!(load(Wanted::Commonest).unwrap().model, MODEL);
    assert!(error(Wanted::Named("third")).contains("no request in the log is of the model third"));
}

#[test]
fn steps_without_a_sketch_have_none_when_read_back() {
    let mut told = HashMap::new();
    let dataset = edited("steps", |lines| {
        for line in lines.iter_mut() {
            let step: StepLine = serde_json::from_str(line).unwrap();
            if step.step % 4 != 1 {
                *line = format!("{}}}", &line[..line.find(",\"sketch\":[").unwrap()]);
            } else {
                told.insert((step.request_id, step.step), step.sketch);
            }
        }
    })
    .unwrap();
    for sample in &dataset.samples {
        for event in sample.events() {
            match told.get(&(event.request_id, event.step)) {
                Some(sketch) => {
                    assert_eq!(event.sketch[..], sketch.iter().map(|v| f16::from_f32(*v).to_f32()).collect::<Vec<_>>())
                }
                None => assert!(event.sketch.is_empty()),
            }
        }
    }
}

#[test]
fn sketches_of_different_lengths_are_refused() {
    let error = edited("steps", |lines| {
        for line in lines.iter_mut().filter(|line| line.contains("\"request_id\":\"r2\"")) {
            let at = line.find("\"sketch\":[").unwrap();
            *line = format!("{}\"sketch\":[1.0]}}", &line[..at]);
        }
    });
    assert!(format!("{:#}", error.unwrap_err()).contains("sketches of [1, 6] numbers"));
}

#[test]
fn equal_logs_have_equal_hashes() {
    let hash = |seed| crate::fitting::synthetic::dataset(10, seed).hash;
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_folder_without_a_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("has no event log"), "{error}");
}

#[test]
fn a_log_with_bad_lines_is_refused_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 30, 1);
    let refuse = Selection { bad_lines: BadLines::Refuse, ..Selection::default() };
    assert_eq!(Dataset::load(folder.path(), &refuse, |_| {}).unwrap().samples.len(), 30);
    let (steps, whole) = {
        let path = file(folder.path(), "steps");
        let text = std::fs::read_to_string(&path).unwrap();
        (path, text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let refusal = |lines: Vec<String>| {
        std::fs::write(&steps, lines.join("\n") + "\n").unwrap();
        let error = Dataset::load(folder.path(), &refuse, |_| {}).unwrap_err();
        format!("{error:#}")
    };
    let gap_at =
        (1..whole.len()).find(|i| !whole[*i].contains("\"step\":1,") && !whole[*i].contains("\"is_finished\":true"));
    let gap_at = gap_at.unwrap();
    for (reason, line, lines) in [
        ("1 damaged lines", 1, [&["{".to_owned()], &whole[..]].concat()),
        ("1 repeated lines", 2, [&whole[..1], &whole[..]].concat()),
        ("1 steps are missing", gap_at + 1, [&whole[..gap_at], &whole[gap_at + 1..]].concat()),
    ] {
        let error = refusal(lines);
        assert!(error.contains(reason) && error.contains(&format!("{}:{line}: ", steps.display())), "{error}");
    }
}

#[test]
fn only_the_newest_bytes_are_read_and_requests_that_began_before_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 30, 1);
    let whole = Dataset::load(folder.path(), &Selection::default(), |_| {}).unwrap();
    let path = file(folder.path(), "steps");
    let text = std::fs::read_to_string(&path).unwrap();
    // Two files, as rotation leaves them; the second begins in the middle of a request.
    let lines: Vec<&str> = text.lines().collect();
    let (old, new) = lines.split_at(lines.len() / 2);
    std::fs::write(&path, old.join("\n") + "\n").unwrap();
    std::fs::write(folder.path().join(format!("steps-{:016}.jsonl", old.len())), new.join("\n") + "\n").unwrap();
    let newest = Dataset::load(folder.path(), &Selection { bytes: 10, ..Selection::default() }, |_| {}).unwrap();
    assert!(newest.samples.len() < 30 && newest.intake.gaps.count == 0, "{:?}", newest.intake);
    assert_eq!(newest.samples, whole.samples[30 - newest.samples.len()..]);
    assert_eq!(newest.intake.left_out[OLDER], 30 - newest.samples.len() as u64);
}
