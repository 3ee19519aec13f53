//! The modules of `src/`, and which file imports from which.
//!
//! A path counts however it is written: from `crate`, `super` or `self`, from a name that a `use` brought in, in braces, inside a
//! function, or through what another module re-exports, which is an import of the file that defines it. What a file only
//! re-exports it does not import.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::tokens::{Token, tokens};

/// Every module and what its file imports.
pub struct Source {
    modules: Vec<Module>,
    files: Vec<PathBuf>,
}

struct Module {
    file: usize,
    parent: Option<usize>,
    /// In the order of their `mod` lines.
    children: Vec<(String, usize)>,
    uses: BTreeMap<String, Use>,
    /// Paths of two names or more in the code.
    paths: BTreeSet<Vec<String>>,
    /// Names in the code that stand alone.
    names: BTreeSet<String>,
}

struct Use {
    path: Vec<String>,
    is_public: bool,
}

/// Whose file, and whether the path ended at a module itself.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    Item(usize),
}

/// `importer` and `imported` are paths below `src/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub importer: String,
    pub imported: String,
    /// As the code has it.
    pub path: String,
}

impl Source {
    /// Follows the `mod` lines from `lib.rs`. Code under `#[cfg(test)]` counts only `with_tests`.
    pub fn read(directory: &Path, with_tests: bool) -> Self {
        let mut source = Source { modules: Vec::new(), files: Vec::new() };
        source.add_file(directory, &directory.join("lib.rs"), None, with_tests);
        source
    }

    fn add_file(&mut self, directory: &Path, path: &Path, parent: Option<usize>, with_tests: bool) -> usize {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.files.push(path.strip_prefix(directory).expect("below src").to_owned());
        let module = self.add_module(self.files.len() - 1, parent);
        let tokens = tokens(&text);
        let is_front = path.file_name().is_some_and(|name| name == "mod.rs" || name == "lib.rs");
        let below = if is_front { path.with_file_name("") } else { path.with_extension("") };
        let mut reader = Reader { tokens: &tokens, at: 0, module, outer: Vec::new(), depth: 0, with_tests };
        while let Some(Declared { name, file, parent }) = reader.next_file(self) {
            let path = match file {
                Some(file) => path.with_file_name(file),
                None => {
                    Some(below.join(format!("{name}.rs"))).filter(|path| path.exists()).unwrap_or_else(|| below.join(&name).join("mod.rs"))
                }
            };
            let child = self.add_file(directory, &path, Some(parent), with_tests);
            self.modules[parent].children.push((name, child));
        }
        module
    }

    fn add_module(&mut self, file: usize, parent: Option<usize>) -> usize {
        let (children, uses) = (Vec::new(), BTreeMap::new());
        self.modules.push(Module { file, parent, children, uses, paths: BTreeSet::new(), names: BTreeSet::new() });
        self.modules.len() - 1
    }

    /// The `mod` lines of the module at a path below `src/`, in order.
    pub fn declared_in(&self, file: &str) -> Vec<String> {
        let module = self.modules.iter().find(|module| self.files[module.file] == Path::new(file)).expect("a file of the crate");
        module.children.iter().map(|(_, child)| self.shown(*child)).collect()
    }

