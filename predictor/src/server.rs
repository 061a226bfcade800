//! [`run`]: the predictor on a listener until shutdown.

use std::future::Future;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::metrics::{self, Metrics};
use crate::pipeline::{LogState, Pipeline, TICK};
use crate::recovery::{Recovered, recover};
use crate::retraining::Retrainer;
use crate::retraining::decision::{Decision, last_swap};
use crate::rpc::{Rpc, SERVICE_NAME};
use crate::tracker::{Tracker, WorkerOutstanding};
use eoscast_forecast::files::ArtifactSource;
use eoscast_forecast::models::{Artifact, ModelKind};
use eoscast_log::location::Location;
use eoscast_log::{EventLog, LogConfig};
use eoscast_proto::domain::WorkerId;
use eoscast_proto::transport::{self, Limits, Listener};

/// The event log in health checks: NOT_SERVING while the disk refuses it, though the service itself goes on. SERVING where
/// logging is switched off, as nothing is broken then.
pub(crate) const EVENT_LOG_NAME: &str = "eoscast.predictor.v1.EventLog";

/// How long open calls may take to end at shutdown: streams of steps, until what they have sent is written and acknowledged.
const CALLS_PATIENCE: Duration = Duration::from_secs(2);
/// How long the last lines may take to be written and synced.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// What a predictor is started with.
#[derive(Debug)]
pub(crate) struct Config {
    /// Which model answers; without it, that of the artifact.
    pub(crate) model: Option<ModelKind>,
    /// What it starts from; without it, what ships, if the model has to be trained.
    pub(crate) artifact: Option<PathBuf>,
    /// Folder of the artifacts that `ReloadModel` may load; none if `None`.
    pub(crate) artifact_dir: Option<PathBuf>,
    /// Models are refitted from the log after so many outcomes; never if `None`.
    pub(crate) retrain_every: Option<NonZeroU64>,
    /// Where steps are logged; nowhere if `None`.
    pub(crate) log: Option<LogConfig>,
    /// How long requests stay live when their worker's stream is gone.
    pub(crate) orphan_timeout: Duration,
    /// Where metrics are served.
    pub(crate) metrics: Option<TcpListener>,
    /// How long health says NOT_SERVING before calls end.
    pub(crate) drain_delay: Duration,
}

/// Serves on `listener` until `shutdown`. Then health says NOT_SERVING; after the delay streams end, and everything received is
/// written and synced. It ends within five seconds after the delay.
///
/// # Errors
/// When the artifact cannot be used, the log cannot be written or read, or the listener fails.
pub(crate) async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
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
    let connections = transport::connections_within_descriptors();
    // The page keeps its own, whoever holds those of the service.
    let page_limits = Limits::metrics().within(connections / 4);
    let limits = Limits { grace: CALLS_PATIENCE, ..Limits::grpc() };
    let listener = Listener::new(listener, limits.within(connections - page_limits.connections));
    let metrics_addr = config.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    let page = config.metrics.map(|listener| Listener::new(listener, page_limits));
    let mut metrics = Metrics::default();
    let counted = [Some(("grpc", listener.counts())), page.as_ref().map(|page| ("metrics", page.counts()))];
    metrics.show_connections(counted.into_iter().flatten().collect());
    let metrics = Arc::new(metrics);
    metrics.set_log_state(if log.is_some() { LogState::Ok } else { LogState::Off });
    let pipeline_metrics = metrics.clone();
    let pipeline = Pipeline::start(tracker, lines, log, config.orphan_timeout, metrics.clone())?;

    // First health says that this one stops, then it does.
    let (stopping, stop) = (CancellationToken::new(), CancellationToken::new());
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
    let mut log_state = pipeline.log_state.clone();
    // Before the first check can come in.
    report_log_state(&health, *log_state.borrow_and_update()).await;
    let reporter = health.clone();
    tokio::spawn(stopping.clone().run_until_cancelled_owned(async move {
        while log_state.changed().await.is_ok() {
            let state = *log_state.borrow_and_update();
            report_log_state(&reporter, state).await;
        }
    }));
    if let Some(listener) = page {
        let asked = pipeline.clone();
        let router =
            metrics::router(metrics, move || outstanding(&asked), pipeline.log_state.clone(), stopping.clone());
        tokio::spawn(listener.serve_http(router, stop.clone()));
    }

    tokio::spawn(stop.clone().run_until_cancelled_owned(tick(pipeline.clone())));
    let (told, retrained) = watch::channel(decisions.last().cloned());
    if let Some((every, location)) = retraining {
        let retrainer = Retrainer { location, every, started_with, decisions: told, metrics: pipeline_metrics };
        retrainer.start(pipeline.clone(), stop.clone())?;
    }
    let rpc = Rpc::new(pipeline.clone(), source, config.artifact_dir, retrained, stop.clone());
    let (reflection, reflection_alpha) = eoscast_proto::reflection::services(&[SERVICE_NAME])?;
    let routes = Routes::new(rpc.into_service())
        .add_service(health_service)
        .add_service(reflection)
        .add_service(reflection_alpha);
    let mut server = tokio::spawn(listener.serve_grpc(routes, stop.clone()));
    tracing::info!(
        %addr,
        metrics = %metrics_addr.map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
        model = model.version,
        artifact = model.artifact,
        trained_for = model.trained_for.join(", "),
        log = location,
        "listening on {addr}"
    );

    let served = tokio::select! {
        ended = &mut server => ended,
        () = shutdown => {
            tracing::info!(delay = config.drain_delay.as_secs(), "shutting down");
            stopping.cancel();
            for service in ["", SERVICE_NAME, EVENT_LOG_NAME] {
                health.set_service_status(service, ServingStatus::NotServing).await;
            }
            tokio::time::sleep(config.drain_delay).await;
            stop.cancel();
            server.await
        }
    };
    stop.cancel();
    let written = tokio::task::spawn_blocking(move || pipeline.stop());
    tokio::time::timeout(LOG_PATIENCE, written)
        .await
        .context("the event log did not take its last lines in time")??;
    served.context("server failed")
}

/// The model that was swapped in before a restart, if the predictor was started as it is now.
fn retrained_before(location: &Location, decisions: &[Decision], started_with: &str) -> Option<Artifact> {
    let path = location.beside(last_swap(decisions, started_with)?);
    Artifact::load(&path)
        .inspect_err(|error| tracing::warn!(%error, "the retrained model is lost, starting without it"))
        .ok()
}

/// What each worker's live requests will need. One worker at a time: messages are applied meanwhile.
fn outstanding(pipeline: &Pipeline) -> Vec<WorkerOutstanding> {
    let next = |after: Option<&WorkerId>| pipeline.ask(|tracker| tracker.outstanding(after));
    std::iter::successors(next(None), |last| next(Some(&last.worker_id))).collect()
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
