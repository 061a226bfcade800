//! `replay`.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use eoscast_cli::progress::Progress;

use crate::replay::{Report, replay};
use eoscast_forecast::models::Artifact;
use eoscast_log::location::Location;

/// Make every estimate of a log again and compare bit for bit; exit code 1 if any differs.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Folder of the event log, or the file that --log-file named.
    log: PathBuf,

    /// An artifact that estimates were made with; can be given several times. The one that ships and those that --retrain-every
    /// left beside the log need not be given.
    #[arg(long, value_name = "FILE", env = "EOSCAST_ARTIFACT")]
    artifact: Vec<PathBuf>,

    /// Print the report as one JSON object.
    #[arg(long, env = "EOSCAST_JSON")]
    json: bool,
}

impl ReplayArgs {
    #[expect(clippy::print_stdout, reason = "the report is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let artifacts = self.artifact.iter().map(|path| Artifact::load(path)).collect::<anyhow::Result<_>>()?;
        let bar = Progress::bytes("replaying", Location::parse(&self.log).bytes()?);
        let report = replay(&self.log, artifacts, |bytes| bar.add(bytes))?;
        bar.finish();
        if self.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}", table(&report));
        }
        ensure!(report.different == 0, "{} of {} estimates came out differently", report.different, report.estimates);
        Ok(())
    }
}

fn table(report: &Report) -> String {
    let mut lines = vec![
        format!("estimates           {}", report.estimates),
        format!("identical           {}", report.identical),
        format!("different           {}", report.different),
        format!("not recomputable    {}", report.not_recomputable.values().sum::<u64>()),
    ];
    lines.extend(report.not_recomputable.iter().map(|(reason, count)| format!("  {count}: {reason}")));
    lines.push(format!("gaps                {} ({} lines are missing)", report.gaps, report.missing_lines));
    lines.push(format!("damaged lines       {}", report.damaged_lines));
    lines.extend(report.first_damaged.iter().map(|damage| format!("  {damage}")));
    lines.extend(report.first_differences.iter().map(|difference| {
        format!(
            "{}: request {} step {}: logged mean {}, replayed mean {} ({})",
            difference.at,
            difference.request_id,
            difference.step,
            difference.logged.remaining.mean,
            difference.replayed.remaining.mean,
            difference.logged.model_version
        )
    }));
    lines.join("\n")
}
