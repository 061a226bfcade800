//! The containers, and what they report.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use eoscast_pair::pair::connect;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use eoscast_proto::predictor::v1::{GetModelRequest, GetModelResponse};
use serde_json::Value;

use super::{http, until};

pub(crate) const WORKERS: usize = 3;

/// What a command prints on stdout; it must succeed.
pub(crate) fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What `docker` prints; it must succeed.
pub(crate) fn docker(args: &[&str]) -> String {
    output("docker", args).trim().to_owned()
}

/// A container, which may have been killed or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
}

impl Container {
    /// A field of `docker inspect`, by a Go template.
    pub(crate) fn inspect(&self, template: &str) -> String {
        docker(&["inspect", "--format", template, &self.id])
    }

    pub(crate) fn name(&self) -> String {
        self.inspect("{{.Name}}").trim_start_matches('/').to_owned()
    }

    /// A port of it, which this machine reaches over Docker's bridge.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        let ip = self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        SocketAddr::new(ip.parse().unwrap_or_else(|_| panic!("{} has no address: {ip:?}", self.name())), port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        docker(&["kill", &self.id]);
    }

    /// SIGTERM, and waits for the end as long as compose.yaml gives a worker.
    pub(crate) fn stop(&self) {
        docker(&["stop", "--time", "45", &self.id]);
    }

    pub(crate) fn start(&self) {
        docker(&["start", &self.id]);
    }

    /// The sum of the series of a metric whose name and labels begin with `series`, 0 without any.
    pub(crate) fn metric(&self, page: &Page, series: &str) -> f64 {
        let text = http::get(self.address(page.port), page.path);
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(series)?;
            (series.contains('{') || rest.starts_with(['{', ' ']))
                .then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        // The sum of nothing would be -0.
        values.fold(0.0, |sum, value| sum + value)
    }
}

/// Where a service has its metrics.
pub(crate) struct Page {
    pub(crate) port: u16,
    pub(crate) path: &'static str,
}

pub(crate) const WORKER: Page = Page { port: 8080, path: "/metrics" };
pub(crate) const PREDICTOR: Page = Page { port: 9464, path: "/metrics" };
pub(crate) const ENVOY: Page = Page { port: 9902, path: "/stats/prometheus" };

/// The cluster that `make cluster-test` started.
pub(crate) struct Cluster {
    compose: Vec<String>,
}

impl Cluster {
    /// Waits until all parts of it work together.
    pub(crate) async fn settled() -> Self {
        let compose = std::env::var("EOSCAST_COMPOSE").expect("run these tests by `make cluster-test`");
        let cluster = Self { compose: compose.split_whitespace().map(str::to_owned).collect() };
        cluster.settle().await;
        cluster
    }

    pub(crate) async fn settle(&self) {
        until("all workers have a predictor and get requests from Envoy", async || {
            let workers = self.workers();
            workers.len() == WORKERS
                && self.containers("predictor").len() == 1
                && self.containers("envoy").len() == 1
                && self.healthy_in_envoy() == [WORKERS as f64; 2]
                && workers.iter().all(|worker| worker.metric(&WORKER, "eoscast_predictor_connected") == 1.0)
        })
        .await;
    }

    /// What a command of compose prints; it must succeed.
    pub(crate) fn compose(&self, args: &[&str]) -> String {
        let args: Vec<&str> = self.compose[1..].iter().map(String::as_str).chain(args.iter().copied()).collect();
        output(&self.compose[0], &args)
    }

    /// The running containers of a service.
    pub(crate) fn containers(&self, service: &str) -> Vec<Container> {
        let filter = format!("label=com.docker.compose.service={service}");
        let ids = docker(&[
            "ps",
            "--quiet",
            "--filter",
            "label=com.docker.compose.project=eoscast-test",
            "--filter",
            &filter,
        ]);
        ids.lines().map(|id| Container { id: id.to_owned() }).collect()
    }

    /// The only running container of a service.
    pub(crate) fn only(&self, service: &str) -> Container {
        let [container] = self.containers(service).try_into().unwrap_or_else(|found| panic!("{service}: {found:?}"));
        container
    }

    pub(crate) fn workers(&self) -> Vec<Container> {
        self.containers("worker")
    }

    /// Where a port of a service is published on this machine.
    pub(crate) fn published(&self, service: &str, port: &str) -> SocketAddr {
        self.compose(&["port", service, port]).trim().parse().unwrap()
    }

    /// Workers that Envoy sends requests to, over gRPC and over HTTP.
    pub(crate) fn healthy_in_envoy(&self) -> [f64; 2] {
        let envoy = self.only("envoy");
        ["worker_grpc", "worker_http"].map(|cluster| {
            envoy.metric(&ENVOY, &format!("envoy_cluster_membership_healthy{{envoy_cluster_name=\"{cluster}\"}}"))
        })
    }

    /// Waits until the predictor has written all steps that the workers sent.
    pub(crate) async fn all_acknowledged(&self) {
        until("all steps are acknowledged", async || {
            self.workers().iter().all(|worker| {
                let [sent, acknowledged] = ["predictor_sequence_number", "predictor_acknowledged_sequence_number"]
                    .map(|name| worker.metric(&WORKER, &format!("eoscast_{name}")));
                sent == acknowledged
            })
        })
        .await;
    }

    /// What the predictor has learned.
    pub(crate) async fn model(&self) -> GetModelResponse {
        let channel = connect(self.only("predictor").address(50052)).await.unwrap();
        PredictorServiceClient::new(channel).get_model(GetModelRequest {}).await.unwrap().into_inner()
    }

    /// Copies the event log into `folder`.
    pub(crate) fn copy_log(&self, folder: &Path) {
        let source = format!("{}:/data/.", self.only("predictor").id);
        docker(&["cp", &source, &folder.display().to_string()]);
    }

    /// What Prometheus answers to a call of its API.
    pub(crate) fn prometheus(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let text = http::get_with(self.published("prometheus", "9090"), path, query);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }
}
