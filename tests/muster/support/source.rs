//! The source of `src/`, parsed: which modules there are, what their code names, which types they make public.
//!
//! Generated code is left out. What is compiled for tests alone is told apart: a `#[cfg(test)]` item belongs to the
//! tests of its file, and a file that is declared under `#[cfg(test)]` is test code as a whole.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, Token, UseTree, Visibility};

/// What is known of one file of `src/`.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to `src/`, as in `http/mod.rs`.
    pub name: String,
    /// From the crate's root: `["http", "routes", "hosts"]`.
    pub module: Vec<String>,
    /// Compiled for tests alone.
    pub test_only: bool,
    /// Every path that code names, but for the file's own `#[cfg(test)]` items.
    pub named: BTreeSet<Named>,
    /// `pub` and `pub(crate)` types, traits and aliases at module level, in the order of the file.
    pub public_types: Vec<PublicType>,
    /// The words and marks of the code with their lines, but for comments and `#[cfg(test)]` items.
    pub tokens: Vec<(usize, String)>,
    /// Lines beside the file's own `#[cfg(test)]` items.
    pub lines: usize,
    /// Nothing but `mod x;` and `use`.
    pub declares_only: bool,
    /// Functions that are tests, with the modules they are in: `["svid", "tests", "it_holds"]`.
    pub tests: Vec<Vec<String>>,
    /// Modules that are declared under `#[cfg(test)]` and have files of their own.
    test_modules: Vec<Vec<String>>,
}

/// A path that code names, from the root of the crate (`crate::…`) or from that of another crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    pub line: usize,
    pub path: NamedPath,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedPath {
    /// What follows `crate::`, with `self` and `super` resolved. Empty or `["*"]`: the crate's root itself.
    Ours(Vec<String>),
    /// Begins with a name that may be that of a crate, or something that is in scope.
    Other(Vec<String>),
}

/// A type or trait that other rooms can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicType {
    pub name: String,
    pub module: Vec<String>,
    pub line: usize,
}

impl SourceFile {
    /// `name` is the file's, relative to the folder with the crate's root.
    pub fn parse(name: &str, text: &str) -> Self {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let items = &parsed.items;
        let stem = name.strip_suffix(".rs").unwrap();
        let module: Vec<_> = match stem.strip_suffix("/mod").unwrap_or(stem) {
            "lib" | "main" => Vec::new(),
            stem => stem.split('/').map(str::to_owned).collect(),
        };
        let mut names = Names { module: module.clone(), found: BTreeSet::new() };
        names.visit_file(&parsed);
        let (mut public_types, mut tokens, mut tests) = (Vec::new(), Vec::new(), Vec::new());
        gather_types(items, &module, &mut public_types);
        gather_tests(items, &module, &mut tests);
        let test_lines = test_lines(items);
        flatten(text.parse().unwrap(), &mut tokens);
        tokens.retain(|(line, _)| !test_lines.iter().any(|lines| lines.contains(line)));
        let declared = items.iter().filter_map(|item| match item {
            Item::Mod(item) if item.content.is_none() && for_tests(&item.attrs) => Some(&item.ident),
            _ => None,
        });
        let declares_only = items.iter().all(|item| match item {
            Item::Mod(declared) => declared.content.is_none(),
            Item::Use(_) | Item::ExternCrate(_) => true,
            _ => false,
        });
        Self {
            name: name.to_owned(),
            test_only: false,
            named: names.found,
            public_types,
            tokens,
            lines: text.lines().count() - test_lines.into_iter().map(Iterator::count).sum::<usize>(),
            declares_only,
            tests,
            test_modules: declared.map(|ident| within(&module, ident)).collect(),
            module,
        }
    }

    /// The top-level module that the file belongs to; none for the roots of library and program.
    pub fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }
}

/// Every file below `folder`, in the order of their names.
pub fn files_of(folder: &Path) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    gather_files(folder, &mut paths);
    paths.sort();
    let name_of = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> = paths
        .iter()
        .map(|path| SourceFile::parse(&name_of(path), &std::fs::read_to_string(path).unwrap()))
        .collect();
    let for_tests: BTreeSet<_> = files.iter().flat_map(|file| file.test_modules.clone()).collect();
    for file in &mut files {
        file.test_only = (1..=file.module.len()).any(|length| for_tests.contains(&file.module[..length]));
        if file.test_only {
            file.public_types.clear();
        }
    }
    files
}

/// The files of the crate itself, read once.
pub fn crate_files() -> &'static [SourceFile] {
    static FILES: OnceLock<Vec<SourceFile>> = OnceLock::new();
    FILES.get_or_init(|| files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")))
}

