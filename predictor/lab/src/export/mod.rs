//! [`export`]: the log as Parquet files, one for each series, for DuckDB, pandas and other readers of tables.
//!
//! - `column`: a typed column; `steps`, `requests`: the columns of each table; `table`: writes rows in batches

mod column;
mod requests;
mod steps;
mod table;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use eoscast_log::foreign::files::LogFiles;
use eoscast_log::location::{Location, Series};
use eoscast_log::reader::{Damages, LineReader, ReadLine};

use column::Column;
use steps::StepRow;
use table::Table;

/// A series that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What a row is.
    pub what: &'static str,
    /// Its file.
    pub path: PathBuf,
    /// Rows of it.
    pub rows: u64,
    /// Bytes of the lines' files.
    pub bytes_read: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What was written, and which lines were not.
#[derive(Debug, Default)]
pub struct Exported {
    /// The series that the log has.
    pub written: Vec<Written>,
    /// Lines that are not of the series, or that hold impossible values; they are left out.
    pub damages: Damages,
}

/// Writes the log at `data` to Parquet files: its steps to `out`, which ends in `.parquet`; requests and starts, if the log has them, beside
/// it as `NAME.requests.parquet` and `NAME.starts.parquet`. One line becomes one row: lines that repeat a step are kept, and steps are
/// numbered as in the log. Calls `progress` with the number of lines read since the last call.
///
/// # Errors
/// When there is no log, a file cannot be read, or one cannot be written.
pub fn export(data: &Path, out: &Path, mut progress: impl FnMut(u64)) -> anyhow::Result<Exported> {
    ensure!(
        out.extension().is_some_and(|extension| extension == "parquet") && !out.is_dir(),
        "--out {}: name a file that ends in .parquet",
        out.display()
    );
    let name = || data.display().to_string();
    let steps = LogFiles::of(data).with_context(name)?.files;
    ensure!(!steps.is_empty(), "{}: has no log; give a folder with .jsonl files, or a file of steps", data.display());
    let of = |series| -> anyhow::Result<Vec<PathBuf>> {
        let segments = Location::parse(data).segments(series).with_context(name)?;
        Ok(segments.into_iter().map(|segment| segment.path).collect())
    };
    let (requests, starts) = (of(Series::Requests)?, of(Series::Starts)?);
    let mut exported = Exported::default();
    let mut job = Job { exported: &mut exported, progress: &mut progress };
    job.table("steps", &steps, out.to_owned(), steps::columns(), |reader| reader.read_with(StepRow::parse))?;
    job.table(
        "requests",
        &requests,
        out.with_extension("requests.parquet"),
        requests::of_requests(),
        LineReader::read_line,
    )?;
    job.table("starts", &starts, out.with_extension("starts.parquet"), requests::of_starts(), LineReader::read_line)?;
    Ok(exported)
}

struct Job<'a> {
    exported: &'a mut Exported,
    progress: &'a mut dyn FnMut(u64),
}

impl Job<'_> {
    /// Writes one series, if it has files.
    fn table<R>(
        &mut self,
        what: &'static str,
        files: &[PathBuf],
        out: PathBuf,
        columns: Vec<Column<R>>,
        mut read: impl FnMut(&mut LineReader) -> io::Result<Option<ReadLine<R>>>,
    ) -> anyhow::Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let mut table = Table::create(&out, columns)?;
        let mut bytes_read = 0;
        for file in files {
            let name = || format!("{} cannot be read", file.display());
            let mut reader = LineReader::open(file).with_context(name)?;
            while let Some(line) = read(&mut reader).with_context(name)? {
                match line {
                    Ok((_, row)) => table.push(row)?,
                    Err(damage) => self.exported.damages.push(damage),
                }
                (self.progress)(1);
            }
            bytes_read += std::fs::metadata(file).with_context(name)?.len();
        }
        let rows = table.finish()?;
        let bytes = std::fs::metadata(&out)?.len();
        self.exported.written.push(Written { what, path: out, rows, bytes_read, bytes });
        Ok(())
    }
}
