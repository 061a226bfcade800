use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, TimestampMicrosecondType, UInt32Type};
use arrow_array::{Array, ArrayAccessor, RecordBatch};
use arrow_schema::DataType;
use eoscast_forecast::fitting::synthetic::write_log;
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

fn batches(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

fn floats(batches: &[RecordBatch], column: &str) -> Vec<Option<f32>> {
    let of = |batch: &RecordBatch| {
        batch.column_by_name(column).unwrap().as_primitive::<Float32Type>().iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

fn counts(batches: &[RecordBatch], column: &str) -> Vec<Option<u32>> {
    let of = |batch: &RecordBatch| {
        batch.column_by_name(column).unwrap().as_primitive::<UInt32Type>().iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

fn lines<T: DeserializeOwned>(folder: &Path, series: &str) -> Vec<T> {
    let text = std::fs::read_to_string(folder.join(format!("{series}-0000000000000000.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_value_of_a_log_is_in_its_tables() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 60, 3);
    let out = folder.path().join("log.parquet");
    let mut told = 0;
    let exported = export(folder.path(), &out, |lines| told += lines).unwrap();
    let steps: Vec<StepLine> = lines(folder.path(), "steps");
    let requests: Vec<RequestLine> = lines(folder.path(), "requests");
    let starts: Vec<StartLine> = lines(folder.path(), "starts");
    let rows: Vec<_> = exported.written.iter().map(|written| (written.what, written.rows)).collect();
    assert_eq!(rows, [("steps", steps.len() as u64), ("requests", 60), ("starts", 60)]);
    assert_eq!((told, exported.damages.count), (steps.len() as u64 + 120, 0));

    let table = batches(&out);
    assert_eq!(floats(&table, "eos_logprob"), steps.iter().map(|line| Some(line.eos_logprob)).collect::<Vec<_>>());
    assert_eq!(counts(&table, "step"), steps.iter().map(|line| Some(line.step)).collect::<Vec<_>>());
    assert_eq!(floats(&table, "newline_logprob"), steps.iter().map(|line| line.newline_logprob).collect::<Vec<_>>());
    let sketches = table.iter().flat_map(|batch| {
        let lists = batch.column_by_name("sketch").unwrap().as_list::<i32>().clone();
        (0..lists.len())
            .map(move |i| lists.value(i).as_primitive::<Float32Type>().values().to_vec())
            .collect::<Vec<_>>()
    });
    assert!(sketches.eq(steps.iter().map(|line| line.sketch.to_vec())));
    let first = table[0].column_by_name("timestamp").unwrap();
    assert_eq!(first.data_type().to_string(), "Timestamp(µs, \"UTC\")");
    let micros = first.as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(micros, (steps[0].timestamp * 1e6).round() as i64);
    assert!(matches!(table[0].column_by_name("request_id").unwrap().data_type(), DataType::Dictionary(..)));

    let table = batches(&folder.path().join("log.requests.parquet"));
    assert_eq!(
        counts(&table, "output_length"),
        requests.iter().map(|line| Some(line.output_length)).collect::<Vec<_>>()
    );
    assert_eq!(
        floats(&table, "mean_eos_prob"),
        requests.iter().map(|line| Some(line.mean_eos_prob)).collect::<Vec<_>>()
    );
    let table = batches(&folder.path().join("log.starts.parquet"));
    assert_eq!(counts(&table, "max_tokens"), starts.iter().map(|line| Some(line.max_tokens)).collect::<Vec<_>>());
}

#[test]
fn columns_are_named_as_the_fields_of_the_lines() {
    let names =
        |columns: Vec<arrow_schema::Field>| columns.into_iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 2, 3);
    let fields = |series: &str| -> Vec<String> {
        let line: serde_json::Map<String, serde_json::Value> = lines(folder.path(), series).swap_remove(0);
        line.keys().cloned().collect()
    };
    for (series, columns) in [
        ("steps", names(steps::columns().iter().map(Column::field).collect())),
        ("requests", names(requests::of_requests().iter().map(Column::field).collect())),
        ("starts", names(requests::of_starts().iter().map(Column::field).collect())),
    ] {
        for field in fields(series) {
            let has = columns.iter().any(|column| *column == field || column.starts_with(&format!("{field}_")));
            assert!(has, "{series}: {field} has no column");
        }
    }
}

#[test]
fn a_log_of_another_engine_has_null_where_it_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let line = |step: u32, eos: serde_json::Value| {
        json!({
            "request_id": 7, "timestamp": 1.5, "step": step, "current_token_id": 5, "eos_token_id": 2, "eos_logprob": eos,
            "eos_prob": null, "is_finished": step == 2, "finish_reason": if step == 2 { json!(1) } else { json!(null) },
            "prompt_length": 4, "output_length": step, "total_length": 4 + step,
        })
    };
    let text = format!("{}\n{{\n{}\n", line(1, json!(-0.5)), line(2, json!(null)));
    std::fs::write(folder.path().join("eos.jsonl"), text).unwrap();
    let out = folder.path().join("t.parquet");
    let exported = export(folder.path(), &out, |_| {}).unwrap();
    assert_eq!((exported.written.len(), exported.written[0].rows, exported.damages.count), (1, 2, 1));
    let table = batches(&out);
    assert_eq!(floats(&table, "eos_logprob"), [Some(-0.5), None]);
    assert_eq!(floats(&table, "entropy"), [None, None]);
    assert_eq!(floats(&table, "eos_logprob_sampled"), [None, None]);
    let reasons = table[0].column_by_name("finish_reason").unwrap().as_dictionary::<arrow_array::types::Int32Type>();
    assert!(reasons.is_null(0) && reasons.downcast_dict::<arrow_array::StringArray>().unwrap().value(1) == "length");
    assert!(!folder.path().join("t.requests.parquet").exists());
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), 2, 3);
    let error = |out: &Path| format!("{:#}", export(folder.path(), out, |_| {}).unwrap_err());
    assert!(error(&folder.path().join("log.csv")).contains("name a file that ends in .parquet"));
    assert!(error(Path::new("/nowhere/log.parquet")).contains("choose another --out"));
    let nothing = export(Path::new("/nowhere"), &folder.path().join("x.parquet"), |_| {}).unwrap_err();
    assert!(format!("{nothing:#}").contains("/nowhere: has no log"), "{nothing:#}");
    let left = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("parquet"));
    assert_eq!(left.count(), 0);
}
