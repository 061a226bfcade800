//! Predictor and worker together, on ephemeral ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use eoscast_proto::transport;
use eoscast_proto::worker::v1::worker_service_client::WorkerServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::process::Process;

/// What differs from the defaults.
#[derive(Debug, Clone, Default)]
pub struct PairOptions {
    /// Further arguments of the worker.
    pub worker: Vec<String>,
    /// Further arguments of the predictor.
    pub predictor: Vec<String>,
    /// Where the log goes; a temporary folder by default.
    pub data: Option<PathBuf>,
}

impl PairOptions {
    /// The defaults, with further worker arguments.
    pub fn worker(args: &[&str]) -> Self {
        Self { worker: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Default::default() }
    }
}

/// A running pair; both processes are killed when it is dropped.
pub struct Pair {
    /// The worker's process.
    pub worker: Process,
    /// The predictor's process.
    pub predictor: Process,
    /// The worker's gRPC address.
    pub worker_addr: SocketAddr,
    /// The worker's HTTP address.
    pub http_addr: SocketAddr,
    /// The predictor's gRPC address.
    pub predictor_addr: SocketAddr,
    data: PathBuf,
    predictor_args: Vec<String>,
    _temporary: TempDir,
}

impl Pair {
    /// Starts both and waits until they listen.
    ///
    /// # Errors
    /// When one does not; with its log.
    pub fn start(options: &PairOptions) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let data = options.data.clone().unwrap_or_else(|| temporary.path().join("data"));
        let (predictor, predictor_addr) = start_predictor("127.0.0.1:0", &data, &options.predictor)?;
        let mut worker = start_worker(&format!("http://{predictor_addr}"), &options.worker)?;
        Ok(Self {
            worker_addr: worker.address("addr")?,
            http_addr: worker.address("http")?,
            worker,
            predictor,
            predictor_addr,
            data,
            predictor_args: options.predictor.clone(),
            _temporary: temporary,
        })
    }

    /// Starts a killed predictor again, on its address and its log.
    ///
    /// # Errors
    /// When it does not listen; with its log.
    pub fn restart_predictor(&mut self) -> anyhow::Result<()> {
        (self.predictor, _) = start_predictor(&self.predictor_addr.to_string(), &self.data, &self.predictor_args)?;
        Ok(())
    }

    /// A new connection to the worker.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn worker_client(&self) -> anyhow::Result<WorkerServiceClient<Channel>> {
        Ok(WorkerServiceClient::new(connect(self.worker_addr).await?))
    }

    /// A new connection to the predictor.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn predictor_client(&self) -> anyhow::Result<PredictorServiceClient<Channel>> {
        Ok(PredictorServiceClient::new(connect(self.predictor_addr).await?))
    }

    /// The folder of the predictor's log.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// A channel to one of the services.
///
/// # Errors
/// When it cannot be reached.
pub async fn connect(addr: SocketAddr) -> anyhow::Result<Channel> {
    Ok(transport::endpoint(&format!("http://{addr}"))?.connect().await?)
}

/// Starts a worker on ephemeral ports.
///
/// # Errors
/// When the binary is not built.
pub fn start_worker(predictor: &str, further: &[String]) -> anyhow::Result<Process> {
    let args = ["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--predictor", predictor];
    let args: Vec<String> = args.map(str::to_owned).into_iter().chain(further.iter().cloned()).collect();
    Process::start("eoscast-worker", &args, &[])
}

fn start_predictor(listen: &str, data: &Path, further: &[String]) -> anyhow::Result<(Process, SocketAddr)> {
    let data = data.display().to_string();
    let args = ["serve", "--listen", listen, "--metrics", "off", "--data-dir", &data];
    let args: Vec<String> = args.map(str::to_owned).into_iter().chain(further.iter().cloned()).collect();
    let mut predictor = Process::start("eoscast-predictor", &args, &[])?;
    let addr = predictor.address("addr")?;
    Ok((predictor, addr))
}
