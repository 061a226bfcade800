//! What a command line and its variables mean.

use std::process::Stdio;
use std::time::Duration;

use crate::predictor::{Predictor, binary};

/// Exit code and stderr of `serve` with a variable set, which must be a mistake.
fn refused(variable: &str, value: &str, args: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.args(["serve", "--metrics", "off", "--listen", "127.0.0.1:0"]).args(args).env(variable, value);
    let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wrong_value_is_named_with_the_variable_that_it_came_from() {
    let (code, error) = refused("EOSCAST_SEGMENT_BYTES", "plenty", &[]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("--segment-bytes") && error.contains("environment variable EOSCAST_SEGMENT_BYTES"),
        "{error}"
    );
    assert!(error.contains("64MB"), "{error}");
    let (_, error) = refused("EOSCAST_SEGMENT_BYTES", "1MB", &["--segment-bytes", "plenty"]);
    assert!(error.contains("--segment-bytes") && !error.contains("environment variable"), "{error}");
}

#[tokio::test]
async fn an_empty_variable_is_not_set() {
    let data = tempfile::tempdir().unwrap();
    let mut command = binary();
    for variable in ["EOSCAST_SEGMENT_BYTES", "EOSCAST_ARTIFACT", "EOSCAST_LOG_FORMAT", "EOSCAST_RETRAIN_EVERY"] {
        command.env(variable, "");
    }
    command.args(["serve", "--metrics", "off", "--data-dir"]).arg(data.path());
    assert!(Predictor::spawn(command).terminate());
}

#[tokio::test]
async fn a_second_predictor_serves_its_metrics_on_a_free_port() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Whether or not somebody else on this machine has the default port.
    let running = Predictor::start(first.path(), &[]);
    let another = Predictor::start(second.path(), &[]);
    let (one, other) = (running.metrics_addr(), another.metrics_addr());
    assert_ne!(one, other);
    for addr in [one, other] {
        assert!(std::net::TcpStream::connect_timeout(&addr.parse().unwrap(), Duration::from_secs(5)).is_ok(), "{addr}");
    }
    assert!(running.terminate() && another.terminate());
}