    /// Every import of one file from another.
    pub fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for at in 0..self.modules.len() {
            for path in self.paths_of(at) {
                let Some(target) = self.resolve(at, &path, 0) else { continue };
                let (Target::Module(found) | Target::Item(found)) = target;
                // A module brought in by name counts where something of it is used.
                let is_name_only = matches!(target, Target::Module(_));
                if !is_name_only && self.modules[found].file != self.modules[at].file {
                    imports.insert(Import { importer: self.shown(at), imported: self.shown(found), path: path.join("::") });
                }
            }
        }
        imports
    }

    fn paths_of(&self, at: usize) -> BTreeSet<Vec<String>> {
        let Module { uses, paths, names, .. } = &self.modules[at];
        let used = uses.iter().filter(|(name, one)| !one.is_public || names.contains(*name)).map(|(_, one)| one.path.clone());
        used.chain(paths.iter().cloned()).collect()
    }

    fn shown(&self, module: usize) -> String {
        self.files[self.modules[module].file].display().to_string()
    }

    /// `None` for what another crate defines.
    fn resolve(&self, from: usize, path: &[String], hops: usize) -> Option<Target> {
        assert!(hops < 16, "{path:?} leads in a circle of re-exports");
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(0, rest, hops),
            "self" => self.descend(from, rest, hops),
            "super" => self.descend(self.modules[from].parent?, rest, hops),
            name if self.child(from, name).is_some() || self.modules[from].uses.contains_key(name) => self.descend(from, path, hops),
            _ => None,
        }
    }

    fn descend(&self, module: usize, path: &[String], hops: usize) -> Option<Target> {
        let Some((first, rest)) = path.split_first() else { return Some(Target::Module(module)) };
        if first == "super" {
            return self.descend(self.modules[module].parent?, rest, hops);
        }
        if let Some(child) = self.child(module, first) {
            return self.descend(child, rest, hops);
        }
        match self.modules[module].uses.get(first) {
            // `use smallvec::smallvec`: a crate, since no module of ours is called so here.
            Some(one) if one.path[0] == *first => None,
            Some(one) => match self.resolve(module, &one.path, hops + 1)? {
                Target::Module(found) => self.descend(found, rest, hops + 1),
                item => Some(item),
            },
            None => Some(Target::Item(module)),
        }
    }

    fn child(&self, module: usize, name: &str) -> Option<usize> {
        self.modules[module].children.iter().find(|(known, _)| known == name).map(|(_, child)| *child)
    }
}

/// A `mod name;` line, and the name that `#[path]` gives its file.
struct Declared {
    name: String,
    file: Option<String>,
    parent: usize,
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module being read: the file's, or one written within it.
    module: usize,
    /// Those around it, with the depth of braces at which each goes on.
    outer: Vec<(usize, usize)>,
    depth: usize,
    with_tests: bool,
}

