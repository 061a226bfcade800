//! Rewrites what minijinja does not parse into what it does: `{% generation %}`, which marks the assistant's part of a
//! conversation for training, and the operator `%`, which also formats texts.
//!
//! `a % b` becomes a call of [`PERCENT`]. Of the operators only `**`, the filters and what binds closer stand inside its operands;
//! `*`, `/`, `//` and `%` are taken from left to right. Lines stay where they are, so that errors name the right one.

use super::lexer::{Piece, Token, TokenKind, is_alone, pieces};

/// The function that `%` becomes: its name in Python.
pub(super) const PERCENT: &str = "__mod__";

/// Most operators one below the other in the syntax tree of an expression, and most branches of the open conditions. The compiler
/// visits both recursively. Published templates have some tens.
const MAX_DEPTH: usize = 250;

/// Longest template; the longest published ones have about 30 kB.
pub(in crate::text) const MAX_BYTES: usize = 1 << 17;

/// Longest line: minijinja counts columns in 16 bits.
const MAX_LINE_BYTES: usize = 60_000;

/// The template in minijinja's syntax.
pub(super) fn rewrite(source: &str) -> Result<String, String> {
    if source.len() > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    let mut out = String::with_capacity(source.len());
    let mut branches = Branches::default();
    let (mut line, mut counted) = (1, 0);
    for piece in pieces(source) {
        line += out[counted..].matches('\n').count();
        counted = out.len();
        match piece {
            Piece::Plain(text) => out.push_str(text),
            Piece::Endless(_) => return Err(format!("line {line}: a tag that does not end")),
            // A block with a scope of its own, as in `transformers`.
            tag if is_alone(&tag, "generation") => push_tag(&mut out, tag, |_| "with"),
            tag if is_alone(&tag, "endgeneration") => push_tag(&mut out, tag, |_| "endwith"),
            Piece::Tag { open, tokens, close } => {
                let is_block = open.starts_with("{%");
                let keyword = tokens.first().filter(|_| is_block).map_or("", |token| token.text);
                let mut expressions = Expressions::new(out, keyword);
                expressions.out.push_str(open);
                for token in tokens {
                    expressions.push(token);
                    if expressions.depth() > MAX_DEPTH {
                        return Err(format!("line {line}: an expression nested deeper than {MAX_DEPTH} operators"));
                    }
                }
                expressions.end_operand();
                out = expressions.out;
                out.push_str(close);
                if branches.add(keyword) > MAX_DEPTH {
                    return Err(format!("line {line}: a condition with more than {MAX_DEPTH} branches"));
                }
            }
        }
    }
    match out.lines().position(|line| line.len() > MAX_LINE_BYTES) {
        Some(before) => Err(format!("line {} is longer than {MAX_LINE_BYTES} bytes", before + 1)),
        None => Ok(out),
    }
}

fn push_tag<'a>(out: &mut String, tag: Piece<'a>, text: impl Fn(&'a str) -> &'a str) {
    if let Piece::Tag { open, tokens, close } = tag {
        out.push_str(open);
        tokens.iter().for_each(|token| out.extend([token.space, text(token.text)]));
        out.push_str(close);
    }
}

/// How many branches the conditions that are open have.
#[derive(Default)]
struct Branches {
    open: Vec<usize>,
    total: usize,
}

impl Branches {
    /// Counts a block; gives the branches that are open.
    fn add(&mut self, keyword: &str) -> usize {
        match keyword {
            "if" => self.open.push(0),
            "elif" => {
                self.total += 1;
                if let Some(last) = self.open.last_mut() {
                    *last += 1;
                }
            }
            "endif" => self.total -= self.open.pop().unwrap_or(0),
            _ => {}
        }
        self.total
    }
}

/// The expressions of one tag, while they are written.
struct Expressions {
    out: String,
    is_loop: bool,
    /// The brackets that are open, outermost first; the tag itself is one.
    levels: Vec<Level>,
    last: Last,
}

