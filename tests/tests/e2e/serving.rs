//! The serving experiment in small: real services for each policy, an oracle for one that wants the truth, and a report of both.

use std::process::Command;

use eoscast_tests::process::{binary, models_folder};
use eoscast_tests::prompts::PROMPTS;
use eoscast_worker::simulation::cost_file::write_cost;
use serde_json::{Value, json};

#[test]
fn policies_meet_the_same_requests_and_the_report_has_them_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let lines = PROMPTS
        .iter()
        .enumerate()
        .map(|(i, (task, prompt))| format!("{}\n", json!({ "id": format!("p{i}"), "task": task, "prompt": prompt })));
    std::fs::write(path("prompts.jsonl"), lines.collect::<String>()).unwrap();
    write_cost(path("cost.json").as_ref(), eoscast_sched::sim::CostModel::WORKER).unwrap();
    let output = Command::new(binary("eoscast-serving-experiment").unwrap())
        .args(["--prompts", &path("prompts.jsonl"), "--cost", &path("cost.json"), "--out", &path("out"), "--json"])
        .args(["--requests", "6", "--max-tokens", "24", "--kv-tokens", "512", "--rho", "2", "--rounds", "1"])
        .args(["--policy", "fcfs+past-future,srpt-oracle+oracle-peak"])
        .env("EOSCAST_MODELS", models_folder())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["requests"], 6, "{report}");
    assert_eq!(report["left_out"], json!([]));
    let names: Vec<&Value> = report["runs"].as_array().unwrap().iter().map(|run| &run["policy"]).collect();
    assert_eq!(names, ["fcfs+past-future", "srpt-oracle+oracle-peak"]);
    for run in report["runs"].as_array().unwrap() {
        assert_eq!(run["different_lengths"], 0, "a seed gives the same reply in any batch: {run}");
        assert_eq!(run["dropped_steps"], 0, "{run}");
        for figure in ["mean_latency", "p99_latency", "mean_normalised_latency", "throughput", "simulated_mean_latency"]
        {
            assert!(run[figure].as_f64().unwrap() > 0.0, "{figure}: {run}");
        }
    }
    assert_eq!(report["policies"][0]["ratios"][0]["mean_latency"]["mean"], 1.0, "{report}");

    let served = std::fs::read_to_string(path("out/requests.jsonl")).unwrap();
    let served: Vec<Value> = served.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(served.len(), 12);
    for pair in served[..6].iter().zip(&served[6..]) {
        let same = ["request_id", "arrival", "output_tokens"];
        assert!(same.iter().all(|field| pair.0[field] == pair.1[field]), "{pair:?}");
    }
    assert!(std::fs::read_to_string(path("out/frontier-2.svg")).unwrap().contains("srpt-oracle+oracle-peak"));
}

#[test]
fn what_is_wrong_is_named_by_its_option() {
    let run = |args: &[&str]| {
        let output = Command::new(binary("eoscast-serving-experiment").unwrap()).args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = run(&["--prompts", "/nowhere.jsonl", "--cost", "/nowhere.json"]);
    assert!(error.contains("--cost") && error.contains("/nowhere.json"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let cost = folder.path().join("cost.json");
    write_cost(&cost, eoscast_sched::sim::CostModel::WORKER).unwrap();
    let error = run(&["--prompts", "/nowhere.jsonl", "--cost", &cost.display().to_string()]);
    assert!(error.contains("--prompts") && error.contains("/nowhere.jsonl"), "{error}");
}
