//! Holds the order of the modules: `src/lib.rs` declares them along the way of a request, and each
//! imports only from those after it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn modules_import_only_from_those_after_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order = declared_modules(&read(&source.join("lib.rs")));
    assert!(!order.is_empty(), "src/lib.rs declares no module");
    let mut wrong = BTreeSet::new();
    for (position, module) in order.iter().enumerate() {
        for file in files_of(&source, module) {
            for imported in imports(&read(&file)) {
                let shown = file.strip_prefix(&source).unwrap_or(&file).display();
                match order.iter().position(|name| *name == imported) {
                    Some(place) if place >= position => {}
                    Some(_) => drop(wrong.insert(format!("src/{shown}: `crate::{imported}` is declared before `{module}` in src/lib.rs"))),
                    None => drop(wrong.insert(format!("src/{shown}: `crate::{imported}` is no module of src/lib.rs"))),
                }
            }
        }
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "imports against the order of the layers:\n{}", wrong.join("\n"));
}

/// Every `mod name;` at the top of lib.rs, in order, with macros on the way left out.
fn declared_modules(lib: &str) -> Vec<String> {
    let lines = lib.lines().filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod ")));
    lines.filter_map(|line| line.strip_suffix(';')).map(str::to_owned).collect()
}

/// `src/NAME.rs` and everything below `src/NAME/`.
fn files_of(source: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut left = vec![source.join(format!("{module}.rs")), source.join(module)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "module {module} has no file");
    files
}

/// First segments after `crate::`, those of a braced list included.
fn imports(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(without_comment).fold(String::new(), |code, line| code + line + "\n");
    let mut found = BTreeSet::new();
    for (start, mark) in code.match_indices("crate::") {
        let preceded = code[..start].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_' || before == '$');
        if preceded {
            continue;
        }
        let rest = &code[start + mark.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(top_level_names(list)),
            None => found.extend(leading_name(rest)),
        }
    }
    // A macro or an item at the root of the crate is no module, but nothing of ours stands there.
    found
}

/// Names at the outermost level of a braced list, up to its closing brace.
fn top_level_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut at_start = true;
    for (index, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !character.is_whitespace() => {
                names.extend(leading_name(&list[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

fn leading_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
    Some(name).filter(|name| !name.is_empty())
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "
        use crate::codec::field::{Field, Kind};
        use crate::{config::{self, Http1}, stats, // crate::comment
            dns::Name};
        fn f() -> crate::cluster::Cluster { $crate::macros::x(); my_crate::y() }
        pub(crate) mod z;
    ";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["cluster", "codec", "config", "dns", "stats"]);
}
