//! The predictor's log beside the replies it tells of.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use eoscast_pair::log;
use eoscast_pair::process::binary;
use serde_json::Value;

use super::clients::Outcome;

/// How the step log agrees with the replies that clients got.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Tokens of the replies.
    pub(crate) tokens: usize,
    /// Tokens without a line.
    pub(crate) lost: usize,
    /// Lines that tell of a step again.
    pub(crate) doubled: usize,
    /// Lines with another token than the client got, or out of order.
    pub(crate) wrong: usize,
    /// Finished requests with more than one line.
    pub(crate) outcomes_doubled: usize,
    /// Replies whose end has no line.
    pub(crate) outcomes_lost: usize,
}

/// Compares the log in `data` with the replies that came to their end; a folder that is missing is an empty log.
pub(crate) fn agreement(data: &Path, outcomes: &[Outcome]) -> Agreement {
    let mut logged: HashMap<String, Vec<(usize, u32)>> = HashMap::new();
    for line in lines(log::steps, data) {
        // A line that marks a gap is of no request.
        let Some(id) = line["request_id"].as_str() else { continue };
        let step = (line["step"].as_u64().unwrap() as usize, line["current_token_id"].as_u64().unwrap() as u32);
        logged.entry(id.to_owned()).or_default().push(step);
    }
    let mut ends: HashMap<String, usize> = HashMap::new();
    for line in lines(log::requests, data) {
        let Some(id) = line["request_id"].as_str() else { continue };
        *ends.entry(id.to_owned()).or_default() += 1;
    }
    let mut agreement =
        Agreement { outcomes_doubled: ends.values().filter(|count| **count > 1).count(), ..Agreement::default() };
    for steps in logged.values() {
        let mut numbers: Vec<usize> = steps.iter().map(|(step, _)| *step).collect();
        numbers.sort_unstable();
        numbers.dedup();
        agreement.doubled += steps.len() - numbers.len();
    }
    for outcome in outcomes {
        let Ok((tokens, _)) = &outcome.reply else { continue };
        let steps = logged.get(&outcome.request_id).map_or(&[][..], Vec::as_slice);
        agreement.tokens += tokens.len();
        let found = (1..=tokens.len()).filter(|step| steps.iter().any(|(logged, _)| logged == step)).count();
        agreement.lost += tokens.len() - found;
        let is_in_order = steps.is_sorted_by_key(|(step, _)| *step);
        let differ = |(step, token): &&(usize, u32)| step.checked_sub(1).and_then(|at| tokens.get(at)) != Some(token);
        agreement.wrong += steps.iter().filter(differ).count() + usize::from(!is_in_order);
        agreement.outcomes_lost += usize::from(!ends.contains_key(&outcome.request_id));
    }
    agreement
}

fn lines(read: impl Fn(&Path) -> anyhow::Result<Vec<Value>>, data: &Path) -> Vec<Value> {
    if data.exists() { read(data).unwrap() } else { vec![] }
}

/// What `replay` prints about a log; it must find no estimate that differs.
pub(crate) fn replay(data: &Path) -> String {
    let output = Command::new(binary("eoscast-predictor").unwrap()).arg("replay").arg(data).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "replay {}: {text}", data.display());
    text
}
