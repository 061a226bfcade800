use super::arrows;
use crate::mentions::graph_of;
use crate::source::{Files, Tree};

#[test]
fn both_places_of_a_modules_file_are_known() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod child; pub struct A;"),
        ("a/child.rs", "mod deep; use super::A;"),
        ("a/child/deep.rs", "use super::super::A; use crate::b::inner::Inner;"),
        ("b/mod.rs", "pub mod inner;"),
        ("b/inner.rs", "pub struct Inner;"),
    ];
    assert_eq!(
        arrows(&files),
        "a/child.rs -> a.rs: A\na/child/deep.rs -> a.rs: A\na/child/deep.rs -> b/inner.rs: Inner"
    );
}

#[test]
fn a_path_attribute_is_followed() {
    let files = [
        ("lib.rs", "mod a; #[path = \"elsewhere/named.rs\"] mod b;"),
        ("a.rs", "#[path = \"shared.rs\"] mod own; use crate::b::B; fn go() { own::share() }"),
        ("shared.rs", "pub fn share() {}"),
        ("elsewhere/named.rs", "mod next; pub struct B;"),
        ("elsewhere/next.rs", "use super::B;"),
    ];
    assert_eq!(
        arrows(&files),
        "a.rs -> elsewhere/named.rs: B\na.rs -> shared.rs: share\nelsewhere/next.rs -> elsewhere/named.rs: B"
    );
}

#[test]
fn an_inline_module_belongs_to_its_file() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub mod inner { mod file; use super::Outer; pub struct Inner(Outer, crate::b::B); } struct Outer;"),
        ("a/inner/file.rs", "use super::super::Outer;"),
        ("b.rs", "pub struct B;"),
    ];
    assert_eq!(arrows(&files), "a.rs -> b.rs: B\na/inner/file.rs -> a.rs: Outer");
}

#[test]
fn a_binary_names_its_library() {
    let files: Files = [
        ("lib.rs", "pub mod cli; pub use cli::Cli;"),
        ("cli.rs", "pub struct Cli; pub fn run() {}"),
        ("main.rs", "mod own; use house::Cli; fn main() { house::cli::run(); own::go() }"),
        ("own.rs", "pub fn go() {}"),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect();
    let tree = Tree::parse(Some(("house", "lib.rs")), &["main.rs"], &files);
    assert_eq!(graph_of(&tree).lines(), ["main.rs -> cli.rs: Cli, run", "main.rs -> own.rs: go"]);
}

#[test]
fn both_files_that_a_cfg_chooses_from_count() {
    let files = [
        (
            "lib.rs",
            "#[cfg(unix)] #[path = \"unix.rs\"] mod os; #[cfg(not(unix))] #[path = \"other.rs\"] mod os; mod a;",
        ),
        ("unix.rs", "pub fn go() {}"),
        ("other.rs", "pub fn go() {}"),
        ("a.rs", "fn run() { crate::os::go() }"),
    ];
    assert_eq!(arrows(&files), "a.rs -> other.rs: go\na.rs -> unix.rs: go");
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_count() {
    let files: Files = [
        ("lib.rs", "mod gone; mod broken; mod a; mod b;"),
        ("broken.rs", "fn fn"),
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "pub struct B;"),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .collect();
    let tree = Tree::parse(Some(("house", "lib.rs")), &[], &files);
    assert_eq!(tree.faults[0], "lib.rs: no file for `mod gone;`");
    assert!(tree.faults[1].starts_with("broken.rs is not Rust: "));
    assert_eq!(graph_of(&tree).lines(), ["a.rs -> b.rs: B"]);
}
