//! Fuzz targets of log lines: a second of inputs each as tests, hours by a fuzzer (see CONTRIBUTING.md).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;
use std::io::Write;

use eoscast_log::foreign::{self, Replies};
use eoscast_log::reader::LineReader;
use eoscast_log::record::{RequestLine, StartLine, StepLine};
use serde::Serialize;
use serde::de::DeserializeOwned;

const STEP: &str = r#"{"request_id":"r-1","timestamp":1700000000.123456,"step":3,"current_token_id":42,"eos_token_id":2,"eos_logprob":-4.5,"eos_prob":0.011108996,"is_finished":false,"finish_reason":null,"prompt_length":10,"output_length":3,"total_length":13,"eos_logprob_sampled":null,"token_logprob":-0.25,"entropy":1.5,"top_logprob":-0.25,"eos_rank":17,"temperature":0.7,"worker_id":"w","model":"smollm2-135m","sequence_number":9,"task":null,"estimate":null,"max_tokens":256,"epoch":5,"ignore_eos":false,"observed":3,"eos_bias":0.0,"sketch":[0.5,-1.0]}"#;
const CLASSIC: &str = r#"{"request_id":7,"timestamp":"2026-11-29T12:00:00Z","step":0,"current_token_id":5.0,"eos_token_id":[2,0],"eos_logprob":-Infinity,"eos_prob":0,"is_finished":true,"finish_reason":"FINISHED_STOPPED","prompt_length":4,"output_length":1,"total_length":5}"#;

/// A line that reads is written as one that reads as the same.
fn own_line<T: DeserializeOwned + Serialize + Debug>(line: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(line) {
        let written = serde_json::to_string(&value).unwrap();
        let again: T = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written, "{value:?}");
    }
}

/// What readers of our own logs and of those of others do with a line.
fn read_line(line: &[u8]) {
    own_line::<StepLine>(line);
    own_line::<RequestLine>(line);
    own_line::<StartLine>(line);
    if let Ok(line) = serde_json::from_slice::<StepLine>(line) {
        line.event();
    }
    match foreign::parse(line) {
        Ok((step, _)) => {
            let mut replies = Replies::default();
            replies.take(&step, 1, || ());
            assert!(step.tokens <= foreign::MOST_TOKENS, "{step:?}");
        }
        Err(fault) => assert!(!fault.reason.is_empty() && !fault.kind.is_empty()),
    }
}

#[test]
fn any_bytes_as_a_line() {
    bolero::check!().for_each(read_line);
}

#[test]
fn any_change_of_a_line() {
    // Which line, bytes that are put in place of others, bytes that are inserted, and where the line ends.
    type Change = (bool, Vec<(u16, u8)>, Vec<(u16, u8)>, Option<u16>);
    bolero::check!().with_type::<Change>().for_each(|(is_own, set, inserted, end)| {
        let mut line = if *is_own { STEP } else { CLASSIC }.as_bytes().to_vec();
        for (place, byte) in set {
            let place = usize::from(*place) % line.len();
            line[place] = *byte;
        }
        for (place, byte) in inserted {
            line.insert(usize::from(*place) % line.len(), *byte);
        }
        line.truncate(end.map_or(line.len(), usize::from));
        read_line(&line);
    });
}

/// Values of every type, at and beyond the edges of what some field takes.
const VALUES: [&str; 28] = [
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "3.0",
    "0.5",
    "-4.5",
    "-1e308",
    "1e400",
    "NaN",
    "-Infinity",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "\"\"",
    "\"r\"",
    "\"3\"",
    "\"nan\"",
    "\"stop\"",
    "\"length\"",
    "\"\\ud800\"",
    "[]",
    "[1,2]",
    "[[[[]]]]",
    "{}",
    "{\"a\":1}",
];

#[test]
fn any_values_of_a_line() {
    let fields: Vec<&str> =
        STEP.split("\"").skip(1).step_by(2).filter(|name| STEP.contains(&format!("\"{name}\":"))).collect();
    bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|picks| {
        let named = |(field, value): &(u8, u8)| {
            format!("\"{}\":{}", fields[usize::from(*field) % fields.len()], VALUES[usize::from(*value) % VALUES.len()])
        };
        let picked: Vec<String> = picks.iter().map(named).collect();
        // Alone, and after a line that reads.
        read_line(format!("{{{}}}", picked.join(",")).as_bytes());
        if !picked.is_empty() {
            read_line(format!("{},{}}}", &STEP[..STEP.len() - 1], picked.join(",")).as_bytes());
        }
    });
}

#[test]
fn any_bytes_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("steps.jsonl");
    bolero::check!().for_each(|bytes: &[u8]| {
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        let mut reader = LineReader::open(&path).unwrap();
        let mut lines = 0;
        while reader.read_with(foreign::parse).unwrap().is_some() {
            lines += 1;
        }
        assert!(lines <= bytes.len() + 1);
    });
}
