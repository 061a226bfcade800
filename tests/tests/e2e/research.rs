//! From prompts to a forecast: a log is collected, a model trained on it, judged, drawn, and scheduled by, each by its command.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use eoscast_pair::log;
use eoscast_pair::process::Process;
use serde_json::{Value, json};

use crate::{run, until};

const COUNTRIES: [&str; 14] = [
    "Norway",
    "Peru",
    "Japan",
    "Kenya",
    "Canada",
    "Portugal",
    "Vietnam",
    "New Zealand",
    "Mexico",
    "Egypt",
    "Iceland",
    "Sri Lanka",
    "Bolivia",
    "the Netherlands",
];
const QUESTIONS: [(&str, &str); 15] = [
    ("name", "What is the capital of {}?"),
    ("name", "Name one food from {}."),
    ("name", "Which language do people speak in {}?"),
    ("name", "What is the currency of {}?"),
    ("name", "On which continent is {}?"),
    ("name", "Name a river in {}."),
    ("name", "Name a city in {}, nothing else."),
    ("name", "Name an animal of {}."),
    ("name", "Which country lies north of {}?"),
    ("yes-or-no", "Is {} in Asia? Answer yes or no."),
    ("yes-or-no", "Is {} an island?"),
    ("yes-or-no", "Is it cold in {} in July?"),
    ("open", "What colours are on the flag of {}?"),
    ("open", "Who lives in {}?"),
    ("open", "Say hello to the people of {}."),
];

fn write_prompts(path: &Path) -> usize {
    let line = |(i, (country, (task, question))): (usize, (&&str, &(&str, &str)))| {
        json!({ "id": format!("p{i}"), "task": task, "prompt": question.replace("{}", country) }).to_string() + "\n"
    };
    let all = COUNTRIES.iter().flat_map(|country| QUESTIONS.iter().map(move |question| (country, question)));
    let lines: Vec<String> = all.enumerate().map(line).collect();
    std::fs::write(path, lines.concat()).unwrap();
    lines.len()
}

/// What a command prints; it must succeed.
fn output(name: &str, args: &str) -> String {
    let (ok, out, errors) = run(name, &args.split(' ').collect::<Vec<_>>());
    assert!(ok, "{name} {args}: {errors}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_collected_across_an_interrupt_and_a_model_of_it_trained_judged_drawn_and_scheduled_by() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let prompts = write_prompts(&folder.path().join("prompts.jsonl"));
    let collected = folder.path().join("log");
    let collect = format!(
        "collect --prompts {} --out {} --temperature 0.8 --max-tokens 48 --resume",
        path("prompts.jsonl"),
        collected.display()
    );

    let args: Vec<String> = collect.split(' ').map(str::to_owned).collect();
    let mut interrupted = Process::start("eoscast-worker", &args, &[]).unwrap();
    until("some steps are collected", async || log::steps(&collected).is_ok_and(|steps| steps.len() > 200)).await;
    interrupted.terminate().unwrap();
    interrupted.wait(Duration::from_secs(20)).unwrap();
    let before = log::steps(&collected).unwrap().len();
    output("eoscast-worker", &collect);
    let steps = log::steps(&collected).unwrap();
    assert!(before < steps.len());
    let finished = steps.iter().filter(|step| step["is_finished"] == true);
    assert_eq!(finished.map(|step| step["request_id"].to_string()).collect::<HashSet<_>>().len(), prompts);
    let places: HashSet<_> =
        steps.iter().map(|step| (step["request_id"].to_string(), step["step"].to_string())).collect();
    assert_eq!(places.len(), steps.len(), "no step twice");

    let [log, artifact, report, estimates] = ["log", "length-only.safetensors", "report", "estimates"].map(path);
    output("eoscast-lab", &format!("train --data {log} --model length-only --out {artifact}"));
    let judged = output("eoscast-lab", &format!("evaluate --data {log} --artifact {artifact} --json"));
    let judged: Value = serde_json::from_str(&judged).unwrap();
    let mae = |name: &str| {
        judged["models"].as_array().unwrap().iter().find(|model| model["name"] == name).unwrap()["mae"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(mae("oracle"), 0.0);
    assert!((0.0..48.0).contains(&mae("length-only")) && mae("mean") > 0.0, "{judged}");

    let judge = |further: &str| -> Value {
        serde_json::from_str(&output("eoscast-lab", &format!("evaluate --data {log} --json{further}"))).unwrap()
    };
    let names = |judged: &Value| -> Vec<String> {
        let models = judged["models"].as_array().unwrap();
        models.iter().map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    };
    let judged = judge(" --permutation");
    let by_default = names(&judged);
    for name in ["mean", "prior", "length-only", "oracle", "survival"] {
        assert_eq!(by_default.iter().filter(|judged| *judged == name).count(), 1, "{name}: {by_default:?}");
    }
    assert_eq!(judged["permutation"]["model"], "survival", "{judged}");
    assert!(judged["permutation"]["groups"].as_array().unwrap().len() > 5, "{judged}");
    assert_eq!(names(&judge(" --model mean --model length-only")), ["mean", "length-only"]);

    output("eoscast-lab", &format!("analyze --data {log} --out {report}"));
    let page = std::fs::read_to_string(folder.path().join("report/report.html")).unwrap();
    assert!(page.matches("<svg").count() >= 6 && page.contains("yes-or-no"), "a figure of each kind, by task");

    output("eoscast-lab", &format!("estimate --data {log} --artifact {artifact} --held-out --out {estimates}"));
    let simulated = output(
        "eoscast-lab",
        &format!(
            "simulate --trace {estimates} --policy fcfs+aggressive,fcfs+peak(0.8) --kv-tokens 512 --rate 100 --json"
        ),
    );
    let simulated: Value = serde_json::from_str(&simulated).unwrap();
    let runs = simulated["policies"].as_array().unwrap();
    let policies: HashSet<_> = runs.iter().map(|run| run["policy"].to_string()).collect();
    assert_eq!(policies.len(), 2);
    assert!(runs.iter().all(|run| run["throughput"].as_f64().is_some_and(|rate| rate > 0.0)), "{simulated}");

    let (ok, _, errors) = run("eoscast-lab", &["evaluate", "--data", &estimates, "--artifact", &artifact]);
    assert!(!ok && errors.contains("no request of it was for training"), "{errors}");
}
