//! Walks the code of each module and records which files define the names in it.

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Macro, Meta, Pat, QSelf, Stmt, Token};

use crate::cfg::{attributes, only_in_tests};
use crate::graph::Graph;
use crate::locals::Locals;
use crate::names::{Import, ModuleId, Names, Namespace, Path, imports_of, text};
use crate::resolve::{Resolved, Scope, Target};
use crate::source::Tree;
use crate::tokens::{self, Word};

/// Which file of a crate depends on which.
pub(crate) fn graph_of(tree: &Tree) -> Graph {
    let mut graph = Graph::default();
    for (module, content) in tree.modules.iter().enumerate() {
        let mut reader =
            Reader { tree, module, blocks: Vec::new(), locals: Locals::default(), in_macro: false, graph: &mut graph };
        for item in &content.items {
            reader.visit_item(item);
        }
    }
    graph
}

struct Reader<'a> {
    tree: &'a Tree,
    module: ModuleId,
    /// Names of the blocks around the place being read.
    blocks: Vec<Names>,
    locals: Locals,
    in_macro: bool,
    graph: &'a mut Graph,
}

impl Reader<'_> {
    fn within(&mut self, read: impl FnOnce(&mut Self)) {
        self.locals.enter();
        read(self);
        self.locals.leave();
    }

    fn resolve(&self, path: &Path, namespace: Namespace) -> Resolved {
        let scope = Scope { module: self.module, blocks: &self.blocks };
        self.tree.resolve(scope, path, namespace)
    }

    /// Records what a path names in one of the namespaces.
    fn mention(&mut self, path: &Path, namespaces: &[Namespace]) {
        let Some(first) = path.segments.first() else { return };
        let is_single = path.segments.len() == 1;
        if !path.is_absolute {
            let is_variable = is_single && namespaces.contains(&Namespace::Value) && self.locals.is_variable(first);
            if is_variable || self.locals.is_type_parameter(first) {
                return;
            }
        }
        let mut is_unknown = true;
        for &namespace in namespaces {
            match self.resolve(path, namespace) {
                Resolved::Found(targets) => {
                    is_unknown = false;
                    targets.iter().for_each(|target| self.record(target));
                }
                Resolved::Outside => is_unknown = false,
                Resolved::Unknown => {}
            }
        }
        if is_unknown {
            self.graph.add_unknown(&self.tree.modules[self.module].file, path.segments.join("::"));
        }
    }

    fn record(&mut self, target: &Target) {
        if let Target::Item { defined_in, name } = target {
            let files = &self.tree.modules;
            self.graph.add(&files[self.module].file, &files[*defined_in].file, name);
        }
    }

    fn mention_path(&mut self, path: &syn::Path, namespace: Namespace) {
        self.mention(&Path::of(path), &[namespace]);
        // Types in angle brackets.
        visit::visit_path(self, path);
    }

    /// `<Type as Trait>::name` names the type and the trait.
    fn mention_qualified(&mut self, qualifier: &QSelf, path: &syn::Path) {
        let mut trait_path = Path::of(path);
        trait_path.segments.truncate(qualifier.position);
        self.mention(&trait_path, &[Namespace::Type]);
        self.visit_type(&qualifier.ty);
        visit::visit_path(self, path);
    }

    fn mention_import(&mut self, import: &Import) {
        if import.is_reexport && self.is_of_child(import) {
            return;
        }
        if import.is_glob {
            self.mention(&import.path, &[Namespace::Type]);
            return;
        }
        // A module counts for what the code names in it. A function of the same name counts where the code calls it.
        let is_module = matches!(
            self.resolve(&import.path, Namespace::Type),
            Resolved::Found(targets) if targets.iter().any(|target| matches!(target, Target::Module(_)))
        );
        if !is_module {
            self.mention(&import.path, &Namespace::ALL);
        }
    }

    /// Whether an import names a child of this module or what lies in one.
    fn is_of_child(&self, import: &Import) -> bool {
        let mut path = import.path.clone();
        if !import.is_glob {
            path.segments.pop();
        }
        let is_below = |target: &Target| match target {
            Target::Module(module) | Target::Item { defined_in: module, .. } => {
                *module != self.module && self.tree.is_within(*module, self.module)
            }
        };
        let resolved = self.resolve(&path, Namespace::Type);
        matches!(resolved, Resolved::Found(targets) if targets.iter().any(is_below))
    }

    fn mention_words(&mut self, words: &[Word]) {
        for word in words {
            match word {
                Word::Path(path) => self.mention(path, &Namespace::ALL),
                Word::Macro(path) => self.mention_macro(path),
                Word::Text(format) => self.mention_captured(format),
            }
        }
    }

    fn mention_captured(&mut self, format: &str) {
        for name in tokens::captured(format) {
            self.mention(&Path::single(&name), &[Namespace::Value]);
        }
    }

    fn mention_macro(&mut self, path: &Path) {
        let is_single = path.segments.len() == 1 && !path.is_absolute;
        if is_single && matches!(self.resolve(path, Namespace::Macro), Resolved::Outside | Resolved::Unknown) {
            if let Some(defined_in) = self.tree.macro_in_text_scope(&path.segments[0], self.module) {
                self.record(&Target::Item { defined_in, name: path.segments[0].clone() });
            }
        } else {
            self.mention(path, &[Namespace::Macro]);
        }
    }

    /// Reads tokens as the arguments of most macros; `false` if they are something else.
    fn read_as_expressions(&mut self, mac: &Macro) -> bool {
        let parsed = mac
            .parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated)
            .map(|all| (all.into_iter().collect(), None))
            .or_else(|_| mac.parse_body_with(repeated))
            .or_else(|_| mac.parse_body_with(matched));
        let Ok((expressions, pattern)) = parsed else { return false };
        self.within(|reader| {
            // `format!("{width}", width = 3)` gives a name to its argument.
            for expression in &expressions {
                if let Expr::Assign(assignment) = expression
                    && let Expr::Path(left) = &*assignment.left
                    && let Some(name) = left.path.get_ident()
                {
                    reader.locals.bind(text(name));
                }
            }
            let (before, guard) = expressions.split_at(if pattern.is_some() { 1 } else { expressions.len() });
            before.iter().for_each(|expression| reader.visit_expr(expression));
            if let Some(pattern) = &pattern {
                reader.visit_pat(pattern);
            }
            guard.iter().for_each(|expression| reader.visit_expr(expression));
        });
        true
    }

    /// Serde takes paths as text: `#[serde(default = "path")]`.
    fn mention_serde_words(&mut self, words: &[Word]) {
        for word in words {
            let Word::Text(value) = word else { continue };
            let Ok(path) = syn::parse_str::<syn::Path>(value) else { continue };
            let path = Path::of(&path);
            // `with` names a module and means these two of it.
            for namespace in Namespace::ALL {
                let Resolved::Found(targets) = self.resolve(&path, namespace) else { continue };
                for target in targets {
                    self.record(&target);
                    if matches!(target, Target::Module(_)) {
                        for function in ["serialize", "deserialize"] {
                            let mut path = path.clone();
                            path.segments.push(function.to_owned());
                            if let Resolved::Found(found) = self.resolve(&path, Namespace::Value) {
                                found.iter().for_each(|target| self.record(target));
                            }
                        }
                    }
                }
            }
        }
    }
}

