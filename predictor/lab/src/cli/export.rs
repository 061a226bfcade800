//! `export`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use eoscast_cli::progress::Progress;

use crate::export::{Written, export};

/// Write a log as Parquet files, for DuckDB, pandas, polars or Spark.
///
/// Steps go to the file of --out; finished requests and arrivals go beside it, as NAME.requests.parquet and NAME.starts.parquet. A log
/// of another engine has steps only. Each line becomes a row; lines that cannot be read are left out and reported by kind.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  eoscast-lab export --data data/predictor --out log.parquet
  duckdb -c \"select task, count(*), avg(output_length) from 'log.requests.parquet' group by task\"")]
pub(super) struct ExportArgs {
    /// Folder of the log, or a file of step lines; rotated and gzip files are read, and logs of other engines.
    #[arg(long, value_name = "DIR_OR_FILE", env = "EOSCAST_DATA")]
    data: PathBuf,

    /// File for the steps; its name ends in .parquet.
    #[arg(long, value_name = "FILE", env = "EOSCAST_EXPORT_OUT")]
    out: PathBuf,
}

impl ExportArgs {
    #[expect(clippy::print_stdout, reason = "what was written is the output of this command")]
    pub(super) fn run(self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let bar = Progress::uncounted("exporting", "lines");
        let exported = export(&self.data, &self.out, |lines| bar.add(lines))?;
        bar.finish();
        for note in exported.damages.by_kind() {
            eprintln!("left out: {note}");
        }
        let seconds = begun.elapsed().as_secs_f64();
        for Written { what, path, rows, bytes_read, bytes } in &exported.written {
            let each = *bytes as f64 / (*rows).max(1) as f64;
            println!(
                "{}: {rows} {what}, {bytes} bytes, {each:.1} a row, of {:.2} MB of lines",
                path.display(),
                *bytes_read as f64 / 1e6
            );
        }
        let rows: u64 = exported.written.iter().map(|written| written.rows).sum();
        println!("{rows} rows in {seconds:.1} s, {:.0} rows/s", rows as f64 / seconds);
        Ok(())
    }
}
