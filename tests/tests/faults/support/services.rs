//! Both services as processes, under a limit of memory, with restarts and with access to what they report.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use eoscast_pair::pair::connect;
use eoscast_pair::process::{Process, binary};
use eoscast_proto::predictor::v1::EngineLoad;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use eoscast_proto::worker::v1 as pb;
use pb::worker_service_client::WorkerServiceClient;
use tonic::transport::Channel;

use super::http;
use super::resources::resident_bytes;

/// A process that holds more is killed, so that a fault costs the test and not the machine.
const MOST_RESIDENT_BYTES: u64 = 8 << 30;
const GUARD_INTERVAL: Duration = Duration::from_millis(50);

/// How a service is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct Launch {
    args: Vec<String>,
    under: Vec<String>,
    envs: Vec<(&'static str, String)>,
    folder: Option<PathBuf>,
}

impl Launch {
    /// With further arguments.
    pub(crate) fn with(args: &[&str]) -> Self {
        Self { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Self::default() }
    }

    /// By a command in front of it, such as `prlimit --nofile=64`.
    pub(crate) fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// With a variable of its environment.
    pub(crate) fn env(mut self, name: &'static str, value: String) -> Self {
        self.envs.push((name, value));
        self
    }

    /// From the binaries in `folder`; else those of this build.
    pub(crate) fn from(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    fn start(&self, name: &str, args: &[String]) -> Process {
        let program = match &self.folder {
            Some(folder) => folder.join(name),
            None => binary(name).unwrap(),
        };
        let mut words = self.under.iter().map(PathBuf::from).chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let args: Vec<String> = args.iter().chain(&self.args).cloned().collect();
        Process::start_command(name, command, &args, &self.envs).unwrap()
    }
}

/// Kills a process that holds too much memory, until it is dropped.
struct Guard(#[allow(dead_code, reason = "its end is what the thread waits for")] Arc<()>);

impl Guard {
    fn of(process: &Process, name: &'static str) -> Self {
        let alive = Arc::new(());
        let (weak, id): (Weak<()>, u32) = (Arc::downgrade(&alive), process.id());
        thread::spawn(move || {
            while weak.upgrade().is_some() {
                let Some(resident) = resident_bytes(id) else { return };
                if resident > MOST_RESIDENT_BYTES {
                    println!("{name} holds {} MB: killed", resident / 1_000_000);
                    let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
                    return;
                }
                thread::sleep(GUARD_INTERVAL);
            }
        });
        Self(alive)
    }
}

fn listen_args(first: &str, addr: SocketAddr, second: &str, other: SocketAddr) -> Vec<String> {
    vec!["serve".into(), first.into(), addr.to_string(), second.into(), other.to_string()]
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A predictor with its metrics page.
pub(crate) struct Predictor {
    pub(crate) process: Process,
    pub(crate) grpc: SocketAddr,
    pub(crate) metrics: SocketAddr,
    data: PathBuf,
    launch: Launch,
    _guard: Guard,
}

impl Predictor {
    /// On free ports, with its log in the folder `data`.
    pub(crate) fn start(data: &Path, launch: Launch) -> Self {
        Self::start_at(any_port(), any_port(), data, launch)
    }

    fn start_at(grpc: SocketAddr, metrics: SocketAddr, data: &Path, launch: Launch) -> Self {
        let mut args = listen_args("--listen", grpc, "--metrics", metrics);
        args.extend(["--data-dir".to_owned(), data.display().to_string()]);
        let mut process = launch.start("eoscast-predictor", &args);
        let _guard = Guard::of(&process, "the predictor");
        let (grpc, metrics) = (process.address("addr").unwrap(), process.address("metrics").unwrap());
        Self { process, grpc, metrics, data: data.to_owned(), launch, _guard }
    }

    /// Kills it if it still runs, and starts it again on its addresses and its log.
    pub(crate) fn restart(&mut self) {
        self.restart_with(self.launch.clone());
    }

    /// The same, started in another way.
    pub(crate) fn restart_with(&mut self, launch: Launch) {
        // It may have ended already.
        let _ = self.process.kill();
        let next = Self::start_at(self.grpc, self.metrics, &self.data, launch);
        *self = next;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub(crate) async fn client(&self) -> PredictorServiceClient<Channel> {
        PredictorServiceClient::new(connect(self.grpc).await.unwrap())
    }

    /// The sum of the series of a metric, by its name without `eoscast_predictor_`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        http::metric(self.metrics, &format!("eoscast_predictor_{name}")).await
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }
}

/// A worker with its HTTP side.
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    predictor: String,
    _guard: Guard,
}

impl Worker {
    /// On free ports; `predictor` is a URL or `none`.
    pub(crate) fn start(predictor: &str, launch: &Launch) -> Self {
        Self::start_at(any_port(), any_port(), predictor, launch)
    }

    fn start_at(grpc: SocketAddr, http: SocketAddr, predictor: &str, launch: &Launch) -> Self {
        let mut args = listen_args("--listen", grpc, "--http", http);
        args.extend(["--predictor".to_owned(), predictor.to_owned()]);
        let mut process = launch.start("eoscast-worker", &args);
        let _guard = Guard::of(&process, "the worker");
        let (grpc, http) = (process.address("addr").unwrap(), process.address("http").unwrap());
        Self { process, grpc, http, predictor: predictor.to_owned(), _guard }
    }

    /// Kills it if it still runs, and starts it again on its addresses.
    pub(crate) fn restart(&mut self, launch: &Launch) {
        // It may have ended already.
        let _ = self.process.kill();
        *self = Self::start_at(self.grpc, self.http, &self.predictor, launch);
    }

    pub(crate) async fn client(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(connect(self.grpc).await.unwrap())
    }

    pub(crate) async fn link(&self) -> pb::PredictorLink {
        let info = self.client().await.get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
        info.into_inner().predictor.unwrap()
    }

    pub(crate) async fn load(&self) -> EngineLoad {
        let loads = self.client().await.get_loads(pb::GetLoadsRequest {}).await.unwrap();
        loads.into_inner().load.unwrap()
    }
}

/// Both, with a temporary folder for the log.
pub(crate) struct Services {
    pub(crate) worker: Worker,
    pub(crate) predictor: Predictor,
    _folder: tempfile::TempDir,
}

impl Services {
    pub(crate) fn start(predictor: Launch, worker: &Launch) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let predictor = Predictor::start(&folder.path().join("data"), predictor);
        let worker = Worker::start(&predictor.url(), worker);
        Self { worker, predictor, _folder: folder }
    }
}
