//! Reads names from tokens that have no known grammar: macro bodies and attributes.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::{Ident, Lit};

use crate::names::{Path, is_item_keyword, text};

#[derive(Debug, PartialEq)]
pub(crate) enum Word {
    Path(Path),
    /// A path before `!`.
    Macro(Path),
    Text(String),
}

/// The paths and string literals in tokens, but for fields, methods, keywords and variables that the tokens define.
pub(crate) fn words(tokens: &TokenStream) -> Vec<Word> {
    let mut bound = HashSet::new();
    let mut found = Vec::new();
    scan(tokens, &mut found, &mut bound);
    found.retain(|word| match word {
        Word::Path(path) => path.segments.len() > 1 || !bound.contains(&path.segments[0]),
        Word::Macro(_) | Word::Text(_) => true,
    });
    found
}

fn scan(tokens: &TokenStream, found: &mut Vec<Word>, bound: &mut HashSet<String>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan(&group.stream(), found, bound),
            TokenTree::Literal(literal) => {
                if let Lit::Str(value) = Lit::new(literal.clone()) {
                    found.push(Word::Text(value.value()));
                }
            }
            TokenTree::Ident(_) => {
                at = take_path(&tokens, at, found, bound);
                continue;
            }
            TokenTree::Punct(_) => {}
        }
        at += 1;
    }
}

/// Reads the path that starts with the identifier at `start`; returns where it ends.
fn take_path(tokens: &[TokenTree], start: usize, found: &mut Vec<Word>, bound: &mut HashSet<String>) -> usize {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(text(word));
        at += 1;
        if !(is_colons(tokens, at) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        at += 2;
    }
    let before = |back: usize| start.checked_sub(back).map(|at| &tokens[at]);
    let is_after_colons = start >= 2 && is_colons(tokens, start - 2);
    // `<T>::name`, `$module::name`: what it belongs to is not known. `::name` is another crate.
    let is_part = is_after_colons && !matches!(before(3), None | Some(TokenTree::Punct(_)));
    let is_part = is_part || (is_after_colons && is_punct(before(3), '>'));
    let is_member = is_punct(before(1), '.') && !is_punct(before(2), '.');
    let is_variable_of_macro = is_punct(before(1), '$') && segments[0] != "crate";
    // `$x:expr` names a kind of token.
    let is_kind = is_punct(before(1), ':') && !is_after_colons && is_punct(before(3), '$');
    let is_lifetime = is_punct(before(1), '\'');
    let is_defined = matches!(before(1), Some(TokenTree::Ident(word)) if is_item_keyword(&text(word)));
    if is_part || is_member || is_variable_of_macro || is_kind || is_lifetime || is_defined {
        return at;
    }
    let path = Path { segments, is_absolute: is_after_colons };
    if path.segments.len() > 1 {
        let is_macro = is_punct(tokens.get(at), '!');
        found.push(if is_macro { Word::Macro(path) } else { Word::Path(path) });
        return at;
    }
    let name = &path.segments[0];
    if is_keyword(name) {
        return at;
    }
    let is_bound = matches!(before(1), Some(TokenTree::Ident(word)) if matches!(text(word).as_str(), "let" | "mut" | "ref" | "for"))
        || (is_punct(tokens.get(at), '=') && !is_punct(tokens.get(at + 1), '='))
        || is_arm(tokens, at);
    let is_lower = name.starts_with(|first: char| first.is_lowercase() || first == '_');
    if is_bound && is_lower {
        bound.insert(name.clone());
        return at;
    }
    let is_field = is_punct(tokens.get(at), ':') && !is_colons(tokens, at);
    if !is_field {
        let is_macro = is_punct(tokens.get(at), '!') && !is_punct(tokens.get(at + 1), '=');
        found.push(if is_macro { Word::Macro(path) } else { Word::Path(path) });
    }
    at
}

/// What an attribute's arguments name: `value_parser = parse::length`, and not keys such as `value_parser`.
pub(crate) fn attribute_words(tokens: &TokenStream) -> Vec<Word> {
    let mut found = Vec::new();
    let mut part: Vec<TokenTree> = Vec::new();
    for token in tokens.clone() {
        if is_punct(Some(&token), ',') {
            take_argument(&part, &mut found);
            part.clear();
        } else {
            part.push(token);
        }
    }
    take_argument(&part, &mut found);
    found
}

fn take_argument(part: &[TokenTree], found: &mut Vec<Word>) {
    match part {
        [] | [TokenTree::Ident(_)] => {}
        [TokenTree::Ident(_), TokenTree::Group(group)] if group.delimiter() == Delimiter::Parenthesis => {
            found.extend(attribute_words(&group.stream()));
        }
        [TokenTree::Ident(_), equals, value @ ..] if is_punct(Some(equals), '=') => {
            found.extend(words(&value.iter().cloned().collect()));
        }
        other => found.extend(words(&other.iter().cloned().collect())),
    }
}

/// The names that a format string takes from the scope: `"{WIDTH:>3}"`.
pub(crate) fn captured(format: &str) -> Vec<String> {
    let mut names = Vec::new();
    // `{{` is a brace to print.
    for part in format.replace("{{", "").split('{').skip(1) {
        let end = part.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(part.len());
        let is_closed = part[end..].starts_with(['}', ':']);
        if is_closed && part.starts_with(|first: char| first.is_alphabetic() || first == '_') {
            names.push(part[..end].to_owned());
        }
    }
    names
}

fn is_punct(token: Option<&TokenTree>, letter: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == letter)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint)
        && is_punct(tokens.get(at + 1), ':')
}

/// `name =>` binds the name.
fn is_arm(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), '=') && is_punct(tokens.get(at + 1), '>')
}

fn is_keyword(word: &str) -> bool {
    is_item_keyword(word) || syn::parse_str::<Ident>(word).is_err()
}
