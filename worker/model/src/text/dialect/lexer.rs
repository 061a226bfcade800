//! A template cut into pieces, and its tags into tokens, where Jinja cuts them.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// What is not code: text, comments and raw blocks.
    Plain(&'a str),
    /// A tag that does not end, and all that follows.
    Endless(&'a str),
    /// A tag: what opens it, its tokens, and what closes it.
    Tag { open: &'a str, tokens: Vec<Token<'a>>, close: &'a str },
}

/// A token and the white space before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) space: &'a str,
    pub(super) text: &'a str,
    pub(super) kind: TokenKind,
}

/// What the rewriting needs to know of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name,
    /// A text, a number, or what no template has.
    Literal,
    /// `(`, `[` or `{`.
    Open,
    /// Their ends.
    Close,
    /// Anything else, by its text.
    Operator,
}

/// White space inside of tags.
const SPACE: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];
const OPERATORS: &[&str] = &["//", "**", "==", "!=", ">=", "<="];

/// The pieces of `source`; together they are all of it.
pub(super) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(at) = tag_start(rest) {
        let (text, code) = rest.split_at(at);
        pieces.push(Piece::Plain(text));
        let (piece, length) = match code.as_bytes()[1] {
            b'#' => {
                let length = code[2..].find("#}").map_or(code.len(), |end| end + 4);
                (Piece::Plain(&code[..length]), length)
            }
            _ => tag(code),
        };
        pieces.push(piece);
        rest = &code[length..];
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

/// Where the next tag or comment starts.
fn tag_start(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')))
}

/// The piece at the start of `code`, a tag or a raw block, and its length.
fn tag(code: &str) -> (Piece<'_>, usize) {
    let Some((tag, length)) = tokens(code) else {
        return (Piece::Endless(code), code.len());
    };
    match is_alone(&tag, "raw") {
        true => {
            let length = length + raw_length(&code[length..]);
            (Piece::Plain(&code[..length]), length)
        }
        false => (tag, length),
    }
}

/// Bytes up to the end of a raw block that has started.
fn raw_length(text: &str) -> usize {
    let end = |at: usize| {
        let rest = without_sign(&text[at + 2..]).trim_start_matches(SPACE);
        let rest = rest.strip_prefix("endraw")?.trim_start_matches(SPACE);
        let rest = without_sign(rest).strip_prefix("%}")?;
        Some(text.len() - rest.len())
    };
    text.match_indices("{%").find_map(|(at, _)| end(at)).unwrap_or(text.len())
}

/// A tag says by a sign what becomes of the white space around it.
fn without_sign(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// Whether a tag is a block of one word.
pub(super) fn is_alone(tag: &Piece<'_>, word: &str) -> bool {
    matches!(tag, Piece::Tag { open, tokens, .. } if open.starts_with("{%")
        && matches!(tokens.as_slice(), [token] if token.text == word))
}

/// The tag at the start of `code` and its length, if it ends.
fn tokens(code: &str) -> Option<(Piece<'_>, usize)> {
    let end = if code.starts_with("{{") { "}}" } else { "%}" };
    let open = 2 + usize::from(matches!(code.as_bytes().get(2), Some(b'-' | b'+')));
    let (open, mut rest) = code.split_at(open);
    let mut tokens = Vec::new();
    let mut depth = 0usize;
    loop {
        let text = rest.trim_start_matches(SPACE);
        let space = &rest[..rest.len() - text.len()];
        let first = text.chars().next()?;
        let sign = usize::from(matches!(first, '-' | '+'));
        if depth == 0 && text[sign..].starts_with(end) {
            let close = &rest[..space.len() + sign + end.len()];
            let length = code.len() - rest.len() + close.len();
            return Some((Piece::Tag { open, tokens, close }, length));
        }
        let (kind, length) = token(text, first)?;
        match kind {
            TokenKind::Open => depth += 1,
            // One too many is a syntax error, which minijinja reports.
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { space, text: &text[..length], kind });
        rest = &text[length..];
    }
}

/// Kind and length of the token at the start of `text`, whose first character is `first`; `None` if it does not end.
fn token(text: &str, first: char) -> Option<(TokenKind, usize)> {
    let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let word = || text.find(|c| !is_word(c)).unwrap_or(text.len());
    Some(match first {
        '(' | '[' | '{' => (TokenKind::Open, 1),
        ')' | ']' | '}' => (TokenKind::Close, 1),
        '\'' | '"' => (TokenKind::Literal, quoted(text, first)?),
        '0'..='9' => (TokenKind::Literal, number(text)),
        _ if is_word(first) => (TokenKind::Name, word()),
        _ => match OPERATORS.iter().find(|operator| text.starts_with(**operator)) {
            Some(operator) => (TokenKind::Operator, operator.len()),
            None if first.is_ascii() => (TokenKind::Operator, 1),
            None => (TokenKind::Literal, first.len_utf8()),
        },
    })
}

/// Length of the number at the start of `text`: an integer of any base, or a decimal with fraction and exponent, such as `1.5e-1`.
fn number(text: &str) -> usize {
    let word = |from: usize| {
        text[from..].find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).map_or(text.len(), |n| from + n)
    };
    let is_digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let mut end = word(0);
    let is_decimal = !text.starts_with("0x") && !text.starts_with("0X");
    // A point with a name behind it asks for an attribute.
    if is_decimal
        && text[..end].bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
        && text[end..].starts_with('.')
        && is_digit(end + 1)
    {
        end = word(end + 1);
    }
    if is_decimal && text[..end].ends_with(['e', 'E']) && text[end..].starts_with(['+', '-']) && is_digit(end + 1) {
        end = word(end + 1);
    }
    end
}

/// Length of the text in quotation marks at the start of `text`.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            // The first one opens.
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(pieces: &[Piece<'_>]) -> String {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Plain(plain) | Piece::Endless(plain) => text.push_str(plain),
                Piece::Tag { open, tokens, close } => {
                    text.push_str(open);
                    tokens.iter().for_each(|token| text.extend([token.space, token.text]));
                    text.push_str(close);
                }
            }
        }
        text
    }

    fn tags(source: &str) -> Vec<Vec<&str>> {
        let words = |piece| match piece {
            Piece::Tag { tokens, .. } => Some(tokens.iter().map(|token| token.text).collect()),
            Piece::Plain(_) | Piece::Endless(_) => None,
        };
        pieces(source).into_iter().filter_map(words).collect()
    }

    #[test]
    fn tags_end_outside_of_texts_and_brackets() {
        assert_eq!(
            tags("a{{- {'a': {}}['}}'] -}}b{% if x %}"),
            [vec!["{", "'a'", ":", "{", "}", "}", "[", "'}}'", "]"], vec!["if", "x"]]
        );
        assert_eq!(tags(r"{{ 'it\'s %}' % x }}"), [[r"'it\'s %}'", "%", "x"]]);
        assert_eq!(tags("{% set a=b//2 **c -%}"), [["set", "a", "=", "b", "//", "2", "**", "c"]]);
    }

    #[test]
    fn a_number_is_one_token() {
        assert_eq!(
            tags("{{ 1.5e-1 + 2E+3-4 * 0x1e-1 % 1_000.25 }}"),
            [vec!["1.5e-1", "+", "2E+3", "-", "4", "*", "0x1e", "-", "1", "%", "1_000.25"]]
        );
        assert_eq!(
            tags("{{ x.0.a ~ 1.real ~ 2e ~ 3.}}"),
            [vec!["x", ".", "0", ".", "a", "~", "1", ".", "real", "~", "2e", "~", "3", "."]]
        );
    }

    #[test]
    fn comments_and_raw_blocks_have_no_tags() {
        assert!(tags("{# {{ a }} #}{%- raw -%}{{ b }}{% x %}{% endraw %}").is_empty());
        assert_eq!(tags("{% raw %}{{ b }}{%+ endraw -%}{{ c }}"), [["c"]]);
    }

    proptest! {
        #[test]
        fn the_pieces_are_all_of_the_template(source in "([{}%#'\"\\\\(\\[)\\] a-cé\n-]|raw|endraw|\\{%|%\\}){0,60}") {
            prop_assert_eq!(back(&pieces(&source)), source);
        }
    }
}
