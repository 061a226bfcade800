use super::arrows;

/// The arrows of `user.rs` in a house with `shop.rs`.
fn arrows_of(user: &str) -> String {
    arrows(&[
        ("lib.rs", "mod shop; mod user;"),
        (
            "shop.rs",
            "macro_rules! ask { ($x:expr) => { $x } } pub(crate) use ask;
             #[macro_export] macro_rules! exported { () => {} }
             pub struct Shop; pub const PRICE: u8 = 1; pub fn sell() {} pub enum Kind { Small } pub fn view() {}",
        ),
        ("user.rs", user),
    ])
}

#[test]
fn what_is_named_in_a_macros_arguments_counts() {
    assert_eq!(arrows_of("fn go() { println!(\"{}\", crate::shop::PRICE); }"), "user.rs -> shop.rs: PRICE");
    assert_eq!(arrows_of("fn go() { vec![crate::shop::PRICE; 3]; }"), "user.rs -> shop.rs: PRICE");
    assert_eq!(arrows_of("fn go() { matches!(x, crate::shop::Kind::Small if y); }"), "user.rs -> shop.rs: Kind");
    assert_eq!(
        arrows_of("use crate::shop::*; fn go() { assert!(x.iter().all(|x| sell(x))); }"),
        "user.rs -> shop.rs: sell"
    );
}

#[test]
fn what_is_named_in_tokens_without_known_grammar_counts() {
    assert_eq!(
        arrows_of("use crate::shop::*; fn go() { select! { x = sell() => {}, y = super::shop::view() => {} } }"),
        "user.rs -> shop.rs: sell, view"
    );
    assert_eq!(arrows_of("fn go() { json!({ \"a\": crate::shop::PRICE }); }"), "user.rs -> shop.rs: PRICE");
}

#[test]
fn what_a_format_string_takes_from_the_scope_counts() {
    assert_eq!(
        arrows_of("use crate::shop::*; fn go() { println!(\"{PRICE:>3} {{sell}}\"); }"),
        "user.rs -> shop.rs: PRICE"
    );
    assert_eq!(arrows_of("use crate::shop::*; fn go(view: u8) { println!(\"{view}\"); }"), "");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { println!(\"{view}\", view = 1); }"), "");
}

#[test]
fn fields_methods_and_new_variables_in_tokens_are_no_names() {
    assert_eq!(arrows_of("use crate::shop::*; fn go() { select! { view = x.sell() => view.view, } }"), "");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { other! { Some { view: 1 } => 'sell } }"), "");
}

#[test]
fn a_macro_of_another_file_counts() {
    assert_eq!(arrows_of("fn go() { crate::shop::ask!(1) }"), "user.rs -> shop.rs: ask");
    assert_eq!(arrows_of("use crate::shop::ask; fn go() { ask!(1) }"), "user.rs -> shop.rs: ask");
    assert_eq!(arrows_of("fn go() { crate::exported!() }"), "user.rs -> shop.rs: exported");
    // As `#[macro_use]` and the order of modules allow.
    assert_eq!(arrows_of("fn go() { ask!(1) }"), "user.rs -> shop.rs: ask");
}

#[test]
fn a_macros_own_body_names_what_it_needs() {
    assert_eq!(
        arrows_of("macro_rules! buy { ($sell:expr) => { $crate::shop::sell($sell) } }"),
        "user.rs -> shop.rs: sell"
    );
    assert_eq!(arrows_of("use crate::shop::*; macro_rules! buy { ($view:ident) => { $view } }"), "");
}

#[test]
fn an_item_that_a_macro_makes_belongs_to_the_file_that_calls_it() {
    let files = [
        ("lib.rs", "mod ids; mod user;"),
        (
            "ids.rs",
            "macro_rules! id_type { ($name:ident) => { pub struct $name; } } id_type!(RequestId); thread_local! { pub static POOL: u8 = 1; }",
        ),
        ("user.rs", "use crate::ids::{RequestId, POOL};"),
    ];
    assert_eq!(arrows(&files), "user.rs -> ids.rs: POOL, RequestId");
}

#[test]
fn a_module_that_a_macro_call_declares_is_read() {
    let files = [
        ("lib.rs", "mod table; mod shop;"),
        ("shop.rs", "pub const PRICE: u8 = 1;"),
        ("table/mod.rs", "rules! { Rule: mod first; mod second; }"),
        ("table/first.rs", "pub static RULE: u8 = crate::shop::PRICE;"),
        ("table/second.rs", "pub static RULE: u8 = super::first::RULE;"),
    ];
    assert_eq!(arrows(&files), "table/first.rs -> shop.rs: PRICE\ntable/second.rs -> table/first.rs: RULE");
}
