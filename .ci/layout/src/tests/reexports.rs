use super::arrows;

#[test]
fn a_reexport_counts_for_the_file_that_defines_the_item() {
    let files = [
        ("lib.rs", "mod models; mod user;"),
        ("models/mod.rs", "mod artifact; pub use artifact::Artifact; pub struct Own;"),
        ("models/artifact.rs", "pub struct Artifact;"),
        ("user.rs", "use crate::models::Artifact; fn load() -> Artifact { crate::models::Artifact }"),
    ];
    assert_eq!(arrows(&files), "user.rs -> models/artifact.rs: Artifact");
}

#[test]
fn a_chain_of_reexports_is_followed_through_globs_and_new_names() {
    let files = [
        ("lib.rs", "mod a; mod user; pub use a::Renamed;"),
        ("a/mod.rs", "mod b; pub(crate) use b::*;"),
        ("a/b/mod.rs", "mod c; pub(in crate::a) use c::Deep as Renamed;"),
        ("a/b/c.rs", "pub struct Deep;"),
        ("user.rs", "use crate::Renamed as Mine;"),
    ];
    assert_eq!(arrows(&files), "user.rs -> a/b/c.rs: Deep");
}

#[test]
fn a_parent_that_uses_what_it_reexports_depends_on_it() {
    let files = [
        ("lib.rs", "mod models;"),
        ("models/mod.rs", "mod artifact; pub use artifact::Artifact; fn load() -> Artifact { todo() }"),
        ("models/artifact.rs", "pub struct Artifact;"),
    ];
    assert_eq!(arrows(&files), "models/mod.rs -> models/artifact.rs: Artifact");
}

#[test]
fn a_private_import_of_a_child_counts() {
    let files = [
        ("lib.rs", "mod models;"),
        ("models/mod.rs", "mod artifact; mod other; use artifact::Artifact; pub(self) use other::Other;"),
        ("models/artifact.rs", "pub struct Artifact;"),
        ("models/other.rs", "pub struct Other;"),
    ];
    assert_eq!(
        arrows(&files),
        "models/mod.rs -> models/artifact.rs: Artifact\nmodels/mod.rs -> models/other.rs: Other"
    );
}

#[test]
fn a_reexport_of_something_that_is_no_child_counts() {
    let files = [("lib.rs", "mod a; mod b;"), ("a.rs", "pub use crate::b::B;"), ("b.rs", "pub struct B;")];
    assert_eq!(arrows(&files), "a.rs -> b.rs: B");
}

#[test]
fn a_child_may_name_what_its_parent_imports() {
    let files = [
        ("lib.rs", "mod engine; mod view;"),
        ("engine/mod.rs", "mod step; use crate::view::View;"),
        ("engine/step.rs", "use super::View; fn see(view: View) {}"),
        ("view.rs", "pub struct View;"),
    ];
    assert_eq!(arrows(&files), "engine/mod.rs -> view.rs: View\nengine/step.rs -> view.rs: View");
}
