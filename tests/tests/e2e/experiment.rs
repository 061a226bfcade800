//! `eoscast-lab experiment` in small: real services for each policy, an oracle for one that wants the truth, and a report of both.

use std::process::Command;

use eoscast_pair::process::{binary, models_folder};
use eoscast_pair::prompts::PROMPTS;
use eoscast_sim::cost_file::write_cost;
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
    write_cost(path("cost.json").as_ref(), eoscast_sim::CostModel::WORKER).unwrap();
    let run = |policies: &str| -> Value {
        let output = Command::new(binary("eoscast-lab").unwrap())
            .arg("experiment")
            .args(["--prompts", &path("prompts.jsonl"), "--cost", &path("cost.json"), "--out", &path("out"), "--json"])
            .args(["--requests", "6", "--max-tokens", "24", "--kv-tokens", "512", "--rho", "2", "--rounds", "1"])
            .args(["--policy", policies])
            .env("EOSCAST_MODELS", models_folder())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let alone = run("fcfs+past-future");
    let report = run("fcfs+past-future,srpt-oracle+oracle-peak");
    assert_eq!(alone["runs"][0], report["runs"][0], "a run that was made is not made again");
    assert_eq!(alone["cost"], report["cost"]);
    assert_eq!(report["requests"], 6, "{report}");
    assert_eq!(report["left_out"], json!([]));
    let names: Vec<&Value> = report["runs"].as_array().unwrap().iter().map(|run| &run["policy"]).collect();
    assert_eq!(names, ["fcfs+past-future", "srpt-oracle+oracle-peak"]);
    for run in report["runs"].as_array().unwrap() {
        assert_eq!(run["different_lengths"], 0, "a seed gives the same reply in any batch: {run}");
        assert_eq!(run["dropped_steps"], 0, "{run}");
        for figure in ["mean_latency", "p99_latency", "mean_normalised_latency", "throughput"] {
            assert!(
                ["measured", "simulated"].iter().all(|of| run[of][figure].as_f64().unwrap() > 0.0),
                "{figure}: {run}"
            );
        }
        assert!(run["slowness"].as_f64().unwrap() > 0.0, "{run}");
    }
    assert_eq!(report["policies"][0]["ratios"][0]["mean_latency"]["mean"], 1.0, "{report}");

    let journal = std::fs::read_to_string(path("out/runs.jsonl")).unwrap();
    let lines: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "the first pass and two runs: {journal}");
    let served = |line: &Value| line["served"].as_array().unwrap().clone();
    assert_eq!(served(&lines[1]).len(), 6);
    for (ours, theirs) in served(&lines[1]).iter().zip(&served(&lines[2])) {
        assert_eq!(ours[0], theirs[0], "the same order of requests");
        assert!(["arrival", "output_tokens"].iter().all(|field| ours[1][field] == theirs[1][field]), "{ours} {theirs}");
    }
    assert!(std::fs::read_to_string(path("out/frontier-2.svg")).unwrap().contains("srpt-oracle+oracle-peak"));
}

#[test]
fn what_is_wrong_is_named_by_its_option() {
    let run = |args: &[&str]| {
        let output = Command::new(binary("eoscast-lab").unwrap()).arg("experiment").args(args).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = run(&["--prompts", "/nowhere.jsonl", "--cost", "/nowhere.json", "--out", "/nowhere"]);
    assert!(error.contains("--cost") && error.contains("/nowhere.json"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let cost = folder.path().join("cost.json");
    write_cost(&cost, eoscast_sim::CostModel::WORKER).unwrap();
    let error = run(&["--prompts", "/nowhere.jsonl", "--cost", &cost.display().to_string(), "--out", "/nowhere"]);
    assert!(error.contains("--prompts") && error.contains("/nowhere.jsonl"), "{error}");
}