fn gather_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "generated") {
            gather_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn within(module: &[String], ident: &syn::Ident) -> Vec<String> {
    module.iter().cloned().chain([ident.to_string()]).collect()
}

/// Whether the attributes say `#[cfg(test)]`, or `#[cfg(all(test, …))]`.
fn for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        if !list.path.is_ident("cfg") {
            return false;
        }
        let text = list.tokens.to_string().replace(' ', "");
        text == "test" || text.starts_with("all(test,")
    })
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn gather_types(items: &[Item], module: &[String], types: &mut Vec<PublicType>) {
    for item in items {
        if for_tests(attributes_of(item)) {
            continue;
        }
        let (visibility, ident) = match item {
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Trait(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            Item::Union(item) => (&item.vis, &item.ident),
            Item::Mod(item) => {
                if let Some((_, items)) = &item.content {
                    gather_types(items, &within(module, &item.ident), types);
                }
                continue;
            }
            // What a macro of ours declares stands in its call as it would without the macro.
            Item::Macro(call) if call.ident.is_none() => {
                for (visibility, ident) in declared_in(call.mac.tokens.clone()) {
                    if is_public(&visibility) {
                        let line = ident.span().start().line;
                        types.push(PublicType { name: ident.to_string(), module: module.to_vec(), line });
                    }
                }
                continue;
            }
            _ => continue,
        };
        if is_public(visibility) {
            let line = ident.span().start().line;
            types.push(PublicType { name: ident.to_string(), module: module.to_vec(), line });
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    match visibility {
        Visibility::Public(_) => true,
        Visibility::Restricted(to) => to.path.is_ident("crate"),
        Visibility::Inherited => false,
    }
}

const DECLARE_TYPES: [&str; 5] = ["enum", "struct", "trait", "type", "union"];

/// The types that the words `pub enum X` and the like declare, at any depth.
fn declared_in(tokens: TokenStream) -> Vec<(Visibility, syn::Ident)> {
    let mut found = Vec::new();
    let all: Vec<_> = tokens.into_iter().collect();
    for (index, token) in all.iter().enumerate() {
        match token {
            TokenTree::Group(group) => found.extend(declared_in(group.stream())),
            TokenTree::Ident(keyword) if DECLARE_TYPES.iter().any(|word| keyword == word) => {
                let Some(TokenTree::Ident(name)) = all.get(index + 1) else { continue };
                let start = match &all[..index] {
                    [.., TokenTree::Ident(word), TokenTree::Group(_)] if word == "pub" => index - 2,
                    [.., TokenTree::Ident(word)] if word == "pub" => index - 1,
                    _ => index,
                };
                let visibility = syn::parse2(all[start..index].iter().cloned().collect());
                found.push((visibility.unwrap_or(Visibility::Inherited), name.clone()));
            }
            _ => {}
        }
    }
    found
}

fn gather_tests(items: &[Item], module: &[String], tests: &mut Vec<Vec<String>>) {
    for item in items {
        match item {
            Item::Mod(item) => {
                if let Some((_, items)) = &item.content {
                    gather_tests(items, &within(module, &item.ident), tests);
                }
            }
            Item::Fn(item) => {
                let is_test = |attribute: &Attribute| {
                    attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
                };
                if item.attrs.iter().any(is_test) {
                    tests.push(within(module, &item.sig.ident));
                }
            }
            // `proptest!` has its tests inside.
            Item::Macro(item) => {
                if let Ok(inner) = syn::parse2::<syn::File>(item.mac.tokens.clone()) {
                    gather_tests(&inner.items, module, tests);
                } else {
                    gather_tests_of_tokens(item.mac.tokens.clone(), module, tests);
                }
            }
            _ => {}
        }
    }
}

/// Functions after `#[test]` in a macro whose content is not Rust's own syntax.
fn gather_tests_of_tokens(tokens: TokenStream, module: &[String], tests: &mut Vec<Vec<String>>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        if group.delimiter() != Delimiter::Bracket || group.stream().to_string() != "test" {
            continue;
        }
        if let [TokenTree::Ident(keyword), TokenTree::Ident(name), ..] = &tokens[index + 1..]
            && keyword == "fn"
        {
            tests.push(within(module, name));
        }
    }
}

/// The lines of `#[cfg(test)]` items.
fn test_lines(items: &[Item]) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    for item in items {
        if for_tests(attributes_of(item)) {
            let first = attributes_of(item)[0].pound_token.span.start().line;
            found.push(first..=item.span().end().line);
        } else if let Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) = item {
            found.extend(test_lines(items));
        }
    }
    found
}

