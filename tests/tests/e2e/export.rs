//! `eoscast-lab export`: DuckDB and pandas find in the tables what stands in the log.

use std::path::Path;
use std::process::Command;

use eoscast_forecast::fitting::synthetic::write_log;
use eoscast_log::record::{RequestLine, StepLine};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::run;

const REQUESTS: usize = 200;

fn lines<T: DeserializeOwned>(folder: &Path, series: &str) -> Vec<T> {
    let text = std::fs::read_to_string(folder.join(format!("{series}-0000000000000000.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn duckdb_and_pandas_find_in_the_tables_what_stands_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (collected, log) = (folder.path().join("collected"), folder.path().join("log"));
    write_log(&collected, REQUESTS, 1);
    let path = |path: &Path| path.display().to_string();
    let (collected, data, out) = (path(&collected), path(&log), path(&folder.path().join("log.parquet")));
    let (ok, _, errors) = run("eoscast-lab", &["estimate", "--data", &collected, "--out", &data]);
    assert!(ok, "{errors}");
    let (ok, printed, errors) = run("eoscast-lab", &["export", "--data", &data, "--out", &out]);
    assert!(ok, "{errors}");
    let (steps, requests): (Vec<StepLine>, Vec<RequestLine>) = (lines(&log, "steps"), lines(&log, "requests"));
    assert!(printed.contains(&format!("log.parquet: {} steps", steps.len())), "{printed}");

    let python = std::env::var("EOSCAST_PYTHON").expect(
        "EOSCAST_PYTHON must name a Python with the packages of tests/requirements.txt; `make test` installs one",
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/tables.py");
    let output = Command::new(python).arg(script).args([&data, &out]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();

    let sum = |value: fn(&StepLine) -> f64| steps.iter().map(value).sum::<f64>();
    let known = steps.iter().filter(|line| line.estimate.is_some()).count();
    let latest = steps.iter().map(|line| line.timestamp).fold(0.0, f64::max);
    let expected = [
        steps.len() as f64,
        sum(|line| line.step.into()),
        sum(|line| line.eos_logprob.into()),
        known as f64,
        REQUESTS as f64,
        latest,
    ];
    for reader in ["duckdb", "lines", "pandas"] {
        let values: Vec<f64> = found[reader].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        // The decimals in a line are those that a 32-bit number needs.
        let is_equal = |(value, expected): (&f64, &f64)| (value - expected).abs() <= 1e-7 * expected.abs();
        let all_equal = values.len() == expected.len() && values.iter().zip(&expected).all(is_equal);
        assert!(all_equal, "{reader}: {values:?}, expected {expected:?}");
    }
    let tokens: u32 = requests.iter().map(|line| line.output_length).sum();
    let censored = requests.iter().filter(|line| line.censored).count();
    assert!(censored > 0 && known < steps.len());
    assert_eq!(found["requests"], json!([REQUESTS, tokens, censored]));
    assert_eq!((&found["reasons"], &found["starts"][0]), (&json!(["length", "stop"]), &json!(REQUESTS)));
    let first = steps[0].estimate.as_ref().unwrap().remaining.quantiles[6];
    assert_eq!((&found["quantile"], &found["sketch"]), (&json!(f64::from(first)), &json!(steps[0].sketch.len())));
}
