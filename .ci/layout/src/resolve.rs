//! Finds what a path names.

use crate::names::{Import, ModuleId, Names, Namespace, Path};
use crate::source::Tree;

/// What a path names, within the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(ModuleId),
    Item { defined_in: ModuleId, name: String },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Resolved {
    /// More than one where `cfg` chooses.
    Found(Vec<Target>),
    /// Another crate, or a type parameter.
    Outside,
    Unknown,
}

/// Where a path stands.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) module: ModuleId,
    /// The names of the blocks around it, the outermost first.
    pub(crate) blocks: &'a [Names],
}

impl Scope<'static> {
    fn of(module: ModuleId) -> Self {
        Self { module, blocks: &[] }
    }
}

/// A module, or the block at a depth.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Module(ModuleId),
    Block(usize),
}

/// Names being looked up, so that imports that name each other end.
type Open = Vec<(Place, String, Namespace)>;

impl Tree {
    pub(crate) fn resolve(&self, scope: Scope<'_>, path: &Path, namespace: Namespace) -> Resolved {
        self.resolve_within(scope, path, namespace, &mut Open::new())
    }

    fn resolve_within(&self, scope: Scope<'_>, path: &Path, namespace: Namespace, open: &mut Open) -> Resolved {
        let Some((first, rest)) = path.segments.split_first() else {
            return Resolved::Unknown;
        };
        let namespace_at = |left: usize| if left == 0 { namespace } else { Namespace::Type };
        let mut targets = if path.is_absolute {
            match self.library_named(first) {
                Some(root) => vec![Target::Module(root)],
                None => return Resolved::Outside,
            }
        } else {
            match self.first_segment(scope, first, namespace_at(rest.len()), open) {
                Resolved::Found(targets) => targets,
                other => return other,
            }
        };
        for (at, segment) in rest.iter().enumerate() {
            let namespace = namespace_at(rest.len() - at - 1);
            let mut next = Vec::new();
            let mut is_outside = false;
            for target in targets {
                match target {
                    // Of a type only associated items and variants can be named: they are where the type is.
                    Target::Item { .. } => next.push(target),
                    Target::Module(module) if segment == "super" => {
                        next.extend(self.modules[module].parent.map(Target::Module));
                    }
                    Target::Module(module) => match self.in_module(module, module, segment, namespace, open) {
                        Resolved::Found(found) => next.extend(found),
                        Resolved::Outside => is_outside = true,
                        Resolved::Unknown => {}
                    },
                }
            }
            if next.is_empty() {
                return if is_outside { Resolved::Outside } else { Resolved::Unknown };
            }
            targets = next;
        }
        Resolved::Found(targets)
    }

    fn first_segment(&self, scope: Scope<'_>, name: &str, namespace: Namespace, open: &mut Open) -> Resolved {
        match name {
            "crate" => return Resolved::Found(vec![Target::Module(self.modules[scope.module].root)]),
            "self" => return Resolved::Found(vec![Target::Module(scope.module)]),
            "super" => {
                return match self.modules[scope.module].parent {
                    Some(parent) => Resolved::Found(vec![Target::Module(parent)]),
                    None => Resolved::Unknown,
                };
            }
            // The `impl` names the type already.
            "Self" => return Resolved::Outside,
            _ => {}
        }
        for depth in (0..scope.blocks.len()).rev() {
            let around = Scope { module: scope.module, blocks: &scope.blocks[..=depth] };
            let found =
                self.in_names((Place::Block(depth), &scope.blocks[depth], around), scope.module, name, namespace, open);
            if found != Resolved::Unknown {
                return found;
            }
        }
        match self.in_module(scope.module, scope.module, name, namespace, open) {
            Resolved::Unknown => match self.library_named(name) {
                Some(root) if root != self.modules[scope.module].root && namespace == Namespace::Type => {
                    Resolved::Found(vec![Target::Module(root)])
                }
                _ => Resolved::Outside,
            },
            found => found,
        }
    }