impl Reader<'_> {
    /// Reads on to the next `mod name;`.
    fn next_file(&mut self, source: &mut Source) -> Option<Declared> {
        let mut file = None;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token {
                Token::Mark('#') => file = self.attribute().or(file),
                Token::Mark('{') => self.depth += 1,
                Token::Mark('}') => self.leave(),
                Token::Mark(_) | Token::Text(_) => {}
                Token::Colons => self.at += usize::from(self.word_at(0).is_some()),
                Token::Word(word) if word == "use" && !self.mark_at(0, '<') => self.read_use(source),
                Token::Word(word) if word == "mod" && self.word_at(0).is_some() => {
                    let name = self.word_at(0).expect("just looked").to_owned();
                    self.at += 1;
                    if self.mark_at(0, ';') {
                        return Some(Declared { name, file, parent: self.module });
                    }
                    self.enter(name, source);
                }
                Token::Word(_) => self.read_path(source),
            }
            if !token.is('#') {
                file = None;
            }
        }
        None
    }

    /// Takes the rest of an attribute: the text of `#[path = "…"]`; the item after `#[cfg(test)]` is passed over.
    fn attribute(&mut self) -> Option<String> {
        self.at += usize::from(self.mark_at(0, '!'));
        if !self.mark_at(0, '[') {
            return None;
        }
        let start = self.at + 1;
        self.skip_group();
        let inner = &self.tokens[start..self.at - 1];
        match inner {
            [Token::Word(name), Token::Mark('='), Token::Text(file)] if name == "path" => Some(file.clone()),
            [Token::Word(cfg), Token::Mark('('), Token::Word(test), Token::Mark(')')]
                if cfg == "cfg" && test == "test" && !self.with_tests =>
            {
                self.skip_item();
                None
            }
            _ => None,
        }
    }

    /// From an opening bracket past its closing one.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.tokens.get(self.at) {
            self.at += 1;
            match token {
                Token::Mark('(' | '[' | '{') => depth += 1,
                Token::Mark(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Past an item: to its semicolon, or its body; a field or an expression ends at a comma or where the braces around it do.
    fn skip_item(&mut self) {
        const STARTS: [&str; 14] =
            ["pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "type", "trait", "unsafe", "async", "macro_rules"];
        while self.mark_at(0, '#') {
            self.at += 1;
            self.skip_group();
        }
        let is_item = self.word_at(0).is_some_and(|word| STARTS.contains(&word));
        let mut is_use = false;
        while let Some(token) = self.tokens.get(self.at) {
            is_use |= token.word() == Some("use");
            match token {
                Token::Mark(';') => return self.at += 1,
                Token::Mark(',') if !is_item => return self.at += 1,
                Token::Mark('}' | ')' | ']') => return,
                Token::Mark('{') if is_item && !is_use => return self.skip_group(),
                Token::Mark('(' | '[' | '{') => self.skip_group(),
                _ => self.at += 1,
            }
        }
    }

    fn enter(&mut self, name: String, source: &mut Source) {
        let child = source.add_module(source.modules[self.module].file, Some(self.module));
        source.modules[self.module].children.push((name, child));
        self.outer.push((self.module, self.depth));
        self.module = child;
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if let Some((module, _)) = self.outer.pop_if(|(_, depth)| *depth == self.depth) {
            self.module = module;
        }
    }

    fn read_use(&mut self, source: &mut Source) {
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        let is_public = before.is_some_and(|token| token.is(')') || token.word() == Some("pub"));
        let mut found = Vec::new();
        self.read_tree(&[], &mut found);
        // `pub(crate) use name;` gives a macro of this file a path.
        for (name, path) in found.into_iter().filter(|(name, path)| *path != [name.as_str()]) {
            // One use per name: two in different functions of a file lead to the same place, or are given names of their own.
            source.modules[self.module].uses.entry(name).or_insert(Use { path, is_public });
        }
    }

    /// One branch of a `use`; each leaf is the name that it brings in and the path to it.
    fn read_tree(&mut self, prefix: &[String], found: &mut Vec<(String, Vec<String>)>) {
        let mut path = prefix.to_vec();
        let mut name = None;
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Word(word) if word == "as" => {
                    name = self.word_at(1).map(str::to_owned);
                    self.at += 1;
                }
                Token::Word(word) if word == "self" && !path.is_empty() => {}
                Token::Word(word) => path.push(word.clone()),
                // Everything of a module, or every variant: an import of its file.
                Token::Mark('*') => path.push("*".to_owned()),
                Token::Mark('{') => {
                    self.at += 1;
                    while !self.mark_at(0, '}') {
                        self.read_tree(&path, found);
                        self.at += usize::from(self.mark_at(0, ','));
                    }
                    self.at += 1;
                    return;
                }
                Token::Mark(_) => break,
                Token::Colons | Token::Text(_) => {}
            }
            self.at += 1;
        }
        let last = path.last().cloned().unwrap_or_default();
        let known_by = name.unwrap_or(last);
        // A glob, or `as _`, has no name: its path stands for it.
        let known_by = if known_by == "*" || known_by == "_" { path.join("::") } else { known_by };
        found.push((known_by, path));
    }

    /// The rest of a path whose first name has been taken.
    fn read_path(&mut self, source: &mut Source) {
        let follows_dot = self.at.checked_sub(2).is_some_and(|at| self.tokens[at].is('.'));
        let mut path = vec![self.tokens[self.at - 1].word().expect("a name was taken").to_owned()];
        while self.tokens.get(self.at) == Some(&Token::Colons) {
            let Some(name) = self.word_at(1) else { break };
            path.push(name.to_owned());
            self.at += 2;
        }
        let module = &mut source.modules[self.module];
        if path.len() > 1 {
            module.names.insert(path[0].clone());
            module.paths.insert(path);
        } else if !follows_dot {
            module.names.extend(path);
        }
    }

    fn word_at(&self, ahead: usize) -> Option<&str> {
        self.tokens.get(self.at + ahead).and_then(Token::word)
    }

    fn mark_at(&self, ahead: usize, mark: char) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(|token| token.is(mark))
    }
}
