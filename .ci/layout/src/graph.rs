//! Arrows between the files of a crate, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};

type Named = BTreeSet<String>;

#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// From a file to the file it depends on, with the names that cause it.
    arrows: BTreeMap<String, BTreeMap<String, Named>>,
    /// Names within the crate that no definition was found for, by the file that names them.
    unknown: BTreeMap<String, Named>,
}

impl Graph {
    pub(crate) fn add(&mut self, from: &str, to: &str, name: &str) {
        if from != to {
            self.arrows.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default().insert(name.to_owned());
        }
    }

    pub(crate) fn add_unknown(&mut self, from: &str, name: String) {
        self.unknown.entry(from.to_owned()).or_default().insert(name);
    }

    pub(crate) fn unknown(&self) -> &BTreeMap<String, Named> {
        &self.unknown
    }

    /// One line an arrow: `calibration.rs -> models/mod.rs: History, LONGEST_WINDOW`.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines_where(|_| true)
    }

    /// The arrows that stay within a circle.
    pub(crate) fn lines_within(&self, circle: &BTreeSet<&str>) -> Vec<String> {
        self.lines_where(|file| circle.contains(file))
    }

    fn lines_where(&self, is_shown: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        for (from, targets) in self.arrows.iter().filter(|(from, _)| is_shown(from)) {
            for (to, names) in targets.iter().filter(|(to, _)| is_shown(to)) {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                lines.push(format!("{from} -> {to}: {}", names.join(", ")));
            }
        }
        lines
    }

    /// Each set of two files or more in which every file leads to every other.
    pub(crate) fn circles(&self) -> Vec<BTreeSet<&str>> {
        let mut search = Search { graph: self, order: BTreeMap::new(), open: Vec::new(), circles: Vec::new() };
        for file in self.arrows.keys() {
            if !search.order.contains_key(file.as_str()) {
                search.visit(file);
            }
        }
        search.circles.sort();
        search.circles
    }
}

/// Tarjan's search for strongly connected components.
struct Search<'a> {
    graph: &'a Graph,
    /// When a file was first reached.
    order: BTreeMap<&'a str, usize>,
    /// Files that belong to no finished component yet.
    open: Vec<&'a str>,
    circles: Vec<BTreeSet<&'a str>>,
}

impl<'a> Search<'a> {
    /// Returns the earliest open file that this one leads to.
    fn visit(&mut self, file: &'a str) -> usize {
        let place = self.order.len();
        self.order.insert(file, place);
        self.open.push(file);
        let mut lowest = place;
        for next in self.graph.arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            match self.order.get(next.as_str()) {
                None => lowest = lowest.min(self.visit(next)),
                Some(&reached) if self.open.contains(&next.as_str()) => lowest = lowest.min(reached),
                Some(_) => {}
            }
        }
        if lowest == place
            && let Some(start) = self.open.iter().position(|&open| open == file)
        {
            let component: BTreeSet<&str> = self.open.drain(start..).collect();
            if component.len() > 1 {
                self.circles.push(component);
            }
        }
        lowest
    }
}
