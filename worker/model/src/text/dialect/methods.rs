//! Methods of Python's texts and lists.

use std::fmt::Write;

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

use super::budget::{pay_for_bytes, printed_bytes};
use super::fault::refused;

/// Calls `method` of `value`: those that the library of methods knows, and those that it lacks.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    match (method, value.as_str()) {
        ("format", Some(text)) => pay_for_format(state, text, arguments)?,
        ("join", Some(separator)) => return join(state, separator, arguments),
        ("split" | "rsplit" | "splitlines", Some(text)) => pay_for_parts(state, text, arguments)?,
        _ => {}
    }
    let unknown = match pycompat::unknown_method_callback(state, value, method, arguments) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => error,
        known => return known,
    };
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => of_text(state, text, method, arguments).unwrap_or(Err(unknown)),
        (ValueKind::Seq, _) if method == "index" => index(value, arguments),
        (ValueKind::Map | ValueKind::Seq, _) if method == "copy" => Ok(value.clone()),
        _ => Err(unknown),
    }
}

/// Pays for the result of `str.format` before the library allocates it: each replacement field takes at most the width and the
/// precision that it asks for, and the longest argument.
fn pay_for_format(state: &State<'_, '_>, format: &str, arguments: &[Value]) -> Result<(), Error> {
    let mut longest = 0;
    for argument in arguments {
        longest = longest.max(printed_bytes(state, argument)?);
    }
    let text = format.replace("{{", "");
    for field in text.split('{').skip(1) {
        let field = field.split('}').next().unwrap_or_default();
        let spec = field.split_once(':').map_or("", |(_, spec)| spec);
        let numbers = spec.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
        // A number of more digits than `usize` has is too large in any case.
        let asked = numbers.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(longest, usize::saturating_add);
        pay_for_bytes(state, asked)?;
    }
    Ok(())
}

/// Pays for the list of parts that a text is split into, at a separator or at white space.
fn pay_for_parts(state: &State<'_, '_>, text: &str, arguments: &[Value]) -> Result<(), Error> {
    let cuts = match arguments.first().and_then(Value::as_str) {
        Some(separator) => text.matches(separator).count(),
        None => text.matches(char::is_whitespace).count(),
    };
    pay_for_bytes(state, cuts.saturating_mul(2 * size_of::<Value>()))
}

/// `str.join`, which pays for each part before it copies it.
fn join(state: &State<'_, '_>, separator: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (parts,): (&Value,) = from_args(arguments)?;
    let mut joined = String::new();
    for (index, part) in parts.try_iter()?.checked().enumerate() {
        let part = part?;
        let separator = if index == 0 { "" } else { separator };
        pay_for_bytes(state, separator.len().saturating_add(printed_bytes(state, &part)?))?;
        // Writing to a string cannot fail.
        let _ = write!(joined, "{separator}{part}");
    }
    Ok(joined.into())
}

/// `None` if there is no such method.
fn of_text(state: &State<'_, '_>, text: &str, method: &str, arguments: &[Value]) -> Option<Result<Value, Error>> {
    let one = || from_args::<(&str,)>(arguments).map(|(argument,)| argument);
    Some(match method {
        "removeprefix" => one().map(|prefix| text.strip_prefix(prefix).unwrap_or(text).into()),
        "removesuffix" => one().map(|suffix| text.strip_suffix(suffix).unwrap_or(text).into()),
        "casefold" => Ok(text.to_lowercase().into()),
        "partition" => one().map(|mark| match text.split_once(mark) {
            Some((before, after)) => three([before, mark, after]),
            None => three([text, "", ""]),
        }),
        "rpartition" => one().map(|mark| match text.rsplit_once(mark) {
            Some((before, after)) => three([before, mark, after]),
            None => three(["", "", text]),
        }),
        "rsplit" => rsplit(text, arguments),
        "index" | "rindex" => one().and_then(|part| {
            let place = if method == "index" { text.find(part) } else { text.rfind(part) };
            let place = place.ok_or_else(|| refused(format!("{method}: substring not found")))?;
            Ok(Value::from(text[..place].chars().count()))
        }),
        "ljust" | "rjust" | "center" | "zfill" => pad(state, text, method, arguments),
        _ => return None,
    })
}

fn three(parts: [&str; 3]) -> Value {
    Value::from(minijinja::value::Tuple::from(parts.map(Value::from)))
}

fn rsplit(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (mark, most): (Option<&str>, Option<i64>) = from_args(arguments)?;
    // Without a limit, or with a negative one, the direction makes no difference.
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match mark {
        Some("") => return Err(refused("rsplit: empty separator")),
        Some(mark) => text.rsplitn(most.saturating_add(1), mark).collect(),
        None => by_space(text, most),
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Words from the last one on; what is left after `most` cuts comes last.
fn by_space(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        match rest.rfind(char::is_whitespace).filter(|_| parts.len() < most) {
            Some(at) => {
                parts.push(rest[at..].trim_start());
                rest = rest[..at].trim_end();
            }
            None => parts.push(std::mem::take(&mut rest)),
        }
    }
    parts
}

fn pad(state: &State<'_, '_>, text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(arguments)?;
    let width = usize::try_from(width).unwrap_or(0);
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(refused(format!("{method}: the fill character must be one")));
    }
    let missing = width.saturating_sub(text.chars().count());
    pay_for_bytes(state, missing.saturating_mul(fill.len()))?;
    let fill = |count: usize| fill.repeat(count);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", fill(missing)),
        "rjust" => format!("{}{text}", fill(missing)),
        // Which side gets the odd one hangs on the width, as in CPython.
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", fill(left), fill(missing - left))
        }
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    }))
}

fn index(list: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&Value,) = from_args(arguments)?;
    for (place, entry) in list.try_iter()?.checked().enumerate() {
        if entry? == *wanted {
            return Ok(Value::from(place));
        }
    }
    Err(refused(format!("index: {wanted} is not in the list")))
}
