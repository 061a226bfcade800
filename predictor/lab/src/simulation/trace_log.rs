//! The event log as a trace: its finished requests, and what the predictor said of them at each step.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::log_lines::each;
use anyhow::{Context, bail, ensure};
use eoscast_log::location::{Location, Series};
use eoscast_log::record::RequestLine;
use eoscast_proto::domain::{FinishReason, QUANTILE_LEVELS, RequestId};
use eoscast_sched::RemainingLength;
use eoscast_sim::{RecordedEstimate, RecordedEstimates, TraceRequest};
use serde::Deserialize;

/// A log's requests, by row.
pub(crate) struct LogTrace {
    /// Finished requests; those that were aborted or failed are left out, because their length is nobody's.
    pub(crate) requests: Vec<TraceRequest>,
    rows: HashMap<RequestId, usize>,
}

/// The part of a step line that is needed here.
#[derive(Deserialize)]
struct Step {
    request_id: RequestId,
    step: u32,
    estimate: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    mean: f32,
    quantiles: [f32; QUANTILE_LEVELS.len()],
}

impl LogTrace {
    /// The finished requests of the log at `path`, a folder or a file. Replies are cut at `max_tokens` if that is less
    /// than what they might have had.
    ///
    /// # Errors
    /// There is no log, it has no finished requests, two have the same id, or a line is damaged: named by file and line.
    pub(crate) fn read(path: &Path, max_tokens: Option<u32>) -> anyhow::Result<Self> {
        let mut trace = Self { requests: Vec::new(), rows: HashMap::new() };
        for file in files(path, Series::Requests)? {
            each(&file, |line: RequestLine| {
                if matches!(line.finish_reason, FinishReason::Abort | FinishReason::Error) || line.output_length == 0 {
                    return Ok(());
                }
                let row = trace.requests.len();
                let max_tokens = max_tokens.unwrap_or(line.max_tokens).min(line.max_tokens).max(1);
                trace.requests.push(TraceRequest {
                    row,
                    arrival: Some(line.started_at),
                    prompt_tokens: line.prompt_length.max(1),
                    output_tokens: line.output_length.min(max_tokens),
                    max_tokens,
                });
                match trace.rows.insert(line.request_id.clone(), row) {
                    None => Ok(()),
                    Some(_) => bail!("request_id {} was there before: give a log of one run", line.request_id),
                }
            })?;
        }
        ensure!(!trace.requests.is_empty(), "{}: holds no finished requests", path.display());
        Ok(trace)
    }

    /// The requests' ids with their rows, in no order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&RequestId, usize)> {
        self.rows.iter().map(|(id, row)| (id, *row))
    }

    /// What the log at `path` says of these requests, found by their ids: read once, line by line, and kept as 15 numbers
    /// a step.
    ///
    /// # Errors
    /// There is no log, a line is damaged, or there is no estimate in it.
    pub(crate) fn estimates(&self, path: &Path) -> anyhow::Result<RecordedEstimates> {
        let estimates = self.recorded(path)?;
        ensure!(
            estimates.count() > 0,
            "{}: has no estimates of these requests; give a log that `eoscast-predictor serve` wrote",
            path.display()
        );
        Ok(estimates)
    }

    /// The same; there may be none.
    ///
    /// # Errors
    /// There is no log, or a line is damaged.
    pub(crate) fn recorded(&self, path: &Path) -> anyhow::Result<RecordedEstimates> {
        let mut rows = vec![Vec::new(); self.requests.len()];
        let mut push = |id: &RequestId, step: u32, mean: f32, quantiles: [f32; QUANTILE_LEVELS.len()]| {
            if let Some(row) = self.rows.get(id) {
                rows[*row].push(RecordedEstimate { step, forecast: RemainingLength { mean, quantiles } });
            }
        };
        for file in files(path, Series::Requests)? {
            each(&file, |line: RequestLine| {
                if let Some(first) = &line.first_estimate {
                    push(&line.request_id, line.first_length, first.remaining.mean, first.remaining.quantiles);
                }
                Ok(())
            })?;
        }
        for file in files(path, Series::Steps)? {
            each(&file, |line: Step| {
                if let Some(Said { mean, quantiles }) = line.estimate {
                    push(&line.request_id, line.step, mean, quantiles);
                }
                Ok(())
            })?;
        }
        Ok(RecordedEstimates::new(rows))
    }
}

