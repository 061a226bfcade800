//! `load`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use eoscast_cli::address::ServerUrl;
use eoscast_cli::progress::Progress;
use eoscast_proto::domain::WorkerRun;

use crate::load::rpc::{Pace, play};
use crate::load::{Player, read};

/// Play a log to a running predictor as a worker would, at a rate, and measure how it keeps up.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eoscast-lab load --data data/collected --predictor 127.0.0.1:50052 --rate 20000")]
pub(super) struct LoadArgs {
    /// The log to play: a folder of the event log, or the file that --log-file named.
    #[arg(long, value_name = "PATH", env = "EOSCAST_DATA")]
    data: PathBuf,

    /// The predictor to play to. Its log grows by what is played: give it a folder of its own.
    #[arg(long, value_name = "HOST:PORT", env = "EOSCAST_PREDICTOR", default_value = "127.0.0.1:50052")]
    predictor: ServerUrl,

    /// Step events a second; 0 for as fast as it goes.
    #[arg(long, value_name = "EVENTS", env = "EOSCAST_LOAD_RATE", default_value_t = 0.0, value_parser = rate)]
    rate: f64,

    /// Requests live at a time; each message has one step of each.
    #[arg(long, value_name = "REQUESTS", env = "EOSCAST_LOAD_LIVE", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    live: u16,

    /// How long, e.g. 30s.
    #[arg(long, value_name = "TIME", env = "EOSCAST_LOAD_DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,

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
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let run = WorkerRun {
            worker_id: format!("load-{}", std::process::id()).try_into()?,
            epoch: u64::try_from(since_1970.as_micros())?,
        };
        let player = Player::new(read(&self.data)?, run)?;
        let bar = Arc::new(Progress::uncounted("playing", "events"));
        let shown = Arc::clone(&bar);
        let pace = Pace {
            live: self.live.into(),
            events_per_s: (self.rate > 0.0).then_some(self.rate),
            duration: self.duration,
        };
        // What reads from the connection is what takes the estimates: no thread has to wake another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report =
            runtime.block_on(play(self.predictor.as_str(), player, pace, move |events| shown.set_done(events)))?;
        bar.finish();
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{report}");
        }
        Ok(())
    }
}
