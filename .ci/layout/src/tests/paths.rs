use super::{arrows, graph};

/// The arrows of `user.rs` in a house with `shop.rs` and with a parent that defines `Parent` and `unused`.
fn arrows_of(user: &str) -> String {
    arrows(&[
        ("lib.rs", "mod shop; mod user; pub struct Parent; pub fn unused() {} pub mod inline { pub struct Inner; }"),
        (
            "shop.rs",
            "pub struct Shop; impl Shop { pub fn new() -> Self { Shop } }
             pub enum Kind { Small, Large(u8), Named { size: u8 } }
             pub trait Open { const HOURS: u8; fn open(); }
             pub const PRICE: u8 = 1; pub static NAME: &str = \"\"; pub fn sell() {} pub type Alias = u8;
             pub fn view() {} pub struct Pair(pub u8);",
        ),
        ("user.rs", user),
    ])
}

#[test]
fn every_form_of_use_counts() {
    assert_eq!(
        arrows_of("use crate::{shop::{self, Shop, sell as buy, Open as _}, inline::Inner}; use super::shop::PRICE;"),
        "user.rs -> lib.rs: Inner\nuser.rs -> shop.rs: Open, PRICE, Shop, sell"
    );
}

#[test]
fn a_module_counts_only_for_what_is_named_in_it() {
    assert_eq!(arrows_of("use super::shop; use crate::shop as other;"), "");
    assert_eq!(arrows_of("use super::shop; fn go() { shop::sell() }"), "user.rs -> shop.rs: sell");
    assert_eq!(arrows_of("use crate::shop as other; fn go() { other::sell() }"), "user.rs -> shop.rs: sell");
    assert_eq!(arrows_of("use crate::shop::{self}; fn go() { self::shop::sell() }"), "user.rs -> shop.rs: sell");
}

#[test]
fn a_glob_counts_for_the_names_that_are_used() {
    assert_eq!(arrows_of("use super::*;"), "");
    assert_eq!(arrows_of("use super::*; fn go(parent: Parent) {}"), "user.rs -> lib.rs: Parent");
    assert_eq!(arrows_of("use super::*; fn go() { shop::sell() }"), "user.rs -> shop.rs: sell");
    assert_eq!(arrows_of("use crate::shop::*; fn go() -> Shop { sell() }"), "user.rs -> shop.rs: Shop, sell");
}

#[test]
fn an_own_item_or_an_import_hides_a_glob() {
    assert_eq!(arrows_of("use crate::shop::*; struct Shop; fn go(shop: Shop) {}"), "");
    assert_eq!(arrows_of("use crate::shop::*; use outside::Shop; fn go(shop: Shop) {}"), "");
}

#[test]
fn functions_and_variants_of_a_type_count_for_the_type() {
    assert_eq!(arrows_of("fn go() { crate::shop::Shop::new(); }"), "user.rs -> shop.rs: Shop");
    assert_eq!(arrows_of("use crate::shop::Kind::Small;"), "user.rs -> shop.rs: Kind");
    assert_eq!(arrows_of("fn go() { use super::shop::Kind::*; let kind = Large(1); }"), "user.rs -> shop.rs: Kind");
    assert_eq!(
        arrows_of("fn go(x: u8) { match x { crate::shop::Kind::Named { size } => {} } }"),
        "user.rs -> shop.rs: Kind"
    );
}

#[test]
fn an_impl_names_its_trait_and_its_type() {
    assert_eq!(
        arrows_of("impl crate::shop::Open for crate::Parent {}"),
        "user.rs -> lib.rs: Parent\nuser.rs -> shop.rs: Open"
    );
}

#[test]
fn types_bounds_patterns_and_constants_count() {
    assert_eq!(arrows_of("fn go(all: &[Vec<super::shop::Shop>]) {}"), "user.rs -> shop.rs: Shop");
    assert_eq!(arrows_of("fn go<T>(x: impl Fn() -> T) where T: crate::shop::Open {}"), "user.rs -> shop.rs: Open");
    assert_eq!(arrows_of("fn go(x: Box<dyn crate::shop::Open>) {}"), "user.rs -> shop.rs: Open");
    assert_eq!(arrows_of("fn go(crate::shop::Pair(x): Unknown) {}"), "user.rs -> shop.rs: Pair");
    assert_eq!(
        arrows_of("use crate::shop::*; fn go(x: u8) { match x { PRICE => {} _ => {} } }"),
        "user.rs -> shop.rs: PRICE"
    );
    assert_eq!(arrows_of("struct Room([u8; crate::shop::PRICE as usize]);"), "user.rs -> shop.rs: PRICE");
    assert_eq!(
        arrows_of("const HOURS: u8 = <crate::Parent as crate::shop::Open>::HOURS;"),
        "user.rs -> lib.rs: Parent\nuser.rs -> shop.rs: Open"
    );
    assert_eq!(arrows_of("fn go() { x.collect::<crate::shop::Alias>() }"), "user.rs -> shop.rs: Alias");
}

