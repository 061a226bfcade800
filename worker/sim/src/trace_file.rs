//! Traces as CSV: `arrival_s,prompt_tokens,output_tokens`.

use std::path::Path;

use crate::TraceRequest;
use anyhow::{Context, bail, ensure};

const HEADER: [&str; 3] = ["arrival_s", "prompt_tokens", "output_tokens"];

/// The requests of the file at `path`, by row. `arrival_s` may be empty. The reply of each may have `max_tokens`, and is
/// cut there; by default it may be as long as the longest of the trace.
///
/// # Errors
/// The file cannot be read, has no requests, or a value is not what its column takes: named by file, line and column.
pub fn read_trace(path: &Path, max_tokens: Option<u32>) -> anyhow::Result<Vec<TraceRequest>> {
    let name = || path.display().to_string();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let header = reader.headers().with_context(name)?;
    ensure!(
        header == HEADER[..],
        "{} line 1: the columns must be {}, found {}",
        path.display(),
        HEADER.join(","),
        header.iter().collect::<Vec<_>>().join(",")
    );
    let mut requests = Vec::new();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).with_context(name)? {
        let line = record.position().map_or(0, csv::Position::line);
        let place = |column: usize| format!("{} line {line}, column {}", path.display(), HEADER[column]);
        let tokens = |column: usize| -> anyhow::Result<u32> {
            match record[column].parse() {
                Ok(tokens) if tokens > 0 => Ok(tokens),
                _ => bail!("{}: must be a whole number from 1, found \"{}\"", place(column), &record[column]),
            }
        };
        let arrival = match &record[0] {
            "" => None,
            text => match text.parse::<f64>() {
                Ok(arrival) if arrival.is_finite() => Some(arrival),
                _ => bail!("{}: must be seconds or empty, found \"{text}\"", place(0)),
            },
        };
        let (prompt_tokens, output_tokens) = (tokens(1)?, tokens(2)?);
        requests.push(TraceRequest { row: requests.len(), arrival, prompt_tokens, output_tokens, max_tokens: 0 });
    }
    ensure!(!requests.is_empty(), "{} holds no requests", path.display());
    let longest = requests.iter().map(|request| request.output_tokens).max().unwrap_or(1);
    let max_tokens = max_tokens.unwrap_or(longest);
    for request in &mut requests {
        request.max_tokens = max_tokens;
        request.output_tokens = request.output_tokens.min(max_tokens);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str, max_tokens: Option<u32>) -> anyhow::Result<Vec<TraceRequest>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read_trace(file.path(), max_tokens)
    }

    #[test]
    fn replies_are_cut_at_max_tokens_which_is_the_longest_by_default() {
        let content = "arrival_s,prompt_tokens,output_tokens\n0,5,7\n,6,90\n";
        let all = read(content, None).unwrap();
        assert_eq!(all.iter().map(|request| request.max_tokens).collect::<Vec<_>>(), [90, 90]);
        assert_eq!((all[0].arrival, all[1].arrival, all[1].row), (Some(0.0), None, 1));
        let cut = read(content, Some(20)).unwrap();
        assert_eq!(cut.iter().map(|request| request.output_tokens).collect::<Vec<_>>(), [7, 20]);
    }

    #[test]
    fn a_bad_value_is_named_by_line_and_column() {
        for (row, place, found) in [
            ("0,5,0", "column output_tokens", "whole number from 1, found \"0\""),
            ("0,-5,1", "column prompt_tokens", "found \"-5\""),
            ("0,5.5,1", "column prompt_tokens", "found \"5.5\""),
            ("nan,5,1", "column arrival_s", "must be seconds or empty"),
            ("0,5", "line: 3", "2 fields"),
            ("0,5,1,1", "line: 3", "4 fields"),
        ] {
            let content = format!("arrival_s,prompt_tokens,output_tokens\n1,2,3\n{row}\n");
            let error = format!("{:#}", read(&content, None).unwrap_err());
            assert!(error.contains("line") && error.contains('3') && error.contains(place), "{error}");
            assert!(error.contains(found), "{error}");
        }
    }

    #[test]
    fn a_file_without_requests_or_with_other_columns_is_refused() {
        let error = format!("{:#}", read("prompt,output\n1,2\n", None).unwrap_err());
        assert!(
            error.contains("columns must be arrival_s,prompt_tokens,output_tokens, found prompt,output"),
            "{error}"
        );
        let error = format!("{:#}", read("arrival_s,prompt_tokens,output_tokens\n", None).unwrap_err());
        assert!(error.contains("holds no requests"), "{error}");
        let error = format!("{:#}", read_trace(Path::new("/nowhere.csv"), None).unwrap_err());
        assert!(error.contains("cannot open /nowhere.csv"), "{error}");
    }
}
