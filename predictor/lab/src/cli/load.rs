//! `load`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::ensure;
use clap::Args;
use eoscast_cli::address::ServerUrl;
use eoscast_cli::progress::Progress;
use eoscast_proto::domain::WorkerRun;

use crate::load::pace::Pace;
use crate::load::player::Player;
use crate::load::recording::read;
use crate::load::rpc::play;
use crate::load::usage::PredictorPage;

/// Most live requests that a predictor takes.
const MOST_LIVE: usize = 65_536;

/// Play a log to a running predictor as workers would, at a rate, and measure how it keeps up.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  eoscast-lab load --data data/collected --predictor 127.0.0.1:50052 --rate 20000\n  \
    eoscast-lab load --data data/collected --streams 64 --live 16 --rate 100000 --metrics 127.0.0.1:9464"
)]
pub(super) struct LoadArgs {
    /// The log to play: a folder of the event log, or the file that --log-file named.
    #[arg(long, value_name = "PATH", env = "EOSCAST_DATA")]
    data: PathBuf,

    /// The predictor to play to. Its log grows by what is played: give it a folder of its own.
    #[arg(long, value_name = "HOST:PORT", env = "EOSCAST_PREDICTOR", default_value = "127.0.0.1:50052")]
    predictor: ServerUrl,

    /// Workers to play, each with a connection and a worker id of its own; they send in turn.
    #[arg(long, value_name = "WORKERS", env = "EOSCAST_LOAD_STREAMS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    streams: u16,

    /// Step events a second of all streams together; 0 for as fast as it goes.
    #[arg(long, value_name = "EVENTS", env = "EOSCAST_LOAD_RATE", default_value_t = 0.0, value_parser = rate)]
    rate: f64,

    /// Requests live at a time in each stream; each message has one step of each.
    #[arg(long, value_name = "REQUESTS", env = "EOSCAST_LOAD_LIVE", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    live: u16,

    /// How long, e.g. 30s.
    #[arg(long, value_name = "TIME", env = "EOSCAST_LOAD_DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// The predictor's metrics page, e.g. 127.0.0.1:9464: the report then says what the predictor used.
    #[arg(long, value_name = "HOST:PORT", env = "EOSCAST_LOAD_METRICS")]
    metrics: Option<ServerUrl>,

    /// Print the report as one JSON object.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("give a number of events from 0 on".to_owned()),
    }
}

impl LoadArgs {
    #[expect(clippy::print_stdout, reason = "the report is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (streams, live) = (usize::from(self.streams), usize::from(self.live));
        ensure!(
            streams * live <= MOST_LIVE,
            "--streams {streams} times --live {live} are more live requests than a predictor takes, {MOST_LIVE}; choose fewer"
        );
        let epoch = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros())?;
        let requests = read(&self.data)?;
        let player = |stream: usize| {
            let worker_id = format!("load-{}-{stream}", std::process::id()).try_into()?;
            // Each begins elsewhere in the log.
            let first = stream * requests.len() / streams;
            Player::new(requests.clone(), first, WorkerRun { worker_id, epoch })
        };
        let players = (0..streams).map(player).collect::<anyhow::Result<_>>()?;
        let page = || self.metrics.as_ref().map(|url| PredictorPage::read(url.as_str())).transpose();
        let before = page()?;
        let bar = Progress::uncounted("playing", "events");
        let pace = Pace { live, events_per_s: (self.rate > 0.0).then_some(self.rate), duration: self.duration };
        // What reads from the connections is what takes the estimates: no thread has to wake another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut report =
            runtime.block_on(play(self.predictor.as_str(), players, pace, |events| bar.set_done(events)))?;
        bar.finish();
        report.predictor = before.zip(page()?).map(|(before, after)| after.since(before, report.events));
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{report}");
        }
        Ok(())
    }
}