#[test]
fn a_variable_hides_a_function_of_a_glob_where_it_is_known() {
    assert_eq!(arrows_of("use crate::shop::*; fn go(view: u8) { print(view) }"), "");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { for view in 0..1 { print(view); } }"), "");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { all.map(|view| view); if let Some(view) = x { view; } }"), "");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { let view = view(); }"), "user.rs -> shop.rs: view");
    assert_eq!(arrows_of("use crate::shop::*; fn go() { { let view = 1; } view(); }"), "user.rs -> shop.rs: view");
}

#[test]
fn a_type_parameter_hides_a_type_of_a_glob() {
    assert_eq!(arrows_of("use crate::shop::*; fn go<Shop: Default>() -> Shop { Shop::default() }"), "");
    assert_eq!(arrows_of("use crate::shop::*; impl<Shop> Own<Shop> { fn go(shop: Shop) {} }"), "");
}

#[test]
fn fields_and_methods_are_no_names() {
    assert_eq!(arrows_of("use crate::shop::*; fn go(x: X) { x.view; x.sell(); X { view: 1 }; }"), "");
}

#[test]
fn other_crates_do_not_count() {
    assert_eq!(
        arrows_of("use std::fmt; use ::shop::Shop; use tokio::shop::sell; fn go() -> ::shop::Shop { fmt::x() }"),
        ""
    );
}

#[test]
fn an_import_in_a_block_holds_in_that_block() {
    assert_eq!(arrows_of("fn go() { use crate::shop; shop::sell(); }"), "user.rs -> shop.rs: sell");
    assert_eq!(arrows_of("fn go() { { use crate::shop; } shop::sell(); }"), "");
}

#[test]
fn attributes_count() {
    assert_eq!(
        arrows_of("struct Args { #[arg(long, default_value_t = crate::shop::PRICE)] price: u8 }"),
        "user.rs -> shop.rs: PRICE"
    );
    assert_eq!(
        arrows_of("struct Args { #[serde(default = \"crate::shop::sell\")] price: u8 }"),
        "user.rs -> shop.rs: sell"
    );
    assert_eq!(arrows_of("use crate::shop::*; struct Args { #[arg(long, view)] price: u8 }"), "");
}

#[test]
fn a_module_and_a_function_of_one_name_are_told_apart() {
    let files = [
        ("lib.rs", "mod fit; mod user; pub use fit::fit;"),
        ("fit.rs", "pub fn fit() {} pub struct Other;"),
        ("user.rs", "use crate::fit; fn go() { fit(); fit::Other; }"),
    ];
    assert_eq!(arrows(&files), "user.rs -> fit.rs: Other, fit");
}

#[test]
fn a_function_that_an_import_brings_beside_a_module_counts_where_it_is_called() {
    let root = ("lib.rs", "mod fit; mod user; fn fit() {}");
    let fit = ("fit.rs", "pub struct Other;");
    assert_eq!(arrows(&[root, fit, ("user.rs", "use super::fit; struct S(fit::Other);")]), "user.rs -> fit.rs: Other");
    assert_eq!(arrows(&[root, fit, ("user.rs", "use super::fit; fn go() { fit() }")]), "user.rs -> lib.rs: fit");
}

#[test]
fn imports_that_name_each_other_end() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub use crate::b::*; pub use crate::b::X; pub struct A;"),
        ("b.rs", "pub use crate::a::*; pub use crate::a::X; fn go(a: A) {}"),
    ];
    assert_eq!(arrows(&files), "b.rs -> a.rs: A");
}

#[test]
fn a_name_that_is_nowhere_is_reported() {
    let graph = graph(&[("lib.rs", "mod a;"), ("a.rs", "use crate::Nowhere; use std::fmt;")]);
    assert_eq!(graph.unknown()["a.rs"].iter().collect::<Vec<_>>(), ["crate::Nowhere"]);
}
