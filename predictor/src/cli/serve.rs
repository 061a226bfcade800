//! `serve`.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::BoolishValueParser;
use eoscast_cli::logging::{self, LogFormat};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::server::{Config, run};
use eoscast_forecast::models::ModelKind;
use eoscast_log::location::Location;
use eoscast_log::segment::Rotation;
use eoscast_log::{Fsync, LogConfig};

/// Serve forecasts to workers and log their steps.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address of the gRPC service; port 0 takes a free one, which the log names.
    #[arg(long, value_name = "ADDR", env = "EOSCAST_PREDICTOR_LISTEN", default_value = "127.0.0.1:50052")]
    listen: SocketAddr,

    /// Address of /metrics and /health, or off.
    #[arg(long, value_name = "ADDR", env = "EOSCAST_PREDICTOR_METRICS", default_value = "127.0.0.1:9464", value_parser = metrics_addr)]
    metrics: MetricsAddr,

    /// The model that answers. Without it, that of --artifact; without either, the one that ships, which knows replies of
    /// SmolLM2-135M-Instruct. Replies of other language models than it was trained for are forecast by the prior.
    #[arg(long, env = "EOSCAST_PREDICTOR_MODEL")]
    model: Option<ModelKind>,

    /// What the model starts from.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT")]
    artifact: Option<PathBuf>,

    /// Every so many finished requests, refit the cheap models (logistic, forest) from the event log, judge them on its newest
    /// requests, and swap in what is better than the model that serves. A restart goes on with it.
    #[arg(long, value_name = "N", env = "EOSCAST_RETRAIN_EVERY")]
    retrain_every: Option<NonZeroU64>,

    /// Folder of the event log: one JSON line per step, per arrival and per finished request.
    #[arg(long, value_name = "DIR", env = "EOSCAST_DATA_DIR", default_value = "data/predictor")]
    data_dir: PathBuf,

    /// Log to this file, or to this folder, instead.
    #[arg(long, value_name = "PATH", env = "EOSCAST_EOS_PROB_LOG_FILE")]
    log_file: Option<PathBuf>,

    /// Whether steps are logged at all.
    #[arg(long, value_name = "BOOL", env = "EOSCAST_ENABLE_EOS_PROB_LOGGING", default_value = "true", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set)]
    enable_eos_prob_logging: bool,

    /// Begin a new file when one has this many bytes.
    #[arg(long, value_name = "BYTES", env = "EOSCAST_SEGMENT_BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    segment_bytes: u64,

    /// Begin a new file when one is this old, e.g. 30m.
    #[arg(long, value_name = "TIME", env = "EOSCAST_SEGMENT_AGE", default_value = "1h", value_parser = humantime::parse_duration)]
    segment_age: Duration,

    /// When logged lines are synced to disk: never, once a second, or before they are acknowledged.
    #[arg(long, env = "EOSCAST_FSYNC", default_value = "interval")]
    fsync: Fsync,

    /// Remove the oldest files when the log has more bytes than this; 0 keeps all.
    #[arg(long, value_name = "BYTES", env = "EOSCAST_RETENTION_BYTES", default_value_t = 8 << 30)]
    retention_bytes: u64,

    /// How long requests stay live when their worker has gone, e.g. 60s.
    #[arg(long, value_name = "TIME", env = "EOSCAST_ORPHAN_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    orphan_timeout: Duration,

    /// Form of the log on stderr.
    #[arg(long, env = "EOSCAST_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy)]
enum MetricsAddr {
    Off,
    On(SocketAddr),
}

fn metrics_addr(text: &str) -> Result<MetricsAddr, String> {
    match text {
        "off" => Ok(MetricsAddr::Off),
        addr => addr.parse().map(MetricsAddr::On).map_err(|error| format!("{error}; give host:port or off")),
    }
}

impl ServeArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        logging::start(self.log_format, "info");
        // A worker's engine may need the same cores: threads that wake each other to share little work cost more than they
        // bring.
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let metrics = match self.metrics {
            MetricsAddr::Off => None,
            MetricsAddr::On(addr) => Some(bind(addr, "--metrics", "EOSCAST_PREDICTOR_METRICS").await?),
        };
        let listener = bind(self.listen, "--listen", "EOSCAST_PREDICTOR_LISTEN").await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        let log = self.log_config();
        let config = Config {
            model: self.model,
            artifact: self.artifact,
            retrain_every: self.retrain_every,
            log,
            orphan_timeout: self.orphan_timeout,
            metrics,
        };
        run(listener, config, shutdown).await
    }

    fn log_config(&self) -> Option<LogConfig> {
        self.enable_eos_prob_logging.then(|| LogConfig {
            location: match &self.log_file {
                Some(path) => Location::parse(path),
                None => Location::Folder(self.data_dir.clone()),
            },
            rotation: Rotation { bytes: self.segment_bytes, age: self.segment_age },
            fsync: self.fsync,
            retention_bytes: self.retention_bytes,
        })
    }
}

async fn bind(addr: SocketAddr, flag: &str, variable: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen on {addr}; choose another address with {flag} ({variable})"))
}
