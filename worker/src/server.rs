//! The serving process: both listeners, the engine, the link, and the way they stop together.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eoscast_proto::transport::{Limits, Listener};
use eoscast_proto::worker::v1::worker_service_server::WorkerServiceServer;
use eoscast_proto::{reflection, transport};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tracing::{info, warn};

use crate::engine::{self, EngineConfig, RequestPreparer};
use crate::http::{self, HttpOptions};
use crate::link::PredictorLink;
use crate::load_line;
use crate::metrics::{MetricNames, Metrics, MetricsSettings};
use crate::rpc::load_reports::{self, LoadReports, OpenRcaServiceServer};
use crate::rpc::{SERVICE_NAME, ServerInfo, WorkerRpc};
use crate::runner::ModelRunner;
use crate::runner::load::LoadedRunner;

/// How the process serves.
pub(crate) struct ServerConfig {
    /// How the engine runs.
    pub engine: EngineConfig,
    /// Most tokens of a prompt and its reply; `None` for the context of the model.
    pub max_model_len: Option<usize>,
    /// How the HTTP routes answer.
    pub http: HttpOptions,
    /// Whose names metrics have.
    pub metric_names: MetricNames,
    /// The predictor's URI; `None` to run without.
    pub predictor: Option<String>,
    /// Identity told to the predictor and to clients.
    pub info: ServerInfo,
    /// Age at which connections of gRPC are replaced.
    pub max_connection_age: Option<Duration>,
    /// How long health says NOT_SERVING before requests are refused.
    pub drain_delay: Duration,
    /// How long running requests may take to end after that.
    pub drain_timeout: Duration,
}

/// How long the engine may take beyond the deadline: a step that computes is not interrupted.
const ENGINE_PATIENCE: Duration = Duration::from_millis(1_500);

/// Serves until `shutdown`, then drains: health says NOT_SERVING; after the delay new requests are refused, and running ones end or
/// are aborted at the deadline; the last steps reach the predictor; connections are closed. It ends within five seconds after the
/// deadline: 1.5 for the engine, 2 for the predictor, 1 for clients to take what is sent.
///
/// # Errors
/// When a part cannot start, or the engine thread fails.
pub(crate) async fn run(
    grpc: TcpListener,
    http: TcpListener,
    model: LoadedRunner,
    config: ServerConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let LoadedRunner { runner, tokenizer, chat_template, .. } = model;
    let tokenizer = Arc::new(tokenizer);
    let link = PredictorLink::new(config.predictor, config.info.run.clone());
    let spec = runner.spec();
    let preparer = RequestPreparer::new(Arc::clone(&tokenizer), chat_template, spec);
    let preparer = match config.max_model_len {
        None => preparer,
        Some(most) => {
            let context = spec.context_length;
            ensure!(most <= context, "--max-model-len: {most} exceeds the model's context of {context} tokens");
            preparer.with_max_model_len(most)
        }
    };
    let preparer = Arc::new(preparer);
    let connections = transport::connections_within_descriptors();
    // Half for each, so that a flood on one leaves health and metrics on the other alone.
    let grpc = Listener::new(grpc, Limits::grpc().within(connections / 2).aging(config.max_connection_age));
    let http = Listener::new(http, Limits::http().within(connections / 2));
    let mut metrics = Metrics::with_settings(&MetricsSettings {
        model_name: Some(config.http.served_names.first().unwrap_or(&spec.name).clone()),
        names: config.metric_names,
        max_model_len: preparer.context_length(),
        commit: eoscast_cli::commit(),
    });
    metrics.show_connections(vec![("grpc", grpc.counts()), ("http", http.counts())]);
    let (engine, engine_thread) =
        engine::handle::spawn(Box::new(runner), tokenizer, config.engine, link.clone(), Arc::new(metrics))?;

    let (model, kv_tokens) = (engine.model().name.clone(), engine.model().num_blocks * engine.model().block_size);
    info!(
        addr = %grpc.local_addr()?,
        http = %http.local_addr()?,
        worker = %config.info.run.worker_id,
        model,
        policy = %config.info.engine.policy,
        kv_tokens,
        "listening"
    );

    // The link outlives the engine, the listeners outlive both.
    let (stop_link, stop_listeners) = (CancellationToken::new(), CancellationToken::new());
    let link_task = link.spawn(stop_link.clone()).context("--predictor is not a URI such as http://127.0.0.1:50052")?;

    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<WorkerServiceServer<WorkerRpc>>().await;
    let (reflection, reflection_alpha) = reflection::services(&[SERVICE_NAME, load_reports::SERVICE_NAME])?;
    tokio::spawn(stop_listeners.clone().run_until_cancelled_owned(load_line::log(engine.clone())));
    let service = WorkerServiceServer::new(WorkerRpc::new(engine.clone(), Arc::clone(&preparer), config.info))
        .max_decoding_message_size(transport::MAX_MESSAGE_BYTES);
    let load_reports = OpenRcaServiceServer::new(LoadReports::new(engine.clone(), stop_listeners.clone()));
    let routes = Routes::new(health_service)
        .add_service(reflection)
        .add_service(reflection_alpha)
        .add_service(service)
        .add_service(load_reports);
    let grpc_server = tokio::spawn(grpc.serve_grpc(routes, stop_listeners.clone()));
    let router = http::router(engine.clone(), preparer, config.http);
    let http_server = tokio::spawn(http.serve_http(router, stop_listeners.clone()));

    let mut engine_ended = pin!(engine_thread.ended());
    let ended = tokio::select! {
        // By itself: it failed.
        ended = &mut engine_ended => Some(ended),
        () = shutdown.cancelled() => {
            let (delay, timeout) = (config.drain_delay, config.drain_timeout);
            info!(delay = delay.as_secs(), timeout = timeout.as_secs(), "stopping: running requests may end until the deadline");
            if delay.is_zero() {
                // Before health says so: who sees NOT_SERVING then sees its requests refused.
                engine.drain(Instant::now() + timeout);
            }
            for name in ["", SERVICE_NAME] {
                health.set_service_status(name, ServingStatus::NotServing).await;
            }
            engine.announce_stop();
            match tokio::time::timeout(delay, &mut engine_ended).await {
                Ok(ended) => Some(ended),
                Err(_) => {
                    if !delay.is_zero() {
                        engine.drain(Instant::now() + timeout);
                    }
                    tokio::time::timeout(timeout + ENGINE_PATIENCE, &mut engine_ended).await.ok()
                }
            }
        }
    };
    if ended.is_none() {
        warn!("the engine is in a step that takes long: what runs is cut");
    }
    stop_link.cancel();
    if let Some(task) = link_task {
        let _ = task.await;
    }
    stop_listeners.cancel();
    grpc_server.await.context("grpc server failed")?;
    http_server.await.context("http server failed")?;
    ended.unwrap_or(Ok(())).context("engine failed")
}
