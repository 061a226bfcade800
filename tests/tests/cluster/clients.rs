//! Clients that people use, through Envoy.

use std::path::Path;
use std::process::Command;

use crate::support::cluster::{Cluster, output};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn grpcurl_finds_the_methods_by_reflection_and_generates() {
    let envoy = Cluster::settled().await.published("envoy", "50051").to_string();
    let services = output("grpcurl", &["-plaintext", &envoy, "list"]);
    assert!(services.contains("eoscast.worker.v1.WorkerService"), "{services}");
    let request = r#"{"chat":{"messages":[{"role":"user","content":"Name a colour."}]},"include_estimate":true}"#;
    let reply = output("grpcurl", &["-plaintext", "-d", request, &envoy, "eoscast.worker.v1.WorkerService/Generate"]);
    assert!(reply.contains("\"finishReason\""), "{reply}");
    assert!(reply.contains("\"estimate\""), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn the_openai_package_streams_a_reply_with_its_forecast() {
    let cluster = Cluster::settled().await;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/chat.py");
    let python = std::env::var("EOSCAST_PYTHON").expect("run these tests by `make cluster-test`");
    let output = Command::new(python)
        .arg(example)
        .arg("Name a colour.")
        .env("EOSCAST_BASE_URL", format!("http://{}/v1", cluster.published("envoy", "8080")))
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(output.stdout.len() > 10, "{output:?}");
    assert!(errors.contains("forecast after 0 tokens: about"), "{errors}");
}
