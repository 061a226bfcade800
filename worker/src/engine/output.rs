//! From tokens to text that may be shown: whole characters only, and nothing that a stop text may still claim.

/// Turns the bytes of one reply's tokens into text, and finds stop texts across token borders.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputText {
    stops: Vec<String>,
    /// Bytes at the end of the reply that are no whole character yet; at most three.
    incomplete: Vec<u8>,
    /// Text that could be the beginning of a stop text.
    held: String,
}

/// What new bytes bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Text that may be shown now; may be empty.
    Text(String),
    /// The text up to the stop text, and which one it was. Nothing may follow.
    Stopped {
        /// Not shown before.
        text: String,
        /// The stop text that matched first.
        stop: String,
    },
}

impl OutputText {
    /// For a reply that ends at any of `stops`, none of which is empty.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self { stops, incomplete: Vec::new(), held: String::new() }
    }

    /// Adds the bytes of the next token. Stop texts are looked for only if `may_stop`.
    pub(crate) fn push(&mut self, bytes: &[u8], may_stop: bool) -> Progress {
        self.incomplete.extend_from_slice(bytes);
        self.held.push_str(&take_characters(&mut self.incomplete));
        if !may_stop {
            return Progress::Text(std::mem::take(&mut self.held));
        }
        if let Some((at, stop)) = self.first_stop() {
            let stop = stop.to_owned();
            self.held.truncate(at);
            return Progress::Stopped { text: std::mem::take(&mut self.held), stop };
        }
        let safe = self.held.len() - self.longest_possible_stop();
        let rest = self.held.split_off(safe);
        Progress::Text(std::mem::replace(&mut self.held, rest))
    }

    /// What is left when the reply ends otherwise. An incomplete character becomes U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.incomplete)));
        text
    }

    /// The earliest match; of several at one place, the first given.
    fn first_stop(&self) -> Option<(usize, &str)> {
        self.stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at, stop.as_str())))
            .min_by_key(|(at, _)| *at)
    }

    /// Bytes at the end of the held text that begin a stop text.
    fn longest_possible_stop(&self) -> usize {
        self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0)
    }
}

/// Length of the longest proper prefix of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most).rev().find(|n| text.as_bytes().ends_with(&stop.as_bytes()[..*n])).unwrap_or(0)
}

/// Takes all whole characters off the front; bytes that can never be one become U+FFFD.
fn take_characters(bytes: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let reaches_end = taken + chunk.invalid().len() == bytes.len();
        if reaches_end && may_become_character(chunk.invalid()) {
            break;
        }
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            taken += chunk.invalid().len();
        }
    }
    bytes.drain(..taken);
    text
}

/// Whether more bytes could make this invalid sequence a character. `utf8_chunks` cuts a sequence at its first wrong byte,
/// so that only its length against what the lead byte announces is left to compare.
fn may_become_character(invalid: &[u8]) -> bool {
    let announced = match invalid.first() {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 0,
    };
    invalid.len() < announced
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], tokens: &[&[u8]]) -> (Vec<String>, Option<String>) {
        let mut output = OutputText::new(stops.iter().map(|s| (*s).to_owned()).collect());
        let mut shown = Vec::new();
        for token in tokens {
            match output.push(token, true) {
                Progress::Text(text) => shown.push(text),
                Progress::Stopped { text, stop } => {
                    shown.push(text);
                    return (shown, Some(stop));
                }
            }
        }
        shown.push(output.finish());
        (shown, None)
    }

    #[test]
    fn a_character_split_over_tokens_appears_once_it_is_whole() {
        let (shown, _) = run(&[], &[b"a\xF0\x9F", b"\x98", b"\x80b"]);
        assert_eq!(shown, ["a", "", "\u{1F600}b", ""]);
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced() {
        assert_eq!(run(&[], &[b"a\xFFb", b"\xE2\x28"]).0.concat(), "a\u{FFFD}b\u{FFFD}(");
        assert_eq!(run(&[], &[b"end\xE2\x82"]).0.concat(), "end\u{FFFD}");
    }

    #[test]
    fn a_stop_text_across_tokens_never_leaks() {
        let (shown, stop) = run(&["STOP"], &[b"one S", b"TO", b"P two"]);
        assert_eq!(shown, ["one ", "", ""]);
        assert_eq!(stop.as_deref(), Some("STOP"));
    }

    #[test]
    fn text_held_back_for_a_stop_text_appears_when_it_was_none() {
        let (shown, stop) = run(&["STOP"], &[b"ST", b"OR", b"E"]);
        assert_eq!((shown.concat().as_str(), stop), ("STORE", None));
        assert_eq!(run(&["STOP"], &[b"one ST"]).0, ["one ", "ST"]);
    }

    #[test]
    fn the_earliest_stop_text_wins() {
        assert_eq!(run(&["late", "early"], &[b"an early late"]), (vec!["an ".into()], Some("early".into())));
    }

    #[test]
    fn a_stop_text_before_min_tokens_is_shown() {
        let mut output = OutputText::new(vec!["x".into()]);
        assert_eq!(output.push(b"axb", false), Progress::Text("axb".into()));
        assert_eq!(output.push(b"cxd", true), Progress::Stopped { text: "c".into(), stop: "x".into() });
    }

    proptest! {
        #[test]
        fn what_is_shown_is_the_text_up_to_the_first_stop_however_it_was_cut(
            text in "[ab€]{0,40}",
            stops in prop::collection::vec("[ab€]{1,4}", 0..4),
            cuts in prop::collection::vec(1usize..6, 1..60),
        ) {
            let mut output = OutputText::new(stops.clone());
            let (mut shown, mut stopped, mut rest) = (String::new(), None, text.as_bytes());
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() && stopped.is_none() {
                let (token, tail) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                rest = tail;
                match output.push(token, true) {
                    Progress::Text(text) => shown.push_str(&text),
                    Progress::Stopped { text, stop } => { shown.push_str(&text); stopped = Some(stop); }
                }
            }
            if stopped.is_none() { shown.push_str(&output.finish()); }
            prop_assert!(text.starts_with(&shown));
            for stop in &stops {
                prop_assert!(!shown.contains(stop.as_str()), "{shown:?} holds {stop:?}");
            }
            match stopped {
                None => prop_assert_eq!(shown, text),
                Some(stop) => prop_assert!(text[shown.len()..].starts_with(&stop)),
            }
        }
    }
}
