//! [`run`]: the predictor on a listener until shutdown.

use std::future::Future;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::metrics::{self, Metrics};
use crate::pipeline::{LogState, Pipeline, TICK};
use crate::recovery::{Recovered, recover};
use crate::retraining::Retrainer;
use crate::retraining::decision::{Decision, last_swap};
use crate::rpc::{Rpc, SERVICE_NAME};
use crate::tracker::Tracker;
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::models::{Artifact, ModelKind};
use eoscast_log::location::Location;
use eoscast_log::{EventLog, LogConfig};

/// The event log in health checks: NOT_SERVING while the disk refuses it, though the service itself goes on. SERVING where
/// logging is switched off, as nothing is broken then.
pub const EVENT_LOG_NAME: &str = "eoscast.predictor.v1.EventLog";

/// How long open calls may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// What a predictor is started with.
#[derive(Debug)]
pub struct Config {
    /// Which model answers; without it, that of the artifact.
    pub model: Option<ModelKind>,
    /// What it starts from; without it, what ships, if the model has to be trained.
    pub artifact: Option<PathBuf>,
    /// Models are refitted from the log after so many outcomes; never if `None`.
    pub retrain_every: Option<NonZeroU64>,
    /// Where steps are logged; nowhere if `None`.
    pub log: Option<LogConfig>,
    /// How long requests stay live when their worker's stream is gone.
    pub orphan_timeout: Duration,
    /// Where metrics are served.
    pub metrics: Option<TcpListener>,
}

/// Serves on `listener` until `shutdown`; then streams end, and everything received is written and synced.
///
/// # Errors
/// When the artifact cannot be used, the log cannot be written or read, or the listener fails.
pub async fn run(listener: TcpListener, config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let addr = listener.local_addr()?;
    let (mut kind, chosen) = ArtifactSource::choose(config.model, config.artifact.as_deref())?;
    let (source, mut artifact) = chosen.unzip();
    let started_with = kind.family(artifact.as_ref());
    let retraining = match (config.retrain_every, &config.log) {
        (Some(every), Some(log)) => Some((every.get(), log.location.clone())),
        (Some(_), None) => bail!(
            "--retrain-every learns from the event log, which is off; switch it on with --enable-eos-prob-logging true"
        ),
        (None, _) => None,
    };
    let (log, recovered) = open_log(config.log)?;
    let decisions = retraining.as_ref().map_or(Ok(vec![]), |(_, location)| Decision::all(location))?;
    if let Some((_, location)) = &retraining
        && let Some(retrained) = retrained_before(location, &decisions, &started_with)
    {
        (kind, artifact) = (retrained.kind, Some(retrained));
    }
    let location = log.as_ref().map_or("off".to_owned(), |log| log.step_file().display().to_string());
    let (tracker, lines) = Tracker::new(kind, artifact, recovered, Instant::now());
    let model = tracker.model_info();
    let metrics = Arc::new(Metrics::default());
    metrics.set_log_state(if log.is_some() { LogState::Ok } else { LogState::Off });
    let pipeline_metrics = metrics.clone();
    let pipeline = Pipeline::start(tracker, lines, log, config.orphan_timeout, metrics.clone())?;

    let stop = CancellationToken::new();
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
    let mut log_state = pipeline.log_state.clone();
    // Before the first check can come in.
    report_log_state(&health, *log_state.borrow_and_update()).await;
    let reporter = health.clone();
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while log_state.changed().await.is_ok() {
            let state = *log_state.borrow_and_update();
            report_log_state(&reporter, state).await;
        }
    }));
    if let Some(listener) = config.metrics {
        let page = metrics::serve(listener, metrics, pipeline.log_state.clone(), stop.clone().cancelled_owned());
        tokio::spawn(async {
            if let Err(error) = page.await {
                tracing::error!(%error, "metrics are not served any more");
            }
        });
    }

    tokio::spawn(stop.clone().run_until_cancelled_owned(tick(pipeline.clone())));
    let (told, retrained) = watch::channel(decisions.last().cloned());
    if let Some((every, location)) = retraining {
        let retrainer = Retrainer { location, every, started_with, decisions: told, metrics: pipeline_metrics };
        retrainer.start(pipeline.clone(), stop.clone())?;
    }
    let rpc = Rpc::new(pipeline.clone(), source, retrained, stop.clone());
    let server = eoscast_proto::transport::server()
        .add_service(rpc.into_service())
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .serve_with_incoming_shutdown(eoscast_proto::transport::incoming(listener), stop.clone().cancelled_owned());
    let mut server = tokio::spawn(server);
    tracing::info!(
        %addr,
        model = model.version,
        artifact = model.artifact,
        trained_for = model.trained_for.join(", "),
        log = location,
        "listening on {addr}"
    );

    let served = tokio::select! {
        ended = &mut server => ended.context("server failed")?.map_err(|error| anyhow!(error)),
        () = shutdown => {
            tracing::info!("shutting down");
            for service in ["", SERVICE_NAME] {
                health.set_service_status(service, ServingStatus::NotServing).await;
            }
            stop.cancel();
            if tokio::time::timeout(DRAIN, &mut server).await.is_err() {
                tracing::warn!("some calls did not end in time and were cut");
                server.abort();
            }
            Ok(())
        }
    };
    stop.cancel();
    tokio::task::spawn_blocking(move || pipeline.stop()).await?;
    served
}

/// The model that was swapped in before a restart, if the predictor was started as it is now.
fn retrained_before(location: &Location, decisions: &[Decision], started_with: &str) -> Option<Artifact> {
    let path = location.beside(last_swap(decisions, started_with)?);
    Artifact::load(&path)
        .inspect_err(|error| tracing::warn!(%error, "the retrained model is lost, starting without it"))
        .ok()
}

async fn tick(pipeline: Arc<Pipeline>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        pipeline.tick();
    }
}

fn open_log(config: Option<LogConfig>) -> anyhow::Result<(Option<EventLog>, Recovered)> {
    let Some(config) = config else {
        return Ok((None, Recovered::default()));
    };
    let location = &config.location;
    let log = EventLog::open(&config).context(
        "give another path with --data-dir or --log-file (EOSCAST_DATA_DIR, EOSCAST_EOS_PROB_LOG_FILE), or switch logging off \
         with --enable-eos-prob-logging false",
    )?;
    let recovered =
        recover(location).with_context(|| format!("event log {} cannot be read", location.path().display()))?;
    for damage in &recovered.damages.first {
        tracing::warn!(%damage, "skipped a damaged line of the event log");
    }
    if recovered.history.seen > 0 || !recovered.live.is_empty() || recovered.damages.count > 0 {
        tracing::info!(
            outcomes = recovered.history.seen,
            live = recovered.live.len(),
            damaged = recovered.damages.count,
            "recovered from the event log"
        );
    }
    Ok((Some(log), recovered))
}

async fn report_log_state(health: &HealthReporter, state: LogState) {
    let status = match state {
        LogState::Ok | LogState::Off => ServingStatus::Serving,
        LogState::Failed => ServingStatus::NotServing,
    };
    health.set_service_status(EVENT_LOG_NAME, status).await;
}

/// The descriptors hold the worker's service too, which is not served here.
fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(eoscast_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(SERVICE_NAME)
        .with_service_name("grpc.health.v1.Health")
}