fn flatten(tokens: TokenStream, flat: &mut Vec<(usize, String)>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let line = token.span().start().line;
        match token {
            // A comment of documentation arrives as `#[doc = "…"]`.
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                let documents = |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.stream().to_string().starts_with("doc ="));
                if tokens.peek().is_some_and(|next| matches!(next, TokenTree::Punct(p) if p.as_char() == '!'))
                {
                    tokens.next();
                }
                if tokens.peek().is_some_and(documents) {
                    tokens.next();
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint => {
                tokens.next();
                flat.push((line, "::".to_owned()));
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                flat.push((line, open.to_owned()));
                flatten(group.stream(), flat);
                flat.push((group.span_close().start().line, close.to_owned()));
            }
            other => flat.push((line, other.to_string())),
        }
    }
}

struct Names {
    module: Vec<String>,
    found: BTreeSet<Named>,
}

impl Names {
    fn add(&mut self, line: usize, segments: &[String]) {
        let path = match segments.first().map(String::as_str) {
            None => return,
            Some("crate" | "$crate") => NamedPath::Ours(segments[1..].to_vec()),
            Some("self" | "super") => {
                let mut base = self.module.clone();
                let mut rest = segments;
                while let Some((first, others)) = rest.split_first() {
                    match first.as_str() {
                        "self" => {}
                        "super" => {
                            base.pop();
                        }
                        _ => break,
                    }
                    rest = others;
                }
                // A lone `self` is a value, a lone `super` nothing that one can use.
                if rest.is_empty() && segments.len() == 1 {
                    return;
                }
                base.extend_from_slice(rest);
                NamedPath::Ours(base)
            }
            Some(_) => NamedPath::Other(segments.to_vec()),
        };
        self.found.insert(Named { line, path });
    }

    fn add_use(&mut self, before: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_use(before, &path.tree);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(before, tree);
                }
            }
            UseTree::Name(syn::UseName { ident }) | UseTree::Rename(syn::UseRename { ident, .. }) => {
                // `a::{self}` is `a`, but `self::a` is not.
                let mut whole = before.clone();
                if ident != "self" || whole.is_empty() {
                    whole.push(ident.to_string());
                }
                self.add(ident.span().start().line, &whole);
            }
            UseTree::Glob(glob) => {
                let mut whole = before.clone();
                whole.push("*".to_owned());
                self.add(glob.star_token.span.start().line, &whole);
            }
        }
    }

    /// Paths among the tokens of a macro or an attribute, whatever their syntax.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let double_colon = |at: usize| {
            let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
            colon(at) && colon(at + 1)
        };
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
                    while double_colon(at + 1) {
                        match tokens.get(at + 3) {
                            Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                                let trees = Punctuated::<UseTree, Token![,]>::parse_terminated;
                                if let Ok(trees) = trees.parse2(group.stream()) {
                                    for tree in &trees {
                                        self.add_use(&mut path, tree);
                                    }
                                }
                                break;
                            }
                            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                                path.push("*".to_owned());
                            }
                            _ => break,
                        }
                        at += 3;
                    }
                    // A single word is a path only where it is one of the roots, and those say nothing alone.
                    if path.len() > 1 {
                        self.add(line, &path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if for_tests(attributes_of(item)) {
            return;
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if let syn::ImplItem::Fn(function) = item
            && for_tests(&function.attrs)
        {
            return;
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&mut Vec::new(), &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.add(item.ident.span().start().line, &[item.ident.to_string(), "*".to_owned()]);
    }

    // `pub(crate)` and `pub(in …)` name whom one is inside of.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One word alone is something that is in scope, whose import has been seen.
        if let Some(first) = path.segments.first()
            && path.segments.len() > 1
        {
            let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.add(first.ident.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        visit::visit_attribute(self, attribute);
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
            self.add_quoted(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        visit::visit_macro(self, called);
        self.add_tokens(called.tokens.clone());
    }
}

impl Names {
    /// Attributes name functions and types in strings: `#[serde(with = "crate::…")]`.
    fn add_quoted(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_quoted(group.stream()),
                TokenTree::Literal(literal) => {
                    let quoted = syn::parse_str::<syn::LitStr>(&literal.to_string());
                    if let Ok(text) = quoted
                        && let Ok(path) = syn::parse_str::<syn::Path>(&text.value())
                        && path.segments.len() > 1
                    {
                        let path: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
                        self.add(literal.span().start().line, &path);
                    }
                }
                _ => {}
            }
        }
    }
}
