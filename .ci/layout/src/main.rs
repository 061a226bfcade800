//! Checks the layout of the workspace: no circles among the files of a crate, and between crates only the arrows of
//! `arrows.rs`. `make lint` runs it.
//!
//! # Layout
//! - `workspace`: asks cargo for the crates and reads their files
//! - `source`: parses the files of one crate into its tree of modules
//! - `names`: what a module or block defines and imports
//! - `resolve`: finds the module that defines what a path names
//! - `mentions`: walks the code of a module and collects the paths that it names, with the help of
//!   `locals` and `tokens`
//! - `graph`: arrows between files, and the circles among them
//! - `arrows`: which crate may depend on which

mod arrows;
mod cfg;
mod graph;
mod locals;
mod mentions;
mod names;
mod resolve;
mod source;
mod tokens;
mod workspace;

#[cfg(test)]
mod tests;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const HELP: &str = "\
Checks the layout of the workspace that the current folder is in. Exits with 1 if it finds a fault.

  eoscast-layout                check files and crates
  eoscast-layout --graph CRATE  print which file of CRATE depends on which, and the names that cause it

File A depends on file B if A names an item that B defines: in `use`, in bodies, types, attributes and macros.
A re-export counts for the file that defines the item. These do not count: `mod x;`, `pub use` of a child by its
parent, tests. Calls of methods on values are not seen. Between crates, .ci/layout/src/arrows.rs says what is allowed.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => check(),
        ["--graph", name] => graph_of(name).map(|lines| (lines, true)),
        ["--help" | "-h"] => Ok((vec![HELP.to_owned()], true)),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    let (lines, is_right) = result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        (Vec::new(), false)
    });
    for line in lines {
        // A reader such as `head` may close the pipe.
        if writeln!(std::io::stdout(), "{line}").is_err() {
            break;
        }
    }
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every fault, and whether there is none.
fn check() -> Result<(Vec<String>, bool)> {
    let crates = workspace::crates()?;
    let mut lines = arrows::faults(crates.iter().map(|checked| (checked.name.as_str(), &checked.depends_on)));
    // Parsing is most of the work.
    let graphs: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = crates.iter().map(|checked| scope.spawn(|| checked.graph())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked"))).collect()
    });
    for (checked, read) in crates.iter().zip(graphs) {
        let (graph, faults) = read?;
        lines.extend(faults);
        for circle in graph.circles() {
            lines.push(format!("{} ({}): a circle of {} files", checked.name, checked.folder, circle.len()));
            lines.extend(graph.lines_within(&circle).into_iter().map(|line| format!("  {line}")));
        }
    }
    let is_right = lines.is_empty();
    Ok((lines, is_right))
}

fn graph_of(name: &str) -> Result<Vec<String>> {
    let crates = workspace::crates()?;
    let full = format!("eoscast-{name}");
    let checked = crates
        .iter()
        .find(|known| known.name == name || known.name == full)
        .with_context(|| format!("no crate `{name}` in this workspace"))?;
    let (graph, faults) = checked.graph()?;
    for fault in faults {
        eprintln!("{fault}");
    }
    for (file, names) in graph.unknown() {
        eprintln!("not found, named in {file}: {}", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    }
    Ok(graph.lines())
}
