//! [`NewestSteps`]: the newest part of a log that is too long to read.

use std::io;

use crate::location::{Location, Segment, Series};
use crate::reader::LineReader;
use crate::record::StepLine;

/// The newest step lines of a log.
#[derive(Debug)]
pub struct NewestSteps {
    /// Their files, oldest first.
    pub segments: Vec<Segment>,
    /// Seconds since 1970 of the first of these lines; minus infinity if no step line is left out. Steps of requests that
    /// arrived before may be missing.
    pub since: f64,
}

impl NewestSteps {
    /// The newest files that have `bytes` bytes together.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn of(location: &Location, bytes: u64) -> io::Result<Self> {
        let (segments, complete) = location.newest(Series::Steps, bytes)?;
        let since = if complete { f64::NEG_INFINITY } else { first_timestamp(&segments)? };
        Ok(Self { segments, since })
    }
}

/// Of the first line that can be read; minus infinity without one.
fn first_timestamp(segments: &[Segment]) -> io::Result<f64> {
    for segment in segments {
        let mut reader = LineReader::open(&segment.path)?;
        while let Some(line) = reader.read_line::<StepLine>()? {
            if let Ok((_, line)) = line {
                return Ok(line.timestamp);
            }
        }
    }
    Ok(f64::NEG_INFINITY)
}
