use super::{arrows, circles, graph};

#[test]
fn files_in_a_line_are_no_circle() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; struct A(B);"),
        ("b.rs", "use crate::c::C; pub struct B(C);"),
        ("c.rs", "pub struct C;"),
    ];
    assert_eq!(arrows(&files), "a.rs -> b.rs: B\nb.rs -> c.rs: C");
    assert!(circles(&files).is_empty());
}

#[test]
fn two_imports_are_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::a::A; pub struct B(Box<A>);"),
    ];
    assert_eq!(circles(&files), ["a.rs b.rs"]);
}

#[test]
fn a_circle_through_a_body_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub fn go() { if true { crate::b::stop(); } }"),
        ("b.rs", "pub fn stop() { loop { let again = || super::a::go(); again() } }"),
    ];
    assert_eq!(arrows(&files), "a.rs -> b.rs: stop\nb.rs -> a.rs: go");
    assert_eq!(circles(&files), ["a.rs b.rs"]);
}

#[test]
fn a_circle_over_three_files_is_found_and_leaves_out_who_only_uses_it() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod user;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use crate::c::C; pub struct B(C);"),
        ("c.rs", "use crate::a::A; pub struct C(Box<A>);"),
        ("user.rs", "use crate::a::A; struct User(A);"),
    ];
    assert_eq!(circles(&files), ["a.rs b.rs c.rs"]);
}

#[test]
fn two_circles_are_told_apart() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c; mod d;"),
        ("a.rs", "use crate::b::B; use crate::c::C; pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B;"),
        ("c.rs", "use crate::d::D; pub struct C;"),
        ("d.rs", "use crate::c::C; pub struct D;"),
    ];
    assert_eq!(circles(&files), ["a.rs b.rs", "c.rs d.rs"]);
}

#[test]
fn a_circle_is_printed_with_the_names_of_its_own_arrows() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::{B, WIDTH}; use crate::c::C; pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B; pub const WIDTH: usize = 1;"),
        ("c.rs", "pub struct C;"),
    ];
    let graph = graph(&files);
    let circle = &graph.circles()[0];
    assert_eq!(graph.lines_within(circle), ["a.rs -> b.rs: B, WIDTH", "b.rs -> a.rs: A"]);
}

#[test]
fn a_child_that_names_its_parents_item_and_is_named_by_it_is_a_circle() {
    let files = [
        ("lib.rs", "mod engine;"),
        ("engine/mod.rs", "mod step; pub struct Engine; impl Engine { fn run(&self) { step::step(self) } }"),
        ("engine/step.rs", "use super::Engine; pub fn step(engine: &Engine) {}"),
    ];
    assert_eq!(circles(&files), ["engine/mod.rs engine/step.rs"]);
}

#[test]
fn a_child_that_names_its_parents_item_is_no_circle_while_the_parent_only_mounts_it() {
    let files = [
        ("lib.rs", "mod engine;"),
        ("engine/mod.rs", "mod step; pub use step::step; pub struct Engine;"),
        ("engine/step.rs", "use super::Engine; pub fn step(engine: &Engine) {}"),
    ];
    assert_eq!(arrows(&files), "engine/step.rs -> engine/mod.rs: Engine");
}

#[test]
fn tests_do_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b; #[cfg(test)] mod both;"),
        (
            "a.rs",
            "use crate::b::B; pub struct A(B);
             #[cfg(all(test, unix))] use crate::b::unix;
             #[cfg(any(test, feature = \"x\"))] use crate::b::sometimes;",
        ),
        (
            "b.rs",
            "pub struct B; pub fn unix() {} pub fn sometimes() {}
             #[cfg(test)] use crate::a::A;
             impl B { #[cfg(test)] fn a() -> crate::a::A { todo() } }
             fn body() { #[cfg(test)] let a = crate::a::A; #[cfg(test)] use crate::a::A; }
             #[test] fn one() { crate::a::A; }
             #[cfg(test)] mod tests { use super::*; use crate::a::A; }",
        ),
        ("both.rs", "use crate::a::A; use crate::b::B;"),
    ];
    assert_eq!(arrows(&files), "a.rs -> b.rs: B, sometimes");
}

#[test]
fn a_file_that_only_tests_mount_need_not_be_there() {
    assert_eq!(arrows(&[("lib.rs", "#[cfg(test)] mod tests; #[cfg(test)] #[path = \"x.rs\"] mod more;")]), "");
}
