//! The crates of the workspace, as cargo knows them, and their files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::graph::Graph;
use crate::mentions::graph_of;
use crate::source::{Files, Tree};

#[derive(Debug)]
pub(crate) struct Crate {
    pub(crate) name: String,
    /// Of its sources, from the workspace's root.
    pub(crate) folder: String,
    /// The crates of this workspace that it needs outside of tests.
    pub(crate) depends_on: BTreeSet<String>,
    source_folder: PathBuf,
    /// The name in paths and the root file, from the source folder.
    library: Option<(String, String)>,
    binaries: Vec<String>,
}

impl Crate {
    /// Also returns what could not be read.
    pub(crate) fn graph(&self) -> Result<(Graph, Vec<String>)> {
        let mut files = Files::new();
        read_files(&self.source_folder, "", &mut files)?;
        let library = self.library.as_ref().map(|(name, file)| (name.as_str(), file.as_str()));
        let binaries: Vec<&str> = self.binaries.iter().map(String::as_str).collect();
        let tree = Tree::parse(library, &binaries, &files);
        let graph = graph_of(&tree);
        Ok((graph, tree.faults.iter().map(|fault| format!("{}/{fault}", self.folder)).collect()))
    }
}

/// Asks cargo for the workspace of the current folder.
pub(crate) fn crates() -> Result<Vec<Crate>> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    Ok(packages.iter().map(|package| parse(package, Path::new(root), &names)).collect())
}

fn parse(package: &Value, root: &Path, names: &BTreeSet<&str>) -> Crate {
    let name = package["name"].as_str().unwrap_or_default().to_owned();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let source_folder = manifest.parent().unwrap_or(root).join("src");
    let is_normal = |dependency: &&Value| dependency["kind"].is_null();
    let depends_on = list(&package["dependencies"])
        .iter()
        .filter(is_normal)
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|other| names.contains(other) && *other != name)
        .map(str::to_owned)
        .collect();
    let mut library = None;
    let mut binaries = Vec::new();
    for target in list(&package["targets"]) {
        let Ok(file) = Path::new(target["src_path"].as_str().unwrap_or_default()).strip_prefix(&source_folder) else {
            continue;
        };
        let file = file.to_string_lossy().into_owned();
        let is_kind = |wanted: &str| list(&target["kind"]).iter().any(|kind| kind == wanted);
        if is_kind("bin") {
            binaries.push(file);
        } else if is_kind("lib") || is_kind("rlib") || is_kind("proc-macro") {
            let name = target["name"].as_str().unwrap_or_default().replace('-', "_");
            library = Some((name, file));
        }
    }
    let folder = source_folder.strip_prefix(root).unwrap_or(&source_folder).to_string_lossy().into_owned();
    Crate { name, folder, depends_on, source_folder, library, binaries }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Reads all Rust files of a folder and of those in it.
fn read_files(folder: &Path, prefix: &str, files: &mut Files) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_files(&entry.path(), &format!("{name}/"), files)?;
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).with_context(|| name.clone())?;
            files.insert(name, text);
        }
    }
    Ok(())
}
