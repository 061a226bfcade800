//! The filter `tojson`: JSON as Python's `json.dumps` writes it, with the options that `transformers` passes on.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, State, Value};

use super::fault::refused;

/// Deepest nesting of lists and dictionaries.
const MAX_DEPTH: usize = 100;
/// Widest indentation, in bytes a level.
const MAX_INDENT: usize = 64;

/// `value|tojson(ensure_ascii, indent, separators, sort_keys)`, each by place or by name.
pub(super) fn tojson(state: &State<'_, '_>, value: &Value, options: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let options = options.into_values();
    let (ensure_ascii, indent, separators, sort_keys, named): Options = from_args(&options)?;
    let indent = match or_named(indent, &named, "indent")? {
        Some(indent) => indentation(&indent)?,
        None => None,
    };
    let (item, key) = match or_named(separators, &named, "separators")? {
        Some(pair) => separators_of(&pair)?,
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let mut writer = Writer {
        state,
        out: String::new(),
        charged: 0,
        ensure_ascii: or_named(ensure_ascii, &named, "ensure_ascii")?.is_some_and(|truth| truth.is_true()),
        sort_keys: or_named(sort_keys, &named, "sort_keys")?.is_some_and(|truth| truth.is_true()),
        indent,
        item,
        key,
    };
    named.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(writer.out)
}

/// Those by place, then those by name.
type Options = (Option<Value>, Option<Value>, Option<Value>, Option<Value>, Kwargs);

fn or_named(by_place: Option<Value>, named: &Kwargs, name: &str) -> Result<Option<Value>, Error> {
    match by_place {
        Some(value) => Ok(Some(value)),
        None => named.get(name),
    }
}

/// What a level is indented by: a text, or a number of spaces.
fn indentation(indent: &Value) -> Result<Option<String>, Error> {
    if indent.is_none() {
        return Ok(None);
    }
    let text = match indent.as_str() {
        Some(text) if text.len() <= MAX_INDENT => Some(text.to_owned()),
        Some(_) => None,
        None => {
            let spaces = i64::try_from(indent.clone())?.max(0);
            usize::try_from(spaces).ok().filter(|spaces| *spaces <= MAX_INDENT).map(|spaces| " ".repeat(spaces))
        }
    };
    text.map(Some).ok_or_else(|| refused(format!("tojson: indent is more than {MAX_INDENT}")))
}

/// Between items, and between key and value.
fn separators_of(pair: &Value) -> Result<(String, String), Error> {
    let texts: Vec<Value> = pair.try_iter()?.collect();
    match texts.as_slice() {
        [item, key] => match (item.as_str(), key.as_str()) {
            (Some(item), Some(key)) => Ok((item.to_owned(), key.to_owned())),
            _ => Err(refused("tojson: separators are not texts")),
        },
        _ => Err(refused("tojson: separators are not two texts")),
    }
}

struct Writer<'a, 'template, 'env> {
    state: &'a State<'template, 'env>,
    out: String,
    /// Bytes of `out` that were paid for.
    charged: usize,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(refused(format!("tojson: nested deeper than {MAX_DEPTH} levels")));
        }
        match value.kind() {
            ValueKind::Map => self.map(value, depth)?,
            ValueKind::Seq | ValueKind::Iterable => {
                self.out.push('[');
                let mut is_first = true;
                for entry in value.try_iter()?.checked() {
                    self.start_item(is_first, depth)?;
                    self.value(&entry?, depth + 1)?;
                    is_first = false;
                }
                self.end_items(is_first, depth, ']');
            }
            _ => match (value.as_str(), scalar(value)) {
                (Some(text), _) => self.text(text),
                (None, Some(text)) => self.out.push_str(&text),
                (None, None) => return Err(refused(format!("tojson: a {} is no JSON", value.kind()))),
            },
        }
        self.pay()
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut entries = Vec::new();
        for key in map.try_iter()?.checked() {
            let key = key?;
            let name = match key.as_str() {
                Some(text) => text.to_owned(),
                None => scalar(&key).ok_or_else(|| refused(format!("tojson: a {} is no key", key.kind())))?,
            };
            entries.push((name, map.get_item(&key)?));
        }
        if self.sort_keys {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.out.push('{');
        let is_empty = entries.is_empty();
        for (index, (name, value)) in entries.iter().enumerate() {
            self.start_item(index == 0, depth)?;
            self.text(name);
            self.out.push_str(&self.key);
            self.value(value, depth + 1)?;
        }
        self.end_items(is_empty, depth, '}');
        Ok(())
    }

    fn start_item(&mut self, is_first: bool, depth: usize) -> Result<(), Error> {
        if !is_first {
            self.out.push_str(&self.item);
        }
        self.new_line(depth + 1);
        self.pay()
    }

    fn end_items(&mut self, is_empty: bool, depth: usize, end: char) {
        if !is_empty {
            self.new_line(depth);
        }
        self.out.push(end);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\u{1f}' => self.escaped(c),
                '\u{7f}'.. if self.ensure_ascii => self.escaped(c),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// The units of UTF-16 by their numbers.
    fn escaped(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }

    /// Pays for what was written: the engine charges only for what a filter gives back.
    fn pay(&mut self) -> Result<(), Error> {
        let fuel = (self.out.len() - self.charged) / 4;
        self.charged += fuel * 4;
        self.state.consume_fuel(fuel as u64)
    }
}

/// A number, a truth value or nothing. What is not defined is nothing.
fn scalar(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => Some("null".to_owned()),
        ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number if value.is_integer() => Some(value.to_string()),
        ValueKind::Number => f64::try_from(value.clone()).ok().map(float),
        _ => None,
    }
}

/// As Python's `repr`: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned();
    }
    if number == 0.0 || (1e-4..1e16).contains(&number.abs()) {
        let text = number.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}
