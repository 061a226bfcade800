//! An engine in this process, for commands that need no server.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use eoscast_proto::domain::WorkerRun;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::engine_args::EngineArgs;
use crate::engine::{self, EngineHandle, EngineThread, RequestPreparer};
use crate::link::PredictorLink;
use crate::metrics::Metrics;
use crate::runner::{CandleRunner, ModelRunner};

/// How long the start waits for a predictor.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);

/// A running engine with its link to a predictor.
pub(super) struct LocalEngine {
    pub(super) engine: EngineHandle,
    pub(super) preparer: RequestPreparer,
    /// Whether a predictor answered in time.
    pub(super) has_predictor: bool,
    thread: EngineThread,
    link_task: Option<JoinHandle<()>>,
    stop_link: CancellationToken,
}

/// A run of a worker that is named after a command.
pub(super) fn worker_run(command: &str) -> anyhow::Result<WorkerRun> {
    Ok(WorkerRun {
        worker_id: format!("{command}-{}", std::process::id()).try_into()?,
        // Fits until the year 586,000.
        epoch: SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_micros() as u64,
    })
}

impl LocalEngine {
    /// Loads the model and starts; `predictor` is a URL, if there is to be one.
    pub(super) async fn start(command: &str, args: &EngineArgs, predictor: Option<String>) -> anyhow::Result<Self> {
        Self::with_link(args, PredictorLink::new(predictor, worker_run(command)?)).await
    }

    /// The same with a link of its own.
    pub(super) async fn with_link(args: &EngineArgs, link: PredictorLink) -> anyhow::Result<Self> {
        Self::with_runner(args, link, |runner| Box::new(runner)).await
    }

    /// The same with the model's runner in another one.
    pub(super) async fn with_runner(
        args: &EngineArgs,
        link: PredictorLink,
        wrap: impl FnOnce(CandleRunner) -> Box<dyn ModelRunner>,
    ) -> anyhow::Result<Self> {
        let model = args.load()?;
        let stop_link = CancellationToken::new();
        let link_task = link.spawn(stop_link.clone()).context("--predictor is not a URL")?;
        let has_predictor = link.connected_within(CONNECT_DEADLINE).await;
        let config = args.config(model.runner.spec());
        let tokenizer = Arc::new(model.tokenizer);
        let preparer = RequestPreparer::new(Arc::clone(&tokenizer), model.chat_template, model.runner.spec());
        let metrics = Arc::new(Metrics::new());
        let (engine, thread) = engine::handle::spawn(wrap(model.runner), tokenizer, config, link, metrics)?;
        Ok(Self { engine, preparer, has_predictor, thread, link_task, stop_link })
    }

    /// Ends what runs, and tells the predictor the rest.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.engine.drain(Instant::now());
        self.thread.ended().await?;
        self.stop_link.cancel();
        if let Some(task) = self.link_task {
            task.await?;
        }
        Ok(())
    }
}
