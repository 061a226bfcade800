//! What Prometheus reads, and the rules that warn an operator.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::support::cluster::{Cluster, docker};
use crate::support::until;

fn list<'a>(data: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    data[key].as_array().unwrap().iter()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn every_part_is_a_target_that_is_up() {
    let cluster = Cluster::settled().await;
    let expected = BTreeMap::from([("envoy", 1), ("predictor", 1), ("prometheus", 1), ("worker", 3)]);
    until("every target is up", async || {
        let data = cluster.prometheus("/api/v1/targets", &[("state", "active")]);
        let mut up: BTreeMap<&str, usize> = BTreeMap::new();
        for target in list(&data, "activeTargets").filter(|target| target["health"] == "up") {
            *up.entry(text(&target["labels"], "job")).or_default() += 1;
        }
        up == expected
    })
    .await;
}

/// Metrics that an expression names.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| {
        word.starts_with("eoscast_") || word.starts_with("envoy_cluster_") && *word != "envoy_cluster_name"
    })
}

/// Series with labels appear when they first count. Documents name metrics without the prefix of their page.
fn is_documented(metric: &str) -> bool {
    let documented = include_str!("../../../docs/operating/metrics.md");
    let name = metric.trim_end_matches("_total");
    let names = ["eoscast_predictor_", "eoscast_"].map(|prefix| name.strip_prefix(prefix));
    names.iter().flatten().any(|name| documented.contains(&format!("`{name}")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn every_rule_asks_for_metrics_that_exist_and_none_fires_in_a_cluster_that_works() {
    let cluster = Cluster::settled().await;
    until("all rules are evaluated without an error", async || {
        let data = cluster.prometheus("/api/v1/rules", &[]);
        list(&data, "groups").flat_map(|group| list(group, "rules")).all(|rule| rule["health"] == "ok")
    })
    .await;
    let names = cluster.prometheus("/api/v1/label/__name__/values", &[]);
    let scraped: HashSet<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let data = cluster.prometheus("/api/v1/rules", &[]);
    let rules: Vec<&Value> = list(&data, "groups").flat_map(|group| list(group, "rules")).collect();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        let (name, expression) = (text(rule, "name"), text(rule, "query"));
        cluster.prometheus("/api/v1/query", &[("query", expression)]);
        for metric in metrics(expression) {
            assert!(scraped.contains(metric) || is_documented(metric), "{name} asks for {metric}, which nobody has");
        }
        let firing = list(rule, "alerts").filter(|alert| alert["state"] == "firing");
        assert_eq!(firing.count(), 0, "{name} fires: {rule}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker: make cluster-test"]
async fn promtool_finds_no_fault_and_the_tests_of_the_rules_pass() {
    let prometheus = Cluster::settled().await.only("prometheus").id;
    let promtool = |args: &[&str]| {
        // Its own database is the only place to write.
        let exec = ["exec", "--env", "TMPDIR=/prometheus", "--workdir", "/etc/prometheus", &prometheus, "promtool"];
        docker(&[&exec, args].concat())
    };
    promtool(&["check", "config", "prometheus.yaml"]);
    promtool(&["check", "rules", "rules.yaml"]);
    promtool(&["test", "rules", "tests.yaml"]);
}
