//! The Markdown files of the repository: links lead somewhere, and the README stays short.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// Folders that are built or fetched.
const NOT_OURS: [&str; 6] = [".git", ".tools", "target", "models", "data", "shared"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn markdown_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let is_ours = !NOT_OURS.iter().any(|not| name == *not);
        if entry.file_type().unwrap().is_dir() && is_ours {
            markdown_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The text without its blocks of code.
fn prose(markdown: &str) -> String {
    markdown.split("```").step_by(2).collect()
}

/// Targets of `[text](target)` and `src="target"`.
fn links(markdown: &str) -> Vec<String> {
    let text = prose(markdown);
    let after = |opening: &'static str, closing: char| -> Vec<String> {
        let parts = text.split(opening).skip(1).filter_map(|rest| rest.split(closing).next());
        parts.map(|target| target.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    [after("](", ')'), after("src=\"", '"')].concat()
}

/// Names of the headings, as GitHub makes them.
fn anchors(markdown: &str) -> Vec<String> {
    let prose = prose(markdown);
    let titles = prose.lines().filter(|line| line.starts_with('#'));
    let letter = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    titles.map(|title| title.trim_start_matches('#').trim().chars().filter_map(letter).collect()).collect()
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut files = Vec::new();
    markdown_files(&repository(), &mut files);
    assert!(files.len() > 10, "{files:?}");
    let mut broken = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            let has_anchor = || anchors(&std::fs::read_to_string(&target).unwrap()).iter().any(|name| name == anchor);
            if !target.exists() || !anchor.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn links_and_headings_are_found() {
    let text = "# What `a.b` is, to us\n[a](b.md#c) ![d](e.svg \"title\")\n```\n[no](no.md)\n```\n<img src=\"f.png\">";
    assert_eq!(links(text), ["b.md#c", "e.svg", "f.png"]);
    assert_eq!(anchors(text), ["what-ab-is-to-us"]);
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let text = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let words = text.split_whitespace().count();
    assert!(words <= 700, "README.md has {words} words, at most 700 are allowed: move some of it to docs/");
    assert!(!text.lines().any(|line| line.trim_start().starts_with('{')), "raw JSON belongs in docs/reference/");
}
