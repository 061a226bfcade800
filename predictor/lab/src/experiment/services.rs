//! Worker and predictor, fresh for each run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use eoscast_proto::worker::v1 as pb;
use pb::worker_service_client::WorkerServiceClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::open_loop::open_loop;
use super::options::ExperimentOptions;
use super::oracle::{Lengths, Oracle};
use eoscast_pair::client::chat;
use eoscast_pair::pair::{connect, start_worker};
use eoscast_pair::process::Process;
use eoscast_pair::prompts::PROMPTS;

/// Requests before a run, so that code and memory are warm, and tokens of each.
const WARM_UP: usize = 4;
const WARM_UP_TOKENS: u32 = 16;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Who answers the worker's steps.
#[derive(Debug, Clone)]
pub(crate) enum Forecasts {
    /// The predictor, with the model that ships.
    Predictor,
    /// One who knows.
    Oracle(Lengths),
}

/// A worker and who forecasts for it.
pub(crate) struct Services {
    /// To the worker.
    pub(crate) client: WorkerServiceClient<Channel>,
    worker: Process,
    http_addr: SocketAddr,
    forecaster: Forecaster,
}

enum Forecaster {
    Predictor { process: Process, data: TempDir },
    Oracle(#[expect(dead_code, reason = "it serves until it is dropped")] Oracle),
}

impl Services {
    /// Starts both, waits until they are connected, and warms them up.
    ///
    /// # Errors
    /// One does not start, or they do not find each other.
    pub(crate) async fn start(options: &ExperimentOptions, policy: &str, forecasts: Forecasts) -> anyhow::Result<Self> {
        let (forecaster, endpoint) = match forecasts {
            Forecasts::Oracle(lengths) => {
                let oracle = Oracle::start(lengths).await?;
                let endpoint = format!("http://{}", oracle.addr);
                (Forecaster::Oracle(oracle), endpoint)
            }
            Forecasts::Predictor => {
                let data = tempfile::tempdir()?;
                let folder = data.path().display().to_string();
                let args = ["serve", "--listen", "127.0.0.1:0", "--metrics", "off", "--data-dir", &folder];
                let mut process = Process::start_nice("eoscast-predictor", &args.map(str::to_owned))?;
                let endpoint = format!("http://{}", process.address("addr")?);
                (Forecaster::Predictor { process, data }, endpoint)
            }
        };
        let limits = options.config();
        let (kv_tokens, max_running) = (options.kv_tokens.to_string(), options.max_running.to_string());
        let (block_size, batched) = (limits.block_size.to_string(), limits.max_batched_tokens.to_string());
        let args = [
            ["--model", &options.model],
            ["--policy", policy],
            ["--kv-tokens", &kv_tokens],
            ["--block-size", &block_size],
            ["--max-running", &max_running],
            ["--max-batched-tokens", &batched],
        ];
        let args: Vec<String> = args.iter().flatten().map(|arg| (*arg).to_owned()).collect();
        let mut worker = start_worker(&endpoint, &args)?;
        let client = WorkerServiceClient::new(connect(worker.address("addr")?).await?);
        let http_addr = worker.address("http")?;
        let mut services = Self { client, worker, http_addr, forecaster };
        services.connected().await?;
        services.warm_up().await?;
        Ok(services)
    }

    async fn connected(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.link().await?.connected {
            ensure!(Instant::now() < deadline, "the worker found no predictor:\n{}", self.worker.log());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn warm_up(&self) -> anyhow::Result<()> {
        let prompts = PROMPTS.iter().take(WARM_UP).zip(0..);
        let due = prompts.map(|((_, prompt), i)| (0.0, chat(&format!("warm-up-{i}"), prompt, i, WARM_UP_TOKENS)));
        open_loop(&self.client, due.collect(), &|| ()).await?;
        Ok(())
    }

    /// How the worker's link to the predictor stands.
    ///
    /// # Errors
    /// The worker does not answer.
    pub(crate) async fn link(&mut self) -> anyhow::Result<pb::PredictorLink> {
        let info = self.client.get_server_info(pb::GetServerInfoRequest {}).await?.into_inner();
        info.predictor.context("the worker tells nothing of its predictor")
    }

    /// What the worker has counted so far.
    ///
    /// # Errors
    /// The worker does not answer, or has not counted.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let mut http = TcpStream::connect(self.http_addr).await?;
        http.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        http.read_to_string(&mut page).await?;
        Counts::read(&page)
            .context("the worker's /metrics do not tell what forecasts rested on, or how long steps took")
    }

    /// Ends both, the worker first, so that the predictor has its last steps; gives the folder of the predictor's log.
    ///
    /// # Errors
    /// One does not end.
    pub(crate) async fn stop(self) -> anyhow::Result<Option<TempDir>> {
        let Self { client, worker, forecaster, .. } = self;
        // Open connections would keep the worker.
        drop(client);
        end(worker).await?;
        match forecaster {
            Forecaster::Oracle(_) => Ok(None),
            Forecaster::Predictor { process, data } => {
                end(process).await?;
                Ok(Some(data))
            }
        }
    }
}

/// Since the worker started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Counts {
    /// Its steps.
    pub(crate) steps: f64,
    /// Share of them whose forecasts were all fresh estimates; the others had to do with the prior or less.
    pub(crate) steps_by_estimates: f64,
    /// Seconds spent in steps.
    pub(crate) busy_seconds: f64,
}

impl Counts {
    /// From the page of its metrics.
    fn read(page: &str) -> Option<Self> {
        let sum = |name: &str, label: &str| -> f64 {
            let lines = page.lines().filter(|line| line.contains(&format!("{name}_total{{")) && line.contains(label));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let (steps, busy_seconds) = (sum("steps_by_forecast_basis", ""), sum("step_seconds", ""));
        let steps_by_estimates = sum("steps_by_forecast_basis", "\"estimate\"") / steps;
        (steps > 0.0 && busy_seconds > 0.0).then_some(Self { steps, steps_by_estimates, busy_seconds })
    }
}

/// Meanwhile the connections close.
async fn end(mut process: Process) -> anyhow::Result<()> {
    process.terminate()?;
    tokio::task::spawn_blocking(move || process.wait(PATIENCE)).await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_worker_counted_is_read_from_its_metrics() {
        let page = "# TYPE w_steps_by_forecast_basis counter\nw_steps_by_forecast_basis_total{basis=\"prior\"} 10\n\
                    w_steps_by_forecast_basis_total{basis=\"estimate\"} 30\nw_other_total 5\n\
                    w_step_seconds_total{phase=\"forward\"} 1.5\nw_step_seconds_total{phase=\"sample\"} 0.25\n";
        assert_eq!(Counts::read(page), Some(Counts { steps: 40.0, steps_by_estimates: 0.75, busy_seconds: 1.75 }));
        assert_eq!(Counts::read("w_other_total 5\n"), None);
    }
}
