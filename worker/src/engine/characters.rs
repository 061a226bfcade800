//! Bytes to characters, as they become whole.

/// Decodes UTF-8 that comes in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Characters {
    /// Bytes at the end that are no whole character yet; at most three.
    incomplete: Vec<u8>,
}

impl Characters {
    /// The characters that the next bytes make whole; bytes that can never be one become U+FFFD.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.incomplete.extend_from_slice(bytes);
        let mut text = String::new();
        let mut taken = 0;
        for chunk in self.incomplete.utf8_chunks() {
            text.push_str(chunk.valid());
            taken += chunk.valid().len();
            let reaches_end = taken + chunk.invalid().len() == self.incomplete.len();
            if reaches_end && may_become_character(chunk.invalid()) {
                break;
            }
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
                taken += chunk.invalid().len();
            }
        }
        self.incomplete.drain(..taken);
        text
    }
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
