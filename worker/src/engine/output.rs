//! From tokens to text that may be shown: whole characters only, and nothing that a stop text may still claim.

use super::characters::Characters;

/// Turns the bytes of one reply's tokens into text, and finds stop texts across token borders.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutputText {
    stops: Vec<String>,
    decoder: Characters,
    /// Text that could be the beginning of a stop text.
    held: String,
    /// Characters that were shown.
    shown: u32,
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
        Self { stops, ..Self::default() }
    }

    /// Whole characters of the reply: shown, and held because a stop text may claim them.
    pub(crate) fn characters(&self) -> u32 {
        self.shown + characters(&self.held)
    }

    /// Adds the bytes of the next token. Stop texts are looked for only if `may_stop`.
    pub(crate) fn push(&mut self, bytes: &[u8], may_stop: bool) -> Progress {
        self.held.push_str(&self.decoder.push(bytes));
        if !may_stop {
            return Progress::Text(self.show(self.held.len()));
        }
        if let Some((at, stop)) = self.first_stop() {
            let stop = stop.to_owned();
            self.held.truncate(at);
            return Progress::Stopped { text: self.show(at), stop };
        }
        Progress::Text(self.show(self.held.len() - self.longest_possible_stop()))
    }

    /// What is left when the reply ends otherwise. An incomplete character is left out.
    pub(crate) fn finish(&mut self) -> String {
        self.show(self.held.len())
    }

    /// Takes the first `bytes` of what is held.
    fn show(&mut self, bytes: usize) -> String {
        let rest = self.held.split_off(bytes);
        let text = std::mem::replace(&mut self.held, rest);
        self.shown += characters(&text);
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

/// At most those of a context.
fn characters(text: &str) -> u32 {
    text.chars().count() as u32
}

/// Length of the longest proper prefix of `stop` that `text` ends with.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most).rev().find(|n| text.as_bytes().ends_with(&stop.as_bytes()[..*n])).unwrap_or(0)
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
    fn bytes_that_are_no_character_are_replaced_and_a_character_that_is_cut_is_left_out() {
        assert_eq!(run(&[], &[b"a\xFFb", b"\xE2\x28"]).0.concat(), "a\u{FFFD}b\u{FFFD}(");
        assert_eq!(run(&[], &[b"end\xE2\x82"]).0.concat(), "end");
    }

    #[test]
    fn characters_are_counted_when_they_are_whole_and_no_longer_when_a_stop_text_claims_them() {
        let mut output = OutputText::new(vec!["--".into()]);
        let mut counts = vec![output.characters()];
        for bytes in [b"a\xF0\x9F".as_slice(), b"\x98\x80", b"-", b"-"] {
            output.push(bytes, true);
            counts.push(output.characters());
        }
        assert_eq!(counts, [0, 1, 2, 3, 2]);
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
