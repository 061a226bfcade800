//! Numbers that Python's `json` writes bare though JSON has no such: `NaN`, `Infinity`, `-Infinity`.

const BARE: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// The line with quotes around bare numbers outside of texts; `None` where there are none.
pub(super) fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    while let Some(byte) = line.get(at) {
        match byte {
            // What stands behind a backslash does not end the text.
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            b'-' | b'I' | b'N' if !in_text => {
                let rest = line.get(at..).unwrap_or_default();
                if let Some(bare) = BARE.into_iter().find(|bare| rest.starts_with(bare)) {
                    out.extend_from_slice(line.get(copied..at).unwrap_or_default());
                    out.push(b'"');
                    out.extend_from_slice(bare);
                    out.push(b'"');
                    at += bare.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| {
        out.extend_from_slice(line.get(copied..).unwrap_or_default());
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Option<String> {
        quoted(line.as_bytes()).map(|line| String::from_utf8(line).unwrap())
    }

    #[test]
    fn bare_numbers_get_quotes() {
        assert_eq!(
            text(r#"{"a":NaN,"b":[-Infinity,Infinity]}"#).unwrap(),
            r#"{"a":"NaN","b":["-Infinity","Infinity"]}"#
        );
    }

    #[test]
    fn texts_stay_as_they_are() {
        for line in [r#"{"a":"NaN \" NaN"}"#, r#"{"NaN":"-Infinity\\"}"#, "{\"a\":-1}", "", "\"", "\"\\"] {
            assert_eq!(text(line), None, "{line}");
        }
        assert_eq!(text(r#"{"a\\":NaN}"#).unwrap(), r#"{"a\\":"NaN"}"#);
    }
}
