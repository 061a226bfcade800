//! What a module or a block defines and imports.

use std::collections::HashMap;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::{Fields, Ident, Item, ItemUse, UseTree, Visibility};

pub(crate) type ModuleId = usize;

/// Rust keeps these apart: a function may have the name of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Namespace {
    Type,
    Value,
    Macro,
}

impl Namespace {
    pub(crate) const ALL: [Self; 3] = [Self::Type, Self::Value, Self::Macro];
}

#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) namespaces: &'static [Namespace],
    /// Of an enum.
    pub(crate) variants: Vec<String>,
}

/// One leaf of a `use` declaration.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) path: Path,
    /// The name under which the module knows it; none for `as _` and for a glob.
    pub(crate) binding: Option<String>,
    pub(crate) is_glob: bool,
    /// Whether others can name it through this module.
    pub(crate) is_reexport: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// Starts with `::`, so the first segment is another crate.
    pub(crate) is_absolute: bool,
}

impl Path {
    pub(crate) fn of(path: &syn::Path) -> Self {
        let segments = path.segments.iter().map(|segment| text(&segment.ident)).collect();
        Self { segments, is_absolute: path.leading_colon.is_some() }
    }

    pub(crate) fn single(name: &str) -> Self {
        Self { segments: vec![name.to_owned()], is_absolute: false }
    }
}

/// The names that one module or block brings into scope.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) definitions: HashMap<String, Vec<Definition>>,
    pub(crate) children: HashMap<String, Vec<ModuleId>>,
    pub(crate) imports: HashMap<String, Vec<Import>>,
    pub(crate) globs: Vec<Import>,
    /// Only in a root: the macros with `#[macro_export]` of its modules.
    pub(crate) exported_macros: HashMap<String, ModuleId>,
    /// Names that a macro call at item level was given and may define: `id_type!(RequestId)`.
    pub(crate) by_macro: Vec<String>,
}

impl Names {
    pub(crate) fn add(&mut self, item: &Item) {
        use Namespace::{Macro, Type, Value};
        match item {
            Item::Const(item) => self.define(&item.ident, &[Value]),
            Item::Enum(item) => {
                let variants = item.variants.iter().map(|variant| text(&variant.ident)).collect();
                self.insert(text(&item.ident), Definition { namespaces: &[Type], variants });
            }
            Item::Fn(item) => self.define(&item.sig.ident, &[Value]),
            Item::Macro(item) => match &item.ident {
                Some(name) => self.define(name, &[Macro]),
                None => self.by_macro.extend(names_given(&item.mac.tokens)),
            },
            Item::Static(item) => self.define(&item.ident, &[Value]),
            Item::Struct(item) => match item.fields {
                Fields::Named(_) => self.define(&item.ident, &[Type]),
                Fields::Unnamed(_) | Fields::Unit => self.define(&item.ident, &[Type, Value]),
            },
            Item::Trait(item) => self.define(&item.ident, &[Type]),
            Item::TraitAlias(item) => self.define(&item.ident, &[Type]),
            Item::Type(item) => self.define(&item.ident, &[Type]),
            Item::Union(item) => self.define(&item.ident, &[Type]),
            Item::Use(item) => {
                for import in imports_of(item) {
                    self.add_import(import);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn insert(&mut self, name: String, definition: Definition) {
        self.definitions.entry(name).or_default().push(definition);
    }

    fn define(&mut self, name: &Ident, namespaces: &'static [Namespace]) {
        self.insert(text(name), Definition { namespaces, variants: Vec::new() });
    }

    fn add_import(&mut self, import: Import) {
        if import.is_glob {
            self.globs.push(import);
        } else if let Some(name) = import.binding.clone() {
            self.imports.entry(name).or_default().push(import);
        }
    }
}

/// The leaves of a `use` declaration.
pub(crate) fn imports_of(item: &ItemUse) -> Vec<Import> {
    let is_reexport = match &item.vis {
        Visibility::Public(_) => true,
        Visibility::Restricted(restricted) => !restricted.path.is_ident("self"),
        Visibility::Inherited => false,
    };
    let root = Path { segments: Vec::new(), is_absolute: item.leading_colon.is_some() };
    let mut leaves = Vec::new();
    collect(&item.tree, root, is_reexport, &mut leaves);
    leaves
}

fn collect(tree: &UseTree, mut path: Path, is_reexport: bool, leaves: &mut Vec<Import>) {
    match tree {
        UseTree::Path(step) => {
            path.segments.push(text(&step.ident));
            collect(&step.tree, path, is_reexport, leaves);
        }
        UseTree::Name(leaf) => {
            push_leaf(&mut path, &text(&leaf.ident));
            let binding = path.segments.last().cloned();
            leaves.push(Import { path, binding, is_glob: false, is_reexport });
        }
        UseTree::Rename(leaf) => {
            push_leaf(&mut path, &text(&leaf.ident));
            let binding = Some(text(&leaf.rename)).filter(|name| name != "_");
            leaves.push(Import { path, binding, is_glob: false, is_reexport });
        }
        UseTree::Glob(_) => leaves.push(Import { path, binding: None, is_glob: true, is_reexport }),
        UseTree::Group(group) => {
            for part in &group.items {
                collect(part, path.clone(), is_reexport, leaves);
            }
        }
    }
}

/// `a::{self}` names `a`.
fn push_leaf(path: &mut Path, name: &str) {
    if name != "self" || path.segments.is_empty() {
        path.segments.push(name.to_owned());
    }
}

/// The names that a macro call at item level may define: those after `struct`, `fn` and so on, else all at its top.
fn names_given(tokens: &TokenStream) -> Vec<String> {
    let mut named = Vec::new();
    let mut all = Vec::new();
    let mut after_keyword = false;
    for token in tokens.clone() {
        match token {
            TokenTree::Ident(word) => {
                let word = text(&word);
                if after_keyword && word != "mut" {
                    named.push(word.clone());
                }
                after_keyword = is_item_keyword(&word) || (after_keyword && word == "mut");
                all.push(word);
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::None => all.extend(names_given(&group.stream())),
            _ => after_keyword = false,
        }
    }
    if named.is_empty() { all } else { named }
}

pub(crate) fn is_item_keyword(word: &str) -> bool {
    matches!(word, "struct" | "enum" | "union" | "fn" | "const" | "static" | "trait" | "type" | "mod" | "macro_rules")
}

/// The name without `r#`.
pub(crate) fn text(name: &Ident) -> String {
    name.unraw().to_string()
}