/// What the meaning of a name hangs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The first of a block is its keyword.
    BlockStart,
    /// A name after `.` or `|` is no keyword.
    Member,
    /// A name after `is` is that of a test, or `not`.
    Test,
    Other,
}

/// The inside of a bracket.
#[derive(Default)]
struct Level {
    /// Where the operand of a `%` that may come starts.
    operand: Option<usize>,
    /// An operand comes next, not an operator.
    expects_operand: bool,
    /// The second operand of a `%` is open.
    is_in_percent: bool,
    /// Binary operators since the last comma: each is a level of the syntax tree above those before it.
    binary: usize,
    /// Other operators of the current operand, brackets included.
    unary: usize,
    /// Depth of the deepest closed bracket of the current operand.
    inside: usize,
    /// Depth of the deepest earlier operand since the last comma.
    operands: usize,
    /// Depth of the deepest entry before the last comma.
    entries: usize,
}

impl Level {
    fn new() -> Self {
        Self { expects_operand: true, ..Self::default() }
    }

    /// Depth of the syntax tree of this bracket's inside, if that of an open bracket in it is `inner`.
    fn depth(&self, inner: usize) -> usize {
        let operand = self.inside.max(inner) + self.unary;
        self.entries.max(self.operands.max(operand) + self.binary)
    }

    fn start_next_operand(&mut self) {
        self.operands = self.operands.max(self.inside + self.unary);
        (self.expects_operand, self.binary, self.unary, self.inside) = (true, self.binary + 1, 0, 0);
    }

    fn start_next_entry(&mut self) {
        self.entries = self.depth(0);
        (self.binary, self.unary, self.inside, self.operands) = (0, 0, 0, 0);
    }
}

impl Expressions {
    fn new(out: String, keyword: &str) -> Self {
        let last = if keyword.is_empty() { Last::Other } else { Last::BlockStart };
        Self { out, is_loop: keyword == "for", levels: vec![Level::new()], last }
    }

    /// Depth of the syntax tree up to here.
    fn depth(&self) -> usize {
        self.levels.iter().rev().fold(0, |inner, level| level.depth(inner))
    }

    /// The level that is open. There is always one: the tag itself is never closed.
    fn level(&mut self) -> &mut Level {
        if self.levels.is_empty() {
            self.levels.push(Level::new());
        }
        let innermost = self.levels.len() - 1;
        &mut self.levels[innermost]
    }

    fn push(&mut self, token: Token<'_>) {
        let last = std::mem::replace(&mut self.last, Last::Other);
        match (token.kind, token.text) {
            (TokenKind::Name, _) if last == Last::BlockStart => self.separator(token),
            (TokenKind::Name, "not") if last == Last::Test => {
                self.last = Last::Test;
                self.inside(token);
            }
            (TokenKind::Name, _) if matches!(last, Last::Member | Last::Test) => self.operand(token),
            (TokenKind::Name, "is") => {
                self.last = Last::Test;
                self.inside(token);
            }
            (TokenKind::Name, "not") if self.level().expects_operand => {
                self.level().unary += 1;
                self.start_operand(token);
                self.level().operand = None;
            }
            (TokenKind::Name, "and" | "or" | "not" | "in" | "if" | "else") => self.binary(token),
            (TokenKind::Name, "recursive") if self.is_loop => self.binary(token),
            (TokenKind::Name | TokenKind::Literal, _) => self.operand(token),
            (TokenKind::Open, _) => {
                self.level().unary += 1;
                self.operand(token);
                self.levels.push(Level::new());
            }
            (TokenKind::Close, _) => {
                self.end_operand();
                let inside = self.levels.pop().map_or(0, |level| level.depth(0));
                self.copy(token);
                let level = self.level();
                (level.expects_operand, level.inside) = (false, level.inside.max(inside));
            }
            (TokenKind::Operator, "." | "|") => {
                self.last = Last::Member;
                self.inside(token);
            }
            (TokenKind::Operator, "**") => self.inside(token),
            (TokenKind::Operator, "-" | "+") if self.level().expects_operand => {
                self.level().unary += 1;
                self.start_operand(token);
            }
            (TokenKind::Operator, "%") => self.percent(token),
            (TokenKind::Operator, "*" | "/" | "//") if !self.level().expects_operand => {
                self.end_operand();
                self.copy(token);
                self.level().start_next_operand();
            }
            (TokenKind::Operator, "," | ":" | "=") => {
                self.separator(token);
                self.level().start_next_entry();
            }
            (TokenKind::Operator, _) => self.binary(token),
        }
    }

