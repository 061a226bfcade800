//! Commands for people at a terminal: one reply without a server, replay of a log, and help that teaches.

use eoscast_pair::client::{chat, generate};
use eoscast_pair::log;
use eoscast_pair::pair::{Pair, PairOptions};
use eoscast_pair::prompts::PROMPTS;
use serde_json::Value;

use crate::generate::all_acknowledged;
use crate::run;

#[tokio::test(flavor = "multi_thread")]
async fn generate_prints_a_reply_and_with_a_predictor_its_forecast() {
    let question = "What is the capital of France?";
    let options = ["generate", question, "--temperature", "0", "--predictor", "none", "--compute", "f32"];
    let (ok, text, errors) = run("eoscast-worker", &options);
    assert!(ok, "{errors}");
    assert_eq!(text.trim(), "The capital of France is Paris.");

    let pair = Pair::start(&PairOptions::default()).unwrap();
    let predictor = format!("http://{}", pair.predictor_addr);
    let (ok, text, errors) =
        run("eoscast-worker", &["generate", PROMPTS[10].1, "--json", "--max-tokens", "48", "--predictor", &predictor]);
    assert!(ok, "{errors}");
    let line: Value = serde_json::from_str(&text).unwrap();
    let forecasts = line["forecast_mean_remaining"].as_array().unwrap();
    assert_eq!(forecasts.len() as u64, line["completion_tokens"].as_u64().unwrap());
    assert!(forecasts.iter().any(Value::is_number), "{line}");
    let logged = log::steps(pair.data()).unwrap().len();
    assert_eq!(logged, forecasts.len(), "the command ends when the predictor has written what it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_finds_every_estimate_of_a_live_log_again() {
    let pair = Pair::start(&PairOptions::default()).unwrap();
    for (i, (_, prompt)) in PROMPTS.iter().take(4).enumerate() {
        generate(pair.worker_client().await.unwrap(), chat(&format!("r{i}"), prompt, i as u64, 40)).await.unwrap();
    }
    all_acknowledged(&pair).await;
    let folder = pair.data().display().to_string();
    let (ok, text, errors) = run("eoscast-predictor", &["replay", &folder, "--json"]);
    assert!(ok, "{text}{errors}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["different"].as_u64(), Some(0), "{report}");
}

#[test]
fn help_names_every_command_with_its_defaults() {
    for (name, commands) in [
        ("eoscast-worker", vec!["serve", "generate", "score"]),
        ("eoscast-predictor", vec!["serve", "replay"]),
        ("eoscast-lab", vec!["train", "evaluate", "analyze", "estimate", "simulate", "load", "experiment"]),
    ] {
        let (ok, help, _) = run(name, &["--help"]);
        assert!(ok);
        for command in commands {
            assert!(help.contains(command), "{help}");
            let (ok, help, _) = run(name, &[command, "--help"]);
            assert!(ok && help.contains("EOSCAST_"), "{help}");
        }
    }
}
