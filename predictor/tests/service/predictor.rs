//! A predictor process, and a worker's end of a stream to it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use eoscast_proto::predictor::v1 as pb;
use eoscast_proto::predictor::v1::predictor_service_client::PredictorServiceClient;
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eoscast-predictor"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("EOSCAST_") || name == "RUST_LOG") {
        command.env_remove(name);
    }
    // Most tests are about other things than the model that ships.
    command.env("EOSCAST_PREDICTOR_MODEL", "prior");
    command
}

pub(crate) struct Predictor {
    child: Child,
    pub(crate) addr: String,
    /// The log line that says where it listens.
    pub(crate) listening: String,
    stderr: mpsc::Receiver<String>,
}

impl Predictor {
    pub(crate) fn start(data_dir: &Path, args: &[&str]) -> Self {
        let mut command = binary();
        command.args(["serve", "--data-dir"]).arg(data_dir).args(args);
        Self::spawn(command)
    }

    /// `command` is `serve` without addresses.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, stderr) = mpsc::channel();
        let reader = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || reader.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut predictor = Self { child, addr: String::new(), listening: String::new(), stderr };
        predictor.listening = predictor.wait_for_log("addr=");
        predictor.addr = predictor.listening.split("addr=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        predictor
    }

    /// The next line on stderr that holds `text`.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.wait_long_for_log(text, PATIENCE)
    }

    /// The same of something that takes longer than others.
    pub(crate) fn wait_long_for_log(&self, text: &str, patience: Duration) -> String {
        loop {
            let line = self.stderr.recv_timeout(patience).unwrap_or_else(|_| panic!("no log line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Where it serves its metrics.
    pub(crate) fn metrics_addr(&self) -> String {
        self.listening.split("metrics=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits for its end; gives its exit code, if it had one, and how long that took.
    pub(crate) fn ended(mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "it did not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends the signal of this name, without SIG.
    pub(crate) fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.pid()]).status().unwrap().success());
    }

    /// SIGTERM; says whether it ended with exit code 0.
    pub(crate) fn terminate(mut self) -> bool {
        self.signal("TERM");
        self.child.wait().unwrap().success()
    }

    pub(crate) async fn channel(&self) -> Channel {
        channel(&self.addr).await
    }

    pub(crate) async fn client(&self) -> PredictorServiceClient<Channel> {
        PredictorServiceClient::new(self.channel().await)
    }

    pub(crate) async fn stream(&self) -> StepStream {
        self.stream_of(1024).await
    }

    /// With up to `queued` messages ready to travel in one frame.
    pub(crate) async fn stream_of(&self, queued: usize) -> StepStream {
        StepStream::open(&self.addr, queued).await
    }
}

async fn channel(addr: &str) -> Channel {
    eoscast_proto::transport::endpoint(&format!("http://{addr}")).unwrap().connect().await.unwrap()
}

impl Drop for Predictor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker's end of one stream.
pub(crate) struct StepStream {
    pub(crate) sender: tokio::sync::mpsc::Sender<pb::StreamStepsRequest>,
    responses: Streaming<pb::StreamStepsResponse>,
    /// All received so far.
    pub(crate) estimates: Vec<pb::LengthEstimate>,
}

impl StepStream {
    /// To the predictor at `addr`, on a connection of its own; with up to `queued` messages ready to travel in one frame.
    pub(crate) async fn open(addr: &str, queued: usize) -> Self {
        let (sender, receiver) = tokio::sync::mpsc::channel(queued);
        let mut client = PredictorServiceClient::new(channel(addr).await);
        let responses = client.stream_steps(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { sender, responses, estimates: vec![] }
    }

    /// Says whether the stream is still open.
    pub(crate) async fn send(&self, message: pb::StreamStepsRequest) -> bool {
        self.sender.send(message).await.is_ok()
    }

    pub(crate) async fn next(&mut self) -> Result<Option<pb::StreamStepsResponse>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("a response in time")?;
        if let Some(response) = &next {
            self.estimates.extend(response.estimates.iter().cloned());
        }
        Ok(next)
    }

    /// Reads until `sequence_number` is acknowledged, and gives the response that does so.
    pub(crate) async fn acknowledged(&mut self, sequence_number: u64) -> pb::StreamStepsResponse {
        loop {
            let response = self.next().await.unwrap().expect("an open stream");
            if response.acknowledged_sequence_number >= sequence_number {
                return response;
            }
        }
    }

    /// Reads until an estimate of this step has come, and gives it. An acknowledgement may overtake the estimates.
    pub(crate) async fn estimate_at(&mut self, step: u32) -> pb::LengthEstimate {
        loop {
            if let Some(estimate) = self.estimates.iter().rfind(|estimate| estimate.step == step) {
                return estimate.clone();
            }
            self.next().await.unwrap().expect("an open stream");
        }
    }

    /// Reads to the end of the stream and gives how it ended.
    pub(crate) async fn ended(&mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    pub(crate) async fn half_close(self) -> Ending {
        let Self { sender, responses, estimates } = self;
        drop(sender);
        let (sender, _) = tokio::sync::mpsc::channel(1);
        Ending(StepStream { sender, responses, estimates })
    }
}

/// A stream whose worker has said all it has to say.
pub(crate) struct Ending(StepStream);

impl Ending {
    /// The last acknowledgement before the stream ended in peace.
    pub(crate) async fn last_acknowledgement(self) -> u64 {
        self.rest().await.0
    }

    /// The same, and all estimates of the stream.
    pub(crate) async fn rest(mut self) -> (u64, Vec<pb::LengthEstimate>) {
        let mut last = 0;
        while let Some(response) = self.0.next().await.unwrap() {
            last = response.acknowledged_sequence_number;
        }
        (last, self.0.estimates)
    }
}

/// The files of one series, oldest first.
pub(crate) fn files(folder: &Path, series: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(series))
        .collect();
    files.sort();
    files
}

/// Every line of one series; each must be whole JSON.
pub(crate) fn lines(folder: &Path, series: &str) -> Vec<Value> {
    let text: String = files(folder, series).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let written = text.lines().filter(|line| !line.is_empty());
    written.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}
