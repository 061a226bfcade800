//! `serve`: the worker as a service.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use eoscast_proto::domain::{WorkerId, WorkerRun};
use tokio::net::TcpListener;

use super::engine_args::EngineArgs;
use super::interrupt::shutdown_signal;
use crate::rpc::ServerInfo;
use crate::runner::ModelRunner;
use crate::server::{self, ServerConfig};

/// Options of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address of the gRPC service; port 0 picks a free one.
    #[arg(long, env = "EOSCAST_LISTEN", default_value = "127.0.0.1:50051")]
    listen: SocketAddr,
    /// Address of OpenAI's API (/v1), /health and /metrics; port 0 picks a free one.
    #[arg(long, env = "EOSCAST_HTTP", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// URL of the predictor, or none. The worker runs on when it cannot be reached.
    #[arg(long, env = "EOSCAST_PREDICTOR", default_value = "http://127.0.0.1:50052", value_name = "URL|none")]
    predictor: String,
    /// Name under which the predictor knows this worker, the same after a restart [default: host name and port].
    #[arg(long, env = "EOSCAST_WORKER_ID", value_name = "NAME")]
    worker_id: Option<String>,
    /// Seconds that running requests may take to end after SIGINT or SIGTERM; then they are aborted.
    #[arg(long, env = "EOSCAST_DRAIN_TIMEOUT", default_value_t = 30, value_name = "SECONDS")]
    drain_timeout: u64,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(serve(args))
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let bind = async |flag: &str, addr: SocketAddr| {
        TcpListener::bind(addr).await.with_context(|| format!("{flag}: cannot listen on {addr}"))
    };
    let grpc = bind("--listen", args.listen).await?;
    let http = bind("--http", args.http).await?;
    let started_at = SystemTime::now();
    let run = WorkerRun {
        worker_id: worker_id(args.worker_id.clone(), grpc.local_addr()?).context("--worker-id")?,
        // Fits until the year 586,000.
        epoch: started_at.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_micros() as u64,
    };
    let model = args.engine.load()?;
    let engine = args.engine.config(model.runner.spec());
    let config = ServerConfig {
        predictor: (args.predictor != "none").then(|| args.predictor.clone()),
        info: ServerInfo { run, started_at, engine },
        engine,
        drain_timeout: Duration::from_secs(args.drain_timeout),
    };
    server::run(grpc, http, model, config, shutdown_signal()?).await
}

fn worker_id(given: Option<String>, addr: SocketAddr) -> anyhow::Result<WorkerId> {
    let default = || {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(64).collect();
        format!("{}:{}", if host.is_empty() { "worker" } else { &host }, addr.port())
    };
    Ok(given.unwrap_or_else(default).try_into()?)
}
