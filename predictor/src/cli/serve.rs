//! `serve`.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use eoscast_cli::address::ListenAddress;
use eoscast_cli::interrupt::shutdown_signal;
use eoscast_cli::size;
use tokio::net::TcpListener;

use crate::server::{Config, run};
use eoscast_forecast::models::ModelKind;
use eoscast_log::location::Location;
use eoscast_log::segment::Rotation;
use eoscast_log::{Fsync, LogConfig};

/// Serve forecasts to workers and log their steps.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address of the gRPC service; :PORT listens on every interface, port 0 takes a free one, which the log names.
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "EOSCAST_PREDICTOR_LISTEN",
        default_value = "127.0.0.1:50052",
        help_heading = "Network"
    )]
    listen: ListenAddress,

    /// Address of /metrics and /health, or off [default: 127.0.0.1:9464, or a free port where that is taken; the log names it].
    #[arg(long, value_name = "HOST:PORT|off", env = "EOSCAST_PREDICTOR_METRICS", help_heading = "Network")]
    metrics: Option<MetricsAddress>,

    /// Seconds from SIGINT or SIGTERM, when health says NOT_SERVING, until streams end: time for balancers to notice.
    #[arg(long, value_name = "SECONDS", env = "EOSCAST_DRAIN_DELAY", default_value_t = 0, help_heading = "Network")]
    drain_delay: u64,

    /// How long requests stay live when their worker has gone, e.g. 60s.
    #[arg(long, value_name = "TIME", env = "EOSCAST_ORPHAN_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration, help_heading = "Network")]
    orphan_timeout: Duration,

    /// The model that answers. Without it, that of --artifact; without either, the one that ships, which knows replies of
    /// SmolLM2-135M-Instruct. Replies of other language models than it was trained for are forecast by the prior.
    #[arg(long, env = "EOSCAST_PREDICTOR_MODEL", help_heading = "Forecast")]
    model: Option<ModelKind>,

    /// What the model starts from.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT", help_heading = "Forecast")]
    artifact: Option<PathBuf>,

    /// Folder of the artifacts that the call ReloadModel may load by name. Without it the call is refused.
    #[arg(long, value_name = "DIR", env = "EOSCAST_ARTIFACT_DIR", help_heading = "Forecast")]
    artifact_dir: Option<PathBuf>,

    /// Every so many finished requests, refit the cheap models (logistic, forest) from the event log, judge them on its newest
    /// requests, and swap in what is better than the model that serves. A restart goes on with it.
    #[arg(long, value_name = "N", env = "EOSCAST_RETRAIN_EVERY", help_heading = "Forecast")]
    retrain_every: Option<NonZeroU64>,

    /// Folder of the event log: one JSON line per step, per arrival and per finished request.
    #[arg(
        long,
        value_name = "DIR",
        env = "EOSCAST_DATA_DIR",
        default_value = "data/predictor",
        help_heading = "Event log"
    )]
    data_dir: PathBuf,

    /// Log to this file, or to this folder, instead.
    #[arg(long, value_name = "PATH", env = "EOSCAST_EOS_PROB_LOG_FILE", help_heading = "Event log")]
    log_file: Option<PathBuf>,

    /// Whether steps are logged at all.
    #[arg(long, value_name = "BOOL", env = "EOSCAST_ENABLE_EOS_PROB_LOGGING", default_value = "true", value_parser = BoolishValueParser::new(), action = clap::ArgAction::Set, help_heading = "Event log")]
    enable_eos_prob_logging: bool,

    /// Begin a new file when one has this many bytes, e.g. 64MB.
    #[arg(long, value_name = "SIZE", env = "EOSCAST_SEGMENT_BYTES", default_value = "64MiB", value_parser = size::parse_positive, help_heading = "Event log")]
    segment_bytes: u64,

    /// Begin a new file when one is this old, e.g. 30m.
    #[arg(long, value_name = "TIME", env = "EOSCAST_SEGMENT_AGE", default_value = "1h", value_parser = humantime::parse_duration, help_heading = "Event log")]
    segment_age: Duration,

    /// When logged lines are synced to disk: never, once a second, or before they are acknowledged.
    #[arg(long, env = "EOSCAST_FSYNC", default_value = "interval", help_heading = "Event log")]
    fsync: Fsync,

    /// Remove the oldest files when the log has more bytes than this; 0 keeps all.
    #[arg(long, value_name = "SIZE", env = "EOSCAST_RETENTION_BYTES", default_value = "8GiB", value_parser = size::parse, help_heading = "Event log")]
    retention_bytes: u64,
}

/// Where metrics are served unless an option says so, if nobody else listens there.
const DEFAULT_METRICS: &str = "127.0.0.1:9464";
const FREE_METRICS: &str = "127.0.0.1:0";

#[derive(Debug, Clone)]
enum MetricsAddress {
    Off,
    On(ListenAddress),
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" | "none" => Ok(Self::Off),
            address => address.parse().map(Self::On).map_err(|error: String| format!("{error}, or off")),
        }
    }
}

impl ServeArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        // A worker's engine may need the same cores: threads that wake each other to share little work cost more than they
        // bring.
        let threads = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).max(1));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let served = runtime.block_on(self.serve());
        // A thread that waits for a file is not waited for.
        runtime.shutdown_background();
        served
    }

    async fn serve(self) -> anyhow::Result<()> {
        let metrics = self.bind_metrics().await?;
        let listener = self.listen.bind("--listen", "EOSCAST_PREDICTOR_LISTEN").await?;
        let shutdown = shutdown_signal()?;
        let log = self.log_config();
        let config = Config {
            model: self.model,
            artifact: self.artifact,
            artifact_dir: self.artifact_dir,
            retrain_every: self.retrain_every,
            log,
            orphan_timeout: self.orphan_timeout,
            metrics,
            drain_delay: Duration::from_secs(self.drain_delay),
        };
        run(listener, config, shutdown.cancelled_owned()).await
    }

    async fn bind_metrics(&self) -> anyhow::Result<Option<TcpListener>> {
        const OPTION: (&str, &str) = ("--metrics", "EOSCAST_PREDICTOR_METRICS");
        let parse = |text: &str| text.parse::<ListenAddress>().map_err(anyhow::Error::msg);
        match &self.metrics {
            Some(MetricsAddress::Off) => Ok(None),
            Some(MetricsAddress::On(address)) => address.bind(OPTION.0, OPTION.1).await.map(Some),
            None => match parse(DEFAULT_METRICS)?.bind_if_free(OPTION.0, OPTION.1).await? {
                Some(listener) => Ok(Some(listener)),
                None => parse(FREE_METRICS)?.bind(OPTION.0, OPTION.1).await.map(Some),
            },
        }
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
