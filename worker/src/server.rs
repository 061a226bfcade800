//! The serving process: both listeners, the engine, the link, and the way they stop together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::serve::ListenerExt;
use eoscast_proto::worker::v1::worker_service_server::WorkerServiceServer;
use eoscast_proto::{FILE_DESCRIPTOR_SET, transport};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::engine::{self, EngineConfig, RequestPreparer};
use crate::http;
use crate::link::PredictorLink;
use crate::metrics::Metrics;
use crate::rpc::{ServerInfo, WorkerRpc};
use crate::runner::ModelRunner;
use crate::runner::load::LoadedRunner;

/// How the process serves.
pub(crate) struct ServerConfig {
    /// How the engine runs.
    pub engine: EngineConfig,
    /// The predictor's URI; `None` to run without.
    pub predictor: Option<String>,
    /// Identity told to the predictor and to clients.
    pub info: ServerInfo,
    /// How long running requests may take to end after a shutdown was asked for.
    pub drain_timeout: Duration,
}

/// Serves until `shutdown`, then drains: health says NOT_SERVING, running requests end or are aborted at the deadline, the
/// last steps reach the predictor.
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
    let LoadedRunner { runner, tokenizer, chat_template } = model;
    let tokenizer = Arc::new(tokenizer);
    let link = PredictorLink::new(config.predictor, config.info.run.clone());
    let metrics = Arc::new(Metrics::new());
    let preparer = Arc::new(RequestPreparer::new(Arc::clone(&tokenizer), chat_template, runner.spec()));
    let (engine, engine_thread) =
        engine::handle::spawn(Box::new(runner), tokenizer, config.engine, link.clone(), metrics)?;

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
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let service = WorkerServiceServer::new(WorkerRpc::new(engine.clone(), Arc::clone(&preparer), config.info))
        .max_decoding_message_size(transport::MAX_MESSAGE_BYTES);
    let grpc_server = transport::server()
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        // grpcurl 1.8.6, Postman and evans know only this one.
        .add_service(reflection().build_v1alpha()?)
        .add_service(service)
        .serve_with_incoming_shutdown(transport::incoming(grpc), stop_listeners.clone().cancelled_owned());
    // As gRPC does: each token is sent when it is there.
    let http = http.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            debug!(%error, "a connection keeps back what is written to it");
        }
    });
    let http_server = axum::serve(http, http::router(engine.clone(), preparer))
        .with_graceful_shutdown(stop_listeners.clone().cancelled_owned());

    let stop = async {
        shutdown.cancelled().await;
        info!(seconds = config.drain_timeout.as_secs(), "stopping: running requests may end until the deadline");
        health.set_not_serving::<WorkerServiceServer<WorkerRpc>>().await;
        engine.drain(Instant::now() + config.drain_timeout);
    };
    let engine_ended = async {
        let ended = engine_thread.ended().await;
        stop_link.cancel();
        if let Some(task) = link_task {
            let _ = task.await;
        }
        stop_listeners.cancel();
        ended
    };
    let (grpc_ended, http_ended, (), engine_ended) = tokio::join!(
        grpc_server,
        async { http_server.await },
        async {
            tokio::select! { () = stop => {}, () = stop_listeners.cancelled() => {} }
        },
        engine_ended,
    );
    grpc_ended.context("grpc server failed")?;
    http_ended.context("http server failed")?;
    engine_ended.context("engine failed")?;
    Ok(())
}