    fn copy(&mut self, token: Token<'_>) {
        self.out.push_str(token.space);
        self.push_text(token.text);
    }

    /// What a token says; texts in minijinja's spelling.
    fn push_text(&mut self, text: &str) {
        match text.starts_with(['\'', '"']) && text.contains('\\') {
            true => self.out.push_str(&respelled(text)),
            false => self.out.push_str(text),
        }
    }

    /// Writes the first token of an operand, or one that comes before.
    fn start_operand(&mut self, token: Token<'_>) {
        self.out.push_str(token.space);
        let at = self.out.len();
        self.level().operand.get_or_insert(at);
        self.push_text(token.text);
    }

    /// A name, a literal or a bracket.
    fn operand(&mut self, token: Token<'_>) {
        if self.level().expects_operand {
            self.start_operand(token);
        } else {
            self.copy(token);
        }
        self.level().expects_operand = false;
    }

    /// An operator inside an operand.
    fn inside(&mut self, token: Token<'_>) {
        self.copy(token);
        self.level().unary += 1;
        self.level().expects_operand = true;
    }

    /// An operator that binds less than `%`.
    fn binary(&mut self, token: Token<'_>) {
        self.separator(token);
        self.level().start_next_operand();
    }

    fn separator(&mut self, token: Token<'_>) {
        self.end_operand();
        self.copy(token);
        let level = self.level();
        (level.operand, level.expects_operand) = (None, true);
    }

    fn percent(&mut self, token: Token<'_>) {
        self.end_operand();
        let level = self.level();
        let is_operator = !level.expects_operand;
        level.start_next_operand();
        match level.operand.filter(|_| is_operator) {
            Some(start) => {
                level.is_in_percent = true;
                self.out.insert_str(start, &format!("{PERCENT}("));
                self.out.extend([token.space, ","]);
            }
            // Not an operator: minijinja says so.
            None => self.copy(token),
        }
    }

    /// Ends the second operand of a `%`, if that is open.
    fn end_operand(&mut self) {
        if std::mem::take(&mut self.level().is_in_percent) {
            self.out.push(')');
        }
    }
}

/// A string literal whose escapes are those that minijinja knows, for one with Python's. Where a backslash ends a line, Python
/// leaves the line break out; it is written behind the literal, so that errors keep their line numbers.
fn respelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut breaks = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let long = escape.strip_prefix("\\U").and_then(|digits| digits.get(..8)).and_then(code_point);
        let (meaning, length) = match (escape.chars().nth(1), long) {
            // As they are, they would end the literal or start an escape.
            (_, Some(c @ ('"' | '\'' | '\\'))) => (format!("\\{c}"), 10),
            (_, Some(c)) => (c.to_string(), 10),
            (Some('\n'), _) => {
                breaks.push('\n');
                (String::new(), 2)
            }
            (Some('a'), _) => ("\\x07".to_owned(), 2),
            (Some('v'), _) => ("\\x0b".to_owned(), 2),
            (Some('/'), _) => ("\\\\/".to_owned(), 2),
            (Some(c), _) => (format!("\\{c}"), 1 + c.len_utf8()),
            (None, _) => ("\\".to_owned(), 1),
        };
        out.push_str(&meaning);
        rest = &escape[length..];
    }
    out + rest + &breaks
}

fn code_point(digits: &str) -> Option<char> {
    u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
}