    fn library_named(&self, name: &str) -> Option<ModuleId> {
        self.library.as_ref().filter(|(library, _)| library == name).map(|(_, root)| *root)
    }

    /// `from` is the module that names it, which decides what it may see.
    fn in_module(
        &self,
        module: ModuleId,
        from: ModuleId,
        name: &str,
        namespace: Namespace,
        open: &mut Open,
    ) -> Resolved {
        let names = &self.modules[module].names;
        self.in_names((Place::Module(module), names, Scope::of(module)), from, name, namespace, open)
    }

    fn in_names(
        &self,
        (place, names, scope): (Place, &Names, Scope<'_>),
        from: ModuleId,
        name: &str,
        namespace: Namespace,
        open: &mut Open,
    ) -> Resolved {
        let key = (place, name.to_owned(), namespace);
        if open.contains(&key) {
            return Resolved::Unknown;
        }
        open.push(key);
        let resolved = self.in_open_names(names, scope, from, name, namespace, open);
        open.pop();
        resolved
    }

    fn in_open_names(
        &self,
        names: &Names,
        scope: Scope<'_>,
        from: ModuleId,
        name: &str,
        namespace: Namespace,
        open: &mut Open,
    ) -> Resolved {
        let item = |defined_in| Target::Item { defined_in, name: name.to_owned() };
        let mut found = Vec::new();
        let mut is_outside = false;
        for definition in names.definitions.get(name).into_iter().flatten() {
            if definition.namespaces.contains(&namespace) {
                push_new(&mut found, item(scope.module));
            }
        }
        if namespace == Namespace::Type {
            for &child in names.children.get(name).into_iter().flatten() {
                push_new(&mut found, Target::Module(child));
            }
        }
        if namespace == Namespace::Macro
            && let Some(&module) = names.exported_macros.get(name)
        {
            push_new(&mut found, item(module));
        }
        for import in names.imports.get(name).into_iter().flatten() {
            if !import.is_reexport && !self.is_within(from, scope.module) {
                continue;
            }
            match self.resolve_within(scope, &import.path, namespace, open) {
                Resolved::Found(targets) => targets.into_iter().for_each(|target| push_new(&mut found, target)),
                Resolved::Outside => is_outside = true,
                Resolved::Unknown => {}
            }
        }
        if !found.is_empty() {
            return Resolved::Found(found);
        }
        if is_outside {
            return Resolved::Outside;
        }
        for glob in &names.globs {
            found.extend(self.through_glob(glob, scope, from, name, namespace, open));
        }
        if found.is_empty() && names.by_macro.iter().any(|given| given == name) {
            found.push(item(scope.module));
        }
        if found.is_empty() { Resolved::Unknown } else { Resolved::Found(found) }
    }

    fn through_glob(
        &self,
        glob: &Import,
        scope: Scope<'_>,
        from: ModuleId,
        name: &str,
        namespace: Namespace,
        open: &mut Open,
    ) -> Vec<Target> {
        if !glob.is_reexport && !self.is_within(from, scope.module) {
            return Vec::new();
        }
        let Resolved::Found(sources) = self.resolve_within(scope, &glob.path, Namespace::Type, open) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for source in sources {
            match source {
                Target::Module(module) => {
                    if let Resolved::Found(targets) = self.in_module(module, from, name, namespace, open) {
                        targets.into_iter().for_each(|target| push_new(&mut found, target));
                    }
                }
                Target::Item { defined_in, name: of } => {
                    let definitions = self.modules[defined_in].names.definitions.get(&of);
                    let has_variant =
                        definitions.into_iter().flatten().any(|item| item.variants.iter().any(|known| known == name));
                    if has_variant && namespace != Namespace::Macro {
                        push_new(&mut found, Target::Item { defined_in, name: of });
                    }
                }
            }
        }
        found
    }
}

fn push_new(found: &mut Vec<Target>, target: Target) {
    if !found.contains(&target) {
        found.push(target);
    }
}
