//! The files of one crate as its trees of modules: one tree for the library and one for each binary.

use std::collections::{BTreeMap, HashMap};

use syn::{Expr, ExprLit, Item, ItemMod, Lit, Meta};

use crate::cfg::{attributes, only_in_tests};
use crate::names::{ModuleId, Names, text};

/// Path of a file, from the crate's folder, to its text.
pub(crate) type Files = BTreeMap<String, String>;

pub(crate) struct Module {
    pub(crate) parent: Option<ModuleId>,
    /// The module of `lib.rs`, `main.rs` or another binary.
    pub(crate) root: ModuleId,
    pub(crate) file: String,
    pub(crate) names: Names,
    /// The code, without its modules and without tests.
    pub(crate) items: Vec<Item>,
}

pub(crate) struct Tree {
    pub(crate) modules: Vec<Module>,
    /// The library's root and the name under which binaries know it.
    pub(crate) library: Option<(String, ModuleId)>,
    /// What could not be read.
    pub(crate) faults: Vec<String>,
    /// The modules that define a macro, by its name.
    macros: HashMap<String, Vec<ModuleId>>,
}

/// Where the files of a module's children are.
#[derive(Clone)]
struct Place {
    /// The folder of `child.rs` and `child/mod.rs`.
    children: String,
    /// The folder that a `#[path]` starts at.
    path_attribute: String,
}

impl Tree {
    /// `library` is the crate's name in paths and its root file; `binaries` are root files.
    pub(crate) fn parse(library: Option<(&str, &str)>, binaries: &[&str], files: &Files) -> Self {
        let mut tree = Self { modules: Vec::new(), library: None, macros: HashMap::new(), faults: Vec::new() };
        if let Some((name, file)) = library {
            let root = tree.add_root(file, files);
            tree.library = Some((name.to_owned(), root));
        }
        for file in binaries {
            tree.add_root(file, files);
        }
        tree
    }

    /// Whether a module lies in another, at any depth, or is the same.
    pub(crate) fn is_within(&self, module: ModuleId, outer: ModuleId) -> bool {
        module == outer || self.modules[module].parent.is_some_and(|parent| self.is_within(parent, outer))
    }

    /// The module whose `macro_rules! name` a module sees without a path: one around it, or the only one of that name.
    pub(crate) fn macro_in_text_scope(&self, name: &str, module: ModuleId) -> Option<ModuleId> {
        let defined_in = self.macros.get(name)?;
        let around = defined_in.iter().find(|outer| self.is_within(module, **outer));
        around.or(if defined_in.len() == 1 { defined_in.first() } else { None }).copied()
    }

    fn add_root(&mut self, file: &str, files: &Files) -> ModuleId {
        let root = self.add(None, file);
        let folder = folder_of(file);
        self.fill_from_file(root, &Place { children: folder.clone(), path_attribute: folder }, files);
        root
    }

    fn add(&mut self, parent: Option<ModuleId>, file: &str) -> ModuleId {
        let id = self.modules.len();
        let root = parent.map_or(id, |parent| self.modules[parent].root);
        self.modules.push(Module { parent, root, file: file.to_owned(), names: Names::default(), items: Vec::new() });
        id
    }

    fn fill_from_file(&mut self, module: ModuleId, place: &Place, files: &Files) {
        let file = &self.modules[module].file;
        let Some(code) = files.get(file) else {
            self.faults.push(format!("{file} is missing"));
            return;
        };
        match syn::parse_file(code) {
            Ok(parsed) if only_in_tests(&parsed.attrs) => {}
            Ok(parsed) => self.fill(module, parsed.items, place, files),
            Err(error) => self.faults.push(format!("{file} is not Rust: {error}")),
        }
    }

    fn fill(&mut self, module: ModuleId, items: Vec<Item>, place: &Place, files: &Files) {
        for item in items {
            if only_in_tests(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(child) => self.add_child(module, child, place, files),
                item => {
                    for child in modules_of_call(&item) {
                        self.add_child(module, child, place, files);
                    }
                    self.modules[module].names.add(&item);
                    self.add_macro(module, &item);
                    self.modules[module].items.push(item);
                }
            }
        }
    }

    fn add_child(&mut self, parent: ModuleId, child: ItemMod, place: &Place, files: &Files) {
        let name = text(&child.ident);
        let path_attribute = path_attribute(&child);
        let parent_file = self.modules[parent].file.clone();
        let id;
        if let Some((_, items)) = child.content {
            id = self.add(Some(parent), &parent_file);
            let folder = join(&place.children, path_attribute.as_deref().unwrap_or(&name));
            self.fill(id, items, &Place { children: folder.clone(), path_attribute: folder }, files);
        } else {
            let found = if let Some(path) = path_attribute {
                let file = join(&place.path_attribute, &path);
                files.contains_key(&file).then(|| (folder_of(&file), file))
            } else {
                let folder = join(&place.children, &name);
                [format!("{folder}.rs"), join(&folder, "mod.rs")]
                    .into_iter()
                    .find(|file| files.contains_key(file))
                    .map(|file| (folder, file))
            };
            let Some((children, file)) = found else {
                self.faults.push(format!("{parent_file}: no file for `mod {name};`"));
                return;
            };
            if self.is_mounted_above(parent, &file) {
                self.faults.push(format!("{file} mounts itself"));
                return;
            }
            id = self.add(Some(parent), &file);
            self.fill_from_file(id, &Place { children, path_attribute: folder_of(&file) }, files);
        }
        self.modules[parent].names.children.entry(name).or_default().push(id);
    }

    fn is_mounted_above(&self, module: ModuleId, file: &str) -> bool {
        let module = &self.modules[module];
        module.file == file || module.parent.is_some_and(|parent| self.is_mounted_above(parent, file))
    }

    fn add_macro(&mut self, module: ModuleId, item: &Item) {
        let Item::Macro(item) = item else { return };
        let Some(name) = &item.ident else { return };
        self.macros.entry(text(name)).or_default().push(module);
        // `#[macro_export]` puts a macro into the root, wherever it stands.
        let root = self.modules[module].root;
        if root != module && item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) {
            self.modules[root].names.exported_macros.insert(text(name), module);
        }
    }
}

/// The modules that a macro call at item level declares: `rules! { mod fcfs; }`.
fn modules_of_call(item: &Item) -> Vec<ItemMod> {
    let Item::Macro(call) = item else { return Vec::new() };
    if call.ident.is_some() {
        return Vec::new();
    }
    let tokens: Vec<String> = call.mac.tokens.clone().into_iter().map(|token| token.to_string()).collect();
    let declarations = tokens.windows(3).filter(|window| window[0] == "mod" && window[2] == ";");
    declarations.filter_map(|window| syn::parse_str(&format!("mod {};", window[1])).ok()).collect()
}

/// The value of `#[path = "..."]`.
fn path_attribute(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(value), .. }) => Some(value.value()),
            _ => None,
        },
        _ => None,
    })
}

fn folder_of(file: &str) -> String {
    file.rsplit_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned())
}

/// `a/b` and `../c.rs` give `a/c.rs`.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
