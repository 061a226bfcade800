//! [`Ending`]: why a reply ended, in all spellings that engines write.

use eoscast_proto::domain::FinishReason;

/// Why a reply ended, as a log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// For a reason that we have, too.
    By(FinishReason),
    /// The log does not say, or in words that nobody knows.
    Unknown,
}

/// Names as engines write them, in lower case, without what is in front of them in the names of enums.
const NAMES: [(&str, FinishReason); 27] = [
    ("stop", FinishReason::Stop),
    ("stopped", FinishReason::Stop),
    ("eos", FinishReason::Stop),
    ("eos_token", FinishReason::Stop),
    ("eos_token_id", FinishReason::Stop),
    ("end_of_sequence", FinishReason::Stop),
    ("end_turn", FinishReason::Stop),
    ("end_id", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("stop_words", FinishReason::Stop),
    ("tool_calls", FinishReason::Stop),
    // The turn of a vLLM session that goes on.
    ("waiting_for_streaming_req", FinishReason::Stop),
    ("length", FinishReason::Length),
    ("length_capped", FinishReason::Length),
    ("length_limit", FinishReason::Length),
    ("limit", FinishReason::Length),
    ("max_tokens", FinishReason::Length),
    ("max_length", FinishReason::Length),
    ("max_new_tokens", FinishReason::Length),
    // vLLM: the prompt alone is longer than the model's limit.
    ("ignored", FinishReason::Length),
    ("abort", FinishReason::Abort),
    ("aborted", FinishReason::Abort),
    ("cancelled", FinishReason::Abort),
    ("canceled", FinishReason::Abort),
    // vLLM cut a reply that ran in a circle.
    ("repetition", FinishReason::Abort),
    ("error", FinishReason::Error),
    ("failed", FinishReason::Error),
];

/// vLLM's `FinishReason` is an `IntEnum`: stop, length, abort, error, repetition.
const NUMBERS: [FinishReason; 5] =
    [FinishReason::Stop, FinishReason::Length, FinishReason::Abort, FinishReason::Error, FinishReason::Abort];

impl Ending {
    /// Of a number of vLLM's enum.
    pub fn of_number(number: f64) -> Self {
        let place = (number.fract() == 0.0 && number >= 0.0).then_some(number as usize);
        place.and_then(|place| NUMBERS.get(place)).map_or(Self::Unknown, |reason| Self::By(*reason))
    }

    /// Of a name, the name of an enum's member, such a member as Python prints it, or a number in digits:
    /// `stop`, `FinishReason.STOP`, `<FinishReason.STOP: 0>`, `RequestStatus.FINISHED_LENGTH_CAPPED`, `FINISH_REASON_ABORT`, `1`.
    pub fn of_name(text: &str) -> Self {
        let text = text.trim().trim_start_matches('<').trim_end_matches('>');
        // Behind the colon, Python prints the value.
        let text = text.split(':').next().unwrap_or(text).trim();
        if let Ok(number) = text.parse() {
            return Self::of_number(number);
        }
        let member = text.rsplit('.').next().unwrap_or(text).to_ascii_lowercase().replace([' ', '-'], "_");
        let name = ["finish_reason_", "finished_"].iter().find_map(|prefix| member.strip_prefix(prefix));
        let name = name.unwrap_or(&member);
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map_or(Self::Unknown, |(_, reason)| Self::By(*reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_finish_reason_is_understood() {
        for (reason, spellings) in [
            (
                FinishReason::Stop,
                "stop STOP FinishReason.STOP <FinishReason.STOP:0> FINISHED_STOPPED 0 0.0 eos_token EOS",
            ),
            (FinishReason::Stop, "RequestStatus.FINISHED_STOPPED FINISH_REASON_STOP stop_sequence"),
            (
                FinishReason::Length,
                "length FinishReason.LENGTH RequestStatus.FINISHED_LENGTH_CAPPED 1 max_tokens MAX-TOKENS",
            ),
            (FinishReason::Length, "FINISHED_IGNORED"),
            (
                FinishReason::Abort,
                "abort FinishReason.ABORT FINISHED_ABORTED 2 cancelled 4 repetition FINISHED_REPETITION",
            ),
            (FinishReason::Error, "error FINISHED_ERROR 3 FINISH_REASON_ERROR"),
        ] {
            for spelling in spellings.split(' ') {
                assert_eq!(Ending::of_name(spelling), Ending::By(reason), "{spelling}");
            }
        }
        assert_eq!(Ending::of_name("<FinishReason.LENGTH: 1>"), Ending::By(FinishReason::Length));
    }

    #[test]
    fn what_nobody_writes_is_not_guessed() {
        for spelling in ["", "5", "-1", "0.5", "NaN", "banana", "FinishReason.", "running"] {
            assert_eq!(Ending::of_name(spelling), Ending::Unknown, "{spelling}");
        }
    }
}
