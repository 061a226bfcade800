//! The prompts to collect replies to: a JSON object a line.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use eoscast_proto::domain::{RequestId, task_label};
use eoscast_proto::hash::fnv1a;
use serde::Deserialize;

/// A prompt to collect replies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Names its request; no two prompts of a file have the same.
    pub id: String,
    /// Kind of work.
    pub task: Option<String>,
    /// What the user says.
    pub prompt: String,
}

/// A line of the file; other fields are ignored.
#[derive(Deserialize)]
struct Line {
    id: Option<Id>,
    task: Option<String>,
    prompt: String,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be a text or a whole number")]
enum Id {
    Text(String),
    Number(i64),
}

impl Prompt {
    /// Name of request `sample` of `samples`, counted from 1.
    ///
    /// # Errors
    /// A violation of `request_id`, if the prompt's id cannot be part of one.
    pub fn request_id(&self, sample: u32, samples: u32) -> anyhow::Result<RequestId> {
        let name = if samples == 1 { self.id.clone() } else { format!("{}#{sample}", self.id) };
        Ok(RequestId::try_from(name)?)
    }
}

/// The prompts of a file; blank lines are skipped. A prompt without an id is named `line-N` after its place in the file.
///
/// # Errors
/// The file cannot be read, holds no prompts, or a line is not one, named with the field that is wrong.
pub fn read_prompts(path: &Path) -> anyhow::Result<Vec<Prompt>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut prompts = Vec::new();
    let mut line_of_id = HashMap::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let place = || format!("{} line {number}", path.display());
        let line = line.with_context(place)?;
        if line.trim().is_empty() {
            continue;
        }
        let prompt = read_prompt(&line, number).with_context(place)?;
        if let Some(other) = line_of_id.insert(prompt.id.clone(), number) {
            bail!("{}: id: {:?} is that of line {other} too", place(), prompt.id);
        }
        prompts.push(prompt);
    }
    ensure!(!prompts.is_empty(), "{} holds no prompts", path.display());
    Ok(prompts)
}

/// `count` of `prompts` in their order, drawn by `seed`: files are often sorted by source, so that the first would not stand for
/// all.
pub fn draw(prompts: Vec<Prompt>, count: usize, seed: u64) -> Vec<Prompt> {
    let mut order: Vec<(u64, usize)> =
        prompts.iter().enumerate().map(|(i, prompt)| (fnv1a(&prompt.id, seed), i)).collect();
    order.sort_unstable();
    let drawn: HashSet<usize> = order.into_iter().take(count).map(|(_, i)| i).collect();
    prompts.into_iter().enumerate().filter(|(i, _)| drawn.contains(i)).map(|(_, prompt)| prompt).collect()
}

fn read_prompt(line: &str, number: usize) -> anyhow::Result<Prompt> {
    let mut fields = serde_json::Deserializer::from_str(line.trim_start_matches('\u{FEFF}'));
    let Line { id, task, prompt } = serde_path_to_error::deserialize(&mut fields)?;
    fields.end()?;
    let id = match id {
        Some(Id::Text(id)) => id,
        Some(Id::Number(id)) => id.to_string(),
        None => format!("line-{number}"),
    };
    let prompt = Prompt { id, task, prompt };
    ensure!(!prompt.id.is_empty(), "id: is empty");
    prompt.request_id(u32::MAX, u32::MAX).context("id")?;
    ensure!(!prompt.prompt.is_empty(), "prompt: is empty");
    Ok(Prompt { task: task_label(prompt.task.unwrap_or_default())?, ..prompt })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"a","task":"chat","prompt":"p","source":"x"}"#;

    fn read(content: &str) -> anyhow::Result<Vec<Prompt>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read_prompts(file.path())
    }

    #[test]
    fn prompts_are_read_with_and_without_a_task() {
        let text = format!("{GOOD}\n\n{}\n", r#"{"id":"b","prompt":"q"}"#);
        let prompts = read(&text).unwrap();
        assert_eq!(prompts[0].task.as_deref(), Some("chat"));
        assert_eq!((prompts[1].id.as_str(), prompts[1].task.as_deref()), ("b", None));
    }

    #[test]
    fn a_prompt_without_an_id_is_named_after_its_line() {
        let prompts =
            read("\u{FEFF}{\"prompt\":\"p\"}\r\n\n{\"prompt\":\"q\",\"id\":null}\n{\"id\":7,\"prompt\":\"r\"}\n")
                .unwrap();
        let ids: Vec<_> = prompts.iter().map(|prompt| prompt.id.as_str()).collect();
        assert_eq!(ids, ["line-1", "line-3", "7"]);
        let error = format!("{:#}", read("{\"id\":\"line-2\",\"prompt\":\"p\"}\n{\"prompt\":\"q\"}\n").unwrap_err());
        assert!(error.contains("line 1 too"), "{error}");
    }

    #[test]
    fn prompts_are_drawn_from_the_whole_file_and_keep_their_order() {
        let text: String = (0..100).map(|i| format!("{{\"id\":\"p{i}\",\"prompt\":\"q\"}}\n")).collect();
        let ids = |seed| -> Vec<usize> {
            let drawn = draw(read(&text).unwrap(), 20, seed);
            drawn.iter().map(|prompt| prompt.id[1..].parse().unwrap()).collect()
        };
        assert_eq!((ids(1).len(), ids(1)), (20, ids(1)));
        assert!(ids(1).is_sorted() && ids(1)[19] > 60 && ids(1) != ids(2), "{:?}", ids(1));
    }

    #[test]
    fn one_sample_is_named_as_its_prompt_and_several_are_numbered() {
        let prompt = &read(GOOD).unwrap()[0];
        assert_eq!(prompt.request_id(1, 1).unwrap().as_str(), "a");
        assert_eq!(prompt.request_id(8, 8).unwrap().as_str(), "a#8");
    }

    #[test]
    fn a_bad_line_is_named_by_file_number_and_field() {
        let long = format!(r#"{{"id":"b","prompt":"p","task":"{}"}}"#, "x".repeat(65));
        for (bad, reason) in [
            ("{", "EOF"),
            (r#"{"id":"b"}"#, "prompt"),
            (r#"{"id":"b","prompt":""}"#, "prompt: is empty"),
            (r#"{"id":"b","prompt":7}"#, "prompt"),
            (r#"{"id":"","prompt":"p"}"#, "id"),
            (r#"{"id":"b\n","prompt":"p"}"#, "id"),
            (r#"{"id":"a","prompt":"p"}"#, "line 1 too"),
            (r#"{"id":"b","prompt":"p"} {}"#, "trailing"),
            (&long, "task"),
        ] {
            let error = format!("{:#}", read(&format!("{GOOD}\n{bad}\n")).unwrap_err());
            assert!(error.contains("line 2") && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_missing_or_empty_file_is_named() {
        let error = format!("{:#}", read_prompts(Path::new("/nowhere.jsonl")).unwrap_err());
        assert!(error.contains("cannot open /nowhere.jsonl"), "{error}");
        assert!(format!("{:#}", read("\n").unwrap_err()).contains("holds no prompts"));
    }
}
