//! `serve`: the worker as a service.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use axum::http::HeaderValue;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use eoscast_cli::address::{ListenAddress, OptionalServer};
use eoscast_cli::interrupt::shutdown_signal;
use eoscast_proto::domain::{WorkerId, WorkerRun};
use rustix::system::uname;

use super::engine_args::EngineArgs;
use crate::http::HttpOptions;
use crate::http::cors::parse_origin;
use crate::metrics::MetricNames;
use crate::rpc::ServerInfo;
use crate::runner::ModelRunner;
use crate::server::{self, ServerConfig};

/// Options of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address of the gRPC service; :PORT listens on every interface, port 0 picks a free one.
    #[arg(
        long,
        env = "EOSCAST_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "HOST:PORT",
        help_heading = "Network"
    )]
    listen: ListenAddress,
    /// Address of OpenAI's API (/v1), /health and /metrics.
    #[arg(
        long,
        env = "EOSCAST_HTTP",
        default_value = "127.0.0.1:8080",
        value_name = "HOST:PORT",
        help_heading = "Network"
    )]
    http: ListenAddress,
    /// The predictor, or none. The worker runs on when it cannot be reached.
    #[arg(
        long,
        env = "EOSCAST_PREDICTOR",
        default_value = "127.0.0.1:50052",
        value_name = "HOST:PORT|none",
        help_heading = "Network"
    )]
    predictor: OptionalServer,
    /// Name under which the predictor knows this worker, the same after a restart [default: host name and port].
    #[arg(long, env = "EOSCAST_WORKER_ID", value_name = "NAME")]
    worker_id: Option<String>,
    /// Age at which a gRPC connection gets GOAWAY, a tenth more or less, e.g. 5m; its calls end first [default: never]. It lets
    /// clients that keep connections, behind a virtual IP of Kubernetes for example, find new workers.
    #[arg(long, env = "EOSCAST_MAX_CONNECTION_AGE", value_name = "TIME", value_parser = connection_age, help_heading = "Network")]
    max_connection_age: Option<Duration>,
    /// Seconds from SIGINT or SIGTERM, when health says NOT_SERVING, until requests are refused: time for balancers to notice.
    #[arg(long, env = "EOSCAST_DRAIN_DELAY", default_value_t = 0, value_name = "SECONDS")]
    drain_delay: u64,
    /// Seconds that running requests may take to end after that; then they are aborted.
    #[arg(long, env = "EOSCAST_DRAIN_TIMEOUT", default_value_t = 30, value_name = "SECONDS")]
    drain_timeout: u64,
    /// Names that HTTP clients may call the model by, the first also in answers and metrics [default: its own name, by which the
    /// predictor knows it in any case].
    #[arg(long, env = "EOSCAST_SERVED_MODEL_NAME", value_name = "NAME", num_args = 1.., value_delimiter = ',',
        value_parser = NonEmptyStringValueParser::new())]
    served_model_name: Vec<String>,
    /// Most tokens of a prompt and its reply together [default: the context of the model].
    #[arg(long, env = "EOSCAST_MAX_MODEL_LEN", value_name = "TOKENS")]
    max_model_len: Option<NonZeroUsize>,
    /// Origins of web pages that may call the HTTP API, e.g. https://chat.example.com, or * for any [default: none].
    #[arg(long, env = "EOSCAST_CORS_ORIGIN", value_name = "ORIGIN", num_args = 1.., value_delimiter = ',',
        value_parser = parse_origin)]
    cors_origin: Vec<HeaderValue>,
    /// Names of the metrics that vLLM has as well: eoscast_num_requests_running, or vllm:num_requests_running as in vLLM's
    /// dashboards.
    #[arg(long, env = "EOSCAST_METRICS_NAMES", value_enum, default_value_t = MetricNames::Eoscast)]
    metrics_names: MetricNames,
    /// Ignore fields of a request's JSON body that no server is known to have, instead of refusing them by name.
    #[arg(long, env = "EOSCAST_IGNORE_UNKNOWN_FIELDS")]
    ignore_unknown_fields: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let served = runtime.block_on(serve(args));
    // A thread that waits for a file or encodes a text is not waited for.
    runtime.shutdown_background();
    served
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let grpc = args.listen.bind("--listen", "EOSCAST_LISTEN").await?;
    let http = args.http.bind("--http", "EOSCAST_HTTP").await?;
    let started_at = SystemTime::now();
    let run = WorkerRun {
        worker_id: worker_id(args.worker_id.clone(), grpc.local_addr()?).context("--worker-id")?,
        // Fits until the year 586,000.
        epoch: started_at.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_micros() as u64,
    };
    let model = args.engine.load()?;
    let engine = args.engine.config(model.runner.spec());
    let config = ServerConfig {
        max_model_len: args.max_model_len.map(NonZeroUsize::get),
        metric_names: args.metrics_names,
        predictor: args.predictor.url(),
        info: ServerInfo { run, started_at, engine },
        engine,
        http: HttpOptions {
            ignore_unknown_fields: args.ignore_unknown_fields,
            served_names: args.served_model_name.clone(),
            cors_origins: args.cors_origin.clone(),
        },
        max_connection_age: args.max_connection_age,
        drain_delay: Duration::from_secs(args.drain_delay),
        drain_timeout: Duration::from_secs(args.drain_timeout),
    };
    server::run(grpc, http, model, config, shutdown_signal()?).await
}

/// Shorter, and connections would do little but begin; longer, and it would make no difference.
const CONNECTION_AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600);

fn connection_age(text: &str) -> anyhow::Result<Duration> {
    let age = humantime::parse_duration(text)?;
    ensure!(CONNECTION_AGES.contains(&age), "must be from 1s to 365days; leave it out to keep connections");
    Ok(age)
}

/// By default the host's name and the port. A container's host name is its own, or that of its pod: one that is made anew is
/// a new worker, and one that is started again is the same.
fn worker_id(given: Option<String>, addr: SocketAddr) -> anyhow::Result<WorkerId> {
    let default = || {
        // From the kernel: images without a shell may have no /etc/hostname.
        let host = uname().nodename().to_string_lossy().into_owned();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
        format!("{}:{}", if host.is_empty() { "worker" } else { &host }, addr.port())
    };
    Ok(given.unwrap_or_else(default).try_into()?)
}