type Arguments = (Vec<Expr>, Option<Pat>);

/// `value; count`
fn repeated(input: syn::parse::ParseStream<'_>) -> syn::Result<Arguments> {
    let value = input.parse()?;
    input.parse::<Token![;]>()?;
    Ok((vec![value, input.parse()?], None))
}

/// `value, pattern if guard`
fn matched(input: syn::parse::ParseStream<'_>) -> syn::Result<Arguments> {
    let mut expressions = vec![input.parse()?];
    input.parse::<Token![,]>()?;
    let pattern = Pat::parse_multi_with_leading_vert(input)?;
    if input.parse::<Option<Token![if]>>()?.is_some() {
        expressions.push(input.parse()?);
    }
    input.parse::<Option<Token![,]>>()?;
    Ok((expressions, Some(pattern)))
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if only_in_tests(attributes(item)) {
            return;
        }
        // An item in a function does not see its variables.
        let outer = std::mem::take(&mut self.locals);
        self.within(|reader| {
            match item {
                Item::Enum(item) => reader.locals.bind_generics(&item.generics),
                Item::Fn(item) => reader.locals.bind_generics(&item.sig.generics),
                Item::Impl(item) => reader.locals.bind_generics(&item.generics),
                Item::Struct(item) => reader.locals.bind_generics(&item.generics),
                Item::Trait(item) => reader.locals.bind_generics(&item.generics),
                Item::Type(item) => reader.locals.bind_generics(&item.generics),
                Item::Use(item) => imports_of(item).iter().for_each(|import| reader.mention_import(import)),
                _ => {}
            }
            visit::visit_item(reader, item);
        });
        self.locals = outer;
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let (attributes, generics) = match item {
            syn::ImplItem::Const(item) => (&item.attrs, None),
            syn::ImplItem::Fn(item) => (&item.attrs, Some(&item.sig.generics)),
            syn::ImplItem::Type(item) => (&item.attrs, Some(&item.generics)),
            syn::ImplItem::Macro(item) => (&item.attrs, None),
            _ => return,
        };
        if !only_in_tests(attributes) {
            self.within(|reader| {
                generics.into_iter().for_each(|generics| reader.locals.bind_generics(generics));
                visit::visit_impl_item(reader, item);
            });
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let (attributes, generics) = match item {
            syn::TraitItem::Const(item) => (&item.attrs, None),
            syn::TraitItem::Fn(item) => (&item.attrs, Some(&item.sig.generics)),
            syn::TraitItem::Type(item) => (&item.attrs, Some(&item.generics)),
            syn::TraitItem::Macro(item) => (&item.attrs, None),
            _ => return,
        };
        if !only_in_tests(attributes) {
            self.within(|reader| {
                generics.into_iter().for_each(|generics| reader.locals.bind_generics(generics));
                visit::visit_trait_item(reader, item);
            });
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !only_in_tests(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !only_in_tests(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !only_in_tests(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_stmt_macro(&mut self, statement: &'ast syn::StmtMacro) {
        if !only_in_tests(&statement.attrs) {
            visit::visit_stmt_macro(self, statement);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        let mut names = Names::default();
        for statement in &block.stmts {
            if let Stmt::Item(item) = statement
                && !only_in_tests(attributes(item))
            {
                names.add(item);
            }
        }
        self.blocks.push(names);
        self.within(|reader| visit::visit_block(reader, block));
        self.blocks.pop();
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if only_in_tests(&local.attrs) {
            return;
        }
        // The value does not see the names that it is given.
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
            if let Some((_, diverge)) = &init.diverge {
                self.visit_expr(diverge);
            }
        }
        self.visit_pat(&local.pat);
    }

    fn visit_expr_let(&mut self, condition: &'ast syn::ExprLet) {
        self.visit_expr(&condition.expr);
        self.visit_pat(&condition.pat);
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        self.within(|reader| {
            reader.visit_expr(&branch.cond);
            reader.visit_block(&branch.then_branch);
        });
        if let Some((_, other)) = &branch.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_while(&mut self, repeated: &'ast syn::ExprWhile) {
        self.within(|reader| visit::visit_expr_while(reader, repeated));
    }

    fn visit_expr_for_loop(&mut self, repeated: &'ast syn::ExprForLoop) {
        self.visit_expr(&repeated.expr);
        self.within(|reader| {
            reader.visit_pat(&repeated.pat);
            reader.visit_block(&repeated.body);
        });
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.within(|reader| visit::visit_expr_closure(reader, closure));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !only_in_tests(&arm.attrs) {
            self.within(|reader| visit::visit_arm(reader, arm));
        }
    }

    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        let name = text(&pattern.ident);
        // A pattern's `WIDTH` is a constant, `width` a new variable.
        if name.starts_with(char::is_uppercase) {
            self.mention(&Path::single(&name), &[Namespace::Value]);
        } else {
            self.locals.bind(name);
        }
        if let Some((_, pattern)) = &pattern.subpat {
            self.visit_pat(pattern);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.mention_path(path, Namespace::Type);
    }

    fn visit_expr_path(&mut self, expression: &'ast syn::ExprPath) {
        match &expression.qself {
            Some(qualifier) => self.mention_qualified(qualifier, &expression.path),
            None => self.mention_path(&expression.path, Namespace::Value),
        }
    }

    fn visit_pat_tuple_struct(&mut self, pattern: &'ast syn::PatTupleStruct) {
        self.mention_path(&pattern.path, Namespace::Value);
        pattern.elems.iter().for_each(|part| self.visit_pat(part));
    }

    fn visit_type_path(&mut self, named: &'ast syn::TypePath) {
        match &named.qself {
            Some(qualifier) => self.mention_qualified(qualifier, &named.path),
            None => self.mention_path(&named.path, Namespace::Type),
        }
    }

    /// `pub(in crate::a)` names no item.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let path = attribute.path();
        let is_of_compiler = ["allow", "expect", "warn", "deny", "cfg", "doc", "derive", "inline", "must_use", "path"]
            .iter()
            .any(|name| path.is_ident(name));
        if is_of_compiler {
            return;
        }
        let words = match &attribute.meta {
            Meta::List(list) => tokens::attribute_words(&list.tokens),
            _ => return,
        };
        if path.is_ident("serde") {
            self.mention_serde_words(&words);
        } else {
            let is_name = |word: &Word| !matches!(word, Word::Text(_));
            self.mention_words(&words.into_iter().filter(is_name).collect::<Vec<_>>());
        }
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        if mac.path.is_ident("macro_rules") {
            self.mention_words(&tokens::words(&mac.tokens));
            return;
        }
        self.mention_macro(&Path::of(&mac.path));
        let outer = std::mem::replace(&mut self.in_macro, true);
        if !self.read_as_expressions(mac) {
            self.mention_words(&tokens::words(&mac.tokens));
        }
        self.in_macro = outer;
    }

    fn visit_lit(&mut self, literal: &'ast Lit) {
        if let Lit::Str(format) = literal
            && self.in_macro
        {
            self.mention_captured(&format.value());
        }
    }
}
