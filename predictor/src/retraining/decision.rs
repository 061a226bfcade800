//! [`Decision`]: what came of one retraining, and the file beside the log that tells of all.

use std::fs::OpenOptions;
use std::io::{self, Write};

use eoscast_log::location::Location;
use eoscast_log::reader::LineReader;
use serde::{Deserialize, Serialize};

/// What came of one retraining.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// When, seconds since 1970.
    pub(crate) timestamp: f64,
    /// Outcomes seen by then.
    pub(crate) outcomes: u64,
    /// The generating model whose requests were learnt from; empty if there were none.
    pub(crate) model: String,
    /// The model that the predictor was started with: its version without the outcomes.
    pub(crate) started_with: String,
    /// The model that served.
    pub(crate) serving: String,
    /// The best of the refitted models; empty if none could be fitted.
    pub(crate) candidate: String,
    /// File of the candidate's artifact beside the log, if it was swapped in.
    pub(crate) artifact: Option<String>,
    /// Requests that both were judged on.
    pub(crate) requests: u32,
    /// Mean absolute error of the candidate on these, in tokens.
    pub(crate) candidate_mae: f64,
    /// That of the model that served.
    pub(crate) serving_mae: f64,
    /// Standard error of the difference.
    pub(crate) standard_error: f64,
    /// Whether the candidate serves since then.
    pub(crate) swapped: bool,
    /// Why not.
    pub(crate) reason: String,
}

impl Decision {
    /// Adds it to the file beside the log.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn append(&self, location: &Location) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        // A line before that is torn ends here; empty lines are passed over.
        line.insert(0, b'\n');
        line.push(b'\n');
        OpenOptions::new().append(true).create(true).open(location.retrainings())?.write_all(&line)
    }

    /// All of a log, oldest first; lines that are damaged are passed over.
    ///
    /// # Errors
    /// When the file cannot be read; one that is missing tells of none.
    pub(crate) fn all(location: &Location) -> io::Result<Vec<Self>> {
        let mut reader = match LineReader::open(&location.retrainings()) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut all = vec![];
        while let Some(line) = reader.read_line()? {
            all.extend(line.ok().map(|(_, decision)| decision));
        }
        Ok(all)
    }
}

/// The artifact file of the last model that was swapped in since a predictor was first started with `started_with`.
pub(crate) fn last_swap<'a>(decisions: &'a [Decision], started_with: &str) -> Option<&'a str> {
    let last = decisions.iter().rfind(|decision| decision.swapped)?;
    last.artifact.as_deref().filter(|_| last.started_with == started_with)
}
