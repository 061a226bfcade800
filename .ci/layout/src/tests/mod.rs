//! Small crates, written as text, and what the check finds in them.

mod circles;
mod crates;
mod macros;
mod modules;
mod paths;
mod reexports;

use crate::graph::Graph;
use crate::mentions::graph_of;
use crate::source::{Files, Tree};

/// The graph of a library `house` made of files; the first is its root.
fn graph(files: &[(&str, &str)]) -> Graph {
    let texts: Files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let tree = Tree::parse(Some(("house", files[0].0)), &[], &texts);
    assert!(tree.faults.is_empty(), "{:?}", tree.faults);
    graph_of(&tree)
}

/// Its arrows, one a line.
fn arrows(files: &[(&str, &str)]) -> String {
    graph(files).lines().join("\n")
}

/// Its circles, each as the files joined by a space.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let graph = graph(files);
    graph.circles().into_iter().map(|circle| circle.into_iter().collect::<Vec<_>>().join(" ")).collect()
}