fn files(path: &Path, series: Series) -> anyhow::Result<Vec<PathBuf>> {
    let segments = Location::parse(path).segments(series).with_context(|| format!("cannot open {}", path.display()))?;
    let all: Vec<PathBuf> = segments.into_iter().map(|segment| segment.path).collect();
    ensure!(!all.is_empty() || series != Series::Requests, "{}: has no event log", path.display());
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = r#"{"request_id":"a","worker_id":"w","epoch":1,"model":"m","task":null,"timestamp":9.0,
        "started_at":5.5,"finish_reason":"stop","prompt_length":7,"output_length":3,"total_length":10,"max_tokens":64,
        "temperature":1.0,"ignore_eos":false,"censored":false,"first_estimate":null,"first_length":0,"steps_observed":3,
        "final_eos_prob":0.5,"mean_eos_prob":0.2,"max_eos_prob":0.5,"std_eos_prob":0.1,"outcome_number":1,
        "censored_outcomes":0}"#;

    fn log(requests: &[String], steps: &[String]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |series: &str, lines: &[String]| {
            let lines: Vec<String> = lines.iter().map(|line| line.replace('\n', " ")).collect();
            std::fs::write(folder.path().join(format!("{series}-0000000000000000.jsonl")), lines.join("\n")).unwrap();
        };
        write("requests", requests);
        write("steps", steps);
        folder
    }

    fn step(id: &str, step: u32, tokens: u32) -> String {
        let quantiles = vec![tokens.to_string(); QUANTILE_LEVELS.len()].join(",");
        format!(r#"{{"request_id":"{id}","step":{step},"estimate":{{"mean":{tokens},"quantiles":[{quantiles}]}}}}"#)
    }

    #[test]
    fn finished_requests_become_rows_and_find_their_estimates() {
        let aborted = REQUEST.replace(r#""a""#, r#""b""#).replace("stop", "abort");
        let other = REQUEST.replace(r#""a""#, r#""c""#).replace("5.5", "6.5");
        let folder = log(
            &[REQUEST.to_owned(), aborted, other],
            &[step("a", 1, 2), step("b", 1, 2), step("c", 1, 9), step("c", 2, 8)],
        );
        let trace = LogTrace::read(folder.path(), None).unwrap();
        let expected = TraceRequest { row: 0, arrival: Some(5.5), prompt_tokens: 7, output_tokens: 3, max_tokens: 64 };
        assert_eq!(trace.requests, [expected, TraceRequest { row: 1, arrival: Some(6.5), ..expected }]);
        assert_eq!(trace.estimates(folder.path()).unwrap().count(), 3);
        let cut = LogTrace::read(folder.path(), Some(2)).unwrap().requests[0];
        assert_eq!((cut.output_tokens, cut.max_tokens), (2, 2));
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_line() {
        let error = |requests: &[String], steps: &[String]| {
            let folder = log(requests, steps);
            let trace = LogTrace::read(folder.path(), None);
            format!("{:#}", trace.and_then(|trace| trace.estimates(folder.path())).err().unwrap())
        };
        let good = REQUEST.to_owned();
        let twice = error(&[good.clone(), good.clone()], &[]);
        assert!(twice.contains("requests-0000000000000000.jsonl:2") && twice.contains("request_id a"), "{twice}");
        let damaged = error(std::slice::from_ref(&good), &[step("a", 1, 2), "{".to_owned()]);
        assert!(damaged.contains("steps-0000000000000000.jsonl:2: EOF"), "{damaged}");
        assert!(error(&[good], &[]).contains("has no estimates"));
        assert!(error(&[], &[]).contains("holds no finished requests"));
        let missing = format!("{:#}", LogTrace::read(Path::new("/nowhere"), None).err().unwrap());
        assert!(missing.contains("/nowhere: has no event log"), "{missing}");
    }
}
