//! What an operator sees of the containers.

use std::process::Command;

use crate::support::cluster::{Cluster, docker};
use crate::support::until;

const SERVICES: [&str; 4] = ["worker", "predictor", "envoy", "prometheus"];
/// What an image of ours may add to its base.
const MOST_ADDED_BYTES: u64 = 40_000_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn every_container_is_healthy() {
    let cluster = Cluster::settled().await;
    for container in SERVICES.iter().flat_map(|service| cluster.containers(service)) {
        let what = format!("{} is healthy", container.name());
        until(&what, async || container.inspect("{{.State.Health.Status}}") == "healthy").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn nothing_runs_as_root_or_writes_to_its_root_file_system() {
    let cluster = Cluster::settled().await;
    let all = docker(&["ps", "--all", "--quiet", "--filter", "label=com.docker.compose.project=eoscast-test"]);
    let hardened = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}";
    for id in all.lines() {
        assert_eq!(docker(&["inspect", "--format", hardened, id]), "true [ALL] [no-new-privileges:true]", "{id}");
    }
    for container in SERVICES.iter().flat_map(|service| cluster.containers(service)) {
        let name = container.name();
        let users = docker(&["top", &container.id, "-eo", "uid,pid,comm"]);
        let mut processes = users.lines().skip(1).peekable();
        assert!(processes.peek().is_some(), "{name}: {users}");
        for process in processes {
            assert_ne!(process.split_whitespace().next(), Some("0"), "{name}: {process}");
        }
        let written = Command::new("docker").args(["exec", &container.id, "touch", "/usr/x"]).output().unwrap();
        assert!(String::from_utf8_lossy(&written.stderr).contains("Read-only file system"), "{name}: {written:?}");
    }
}

#[test]
#[ignore = "needs Docker: make cluster-test"]
fn our_images_are_small_run_as_a_user_and_name_their_commit() {
    let bytes = |image: &str| docker(&["image", "inspect", "--format", "{{.Size}}", image]).parse::<u64>().unwrap();
    let base = bytes("eoscast-airgapped-base");
    for service in ["worker", "predictor", "model"] {
        let image = format!("eoscast-test-{service}");
        let added = bytes(&image) - base;
        println!("{image}: {:.1} MB above its base", added as f64 / 1e6);
        assert!(added <= MOST_ADDED_BYTES, "{image} adds {added} bytes to its base");
        let template = "{{.Config.User}} {{index .Config.Labels \"org.opencontainers.image.revision\"}}";
        let described = docker(&["image", "inspect", "--format", template, &image]);
        let (user, commit) = described.split_once(' ').unwrap();
        assert_eq!(user, "10001:10001", "{image}");
        assert!(commit.len() >= 7 && commit != "unknown", "{image}: {commit}");
    }
}
