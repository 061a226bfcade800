//! `analyze`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use eoscast_cli::progress::Progress;
use eoscast_log::foreign::files::LogFiles;
use eoscast_log::reader::BadLines;

use crate::analysis::{page, report, trace};
use crate::evaluation::report::EvaluationReport;

/// Plot what a log says of the ends of replies: SVG and PNG figures, and one HTML page that explains them.
///
/// It reads any JSON-lines log with the twelve classic EOS-probability fields, also where other engines spell them otherwise: NaN, null,
/// 5.0, 0 and 1 for booleans, vLLM's finish reasons. In a folder it reads rotated and gzip files too, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  eoscast-lab analyze --data data/predictor --out report")]
pub(super) struct AnalyzeArgs {
    /// Folder of the log, or a file of step lines; .gz is read, too.
    #[arg(long, value_name = "DIR_OR_FILE", env = "EOSCAST_ANALYZE_DATA")]
    data: PathBuf,

    /// Folder for the figures and report.html.
    #[arg(long, value_name = "DIR", env = "EOSCAST_ANALYZE_OUT")]
    out: PathBuf,

    /// The language model to look at, where the log mixes several.
    #[arg(long, value_name = "NAME", env = "EOSCAST_ANALYZE_MODEL")]
    model: Option<String>,

    /// What becomes of broken, impossible or repeated lines, and of gaps.
    #[arg(long, env = "EOSCAST_BAD_LINES", default_value = "skip")]
    bad_lines: BadLines,

    /// Show this evaluation too: what evaluate --json printed.
    #[arg(long, value_name = "FILE", env = "EOSCAST_EVALUATION")]
    evaluation: Option<PathBuf>,
}

impl AnalyzeArgs {
    #[expect(clippy::print_stdout, reason = "what was read and written is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let evaluation = self.evaluation.as_deref().map(read_evaluation).transpose()?;
        let bytes = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        let total = LogFiles::of(&self.data).map_or(0, |found| found.files.iter().map(bytes).sum());
        let bar = Progress::bytes("reading", total);
        let traces = trace::read(&self.data, self.model.as_deref(), |bytes| bar.add(bytes))?;
        bar.finish();
        traces.intake.check(self.bad_lines).with_context(|| self.data.display().to_string())?;
        let bar = Progress::items("drawing", 0);
        let source = self.data.display().to_string();
        let page = report(&traces, evaluation.as_ref(), &source, &self.out, |figures| {
            bar.set_total(figures as u64);
            bar.add(1);
        })?;
        bar.finish();
        println!("{}", page::summary(&traces));
        for note in traces.notes() {
            println!("  {note}");
        }
        println!("{}", page.display());
        Ok(())
    }
}

fn read_evaluation(path: &Path) -> anyhow::Result<EvaluationReport> {
    let file = File::open(path).with_context(|| format!("--evaluation {} cannot be read", path.display()))?;
    serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("--evaluation {} is not what evaluate --json prints", path.display()))
}
