//! Holds the order of the code: `src/lib.rs` declares the modules along the way of a request, each imports only from those after
//! it, and inside a module no file imports one that imports it, directly or by way of others.

mod circles;
mod source;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use source::{Import, Source};

/// Imports that close a circle and stand until the circle is broken; each with the reason that it is still there.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    (
        "admin/pages.rs",
        "admin/routes.rs",
        "help and front page are made of the list of routes, whose answers they are; they belong beside the list",
    ),
    (
        "downstream/connection.rs",
        "downstream/connect.rs",
        "a connection becomes a tunnel; what it becomes belongs to the connection's file",
    ),
    (
        "downstream/record.rs",
        "downstream/connection.rs",
        "a record borrows the whole connection of which it tells the client's address and worker",
    ),
    ("downstream/splice.rs", "downstream/body.rs", "splicing tells its end by the fault of a body"),
    ("downstream/stream.rs", "downstream/connection.rs", "an exchange borrows the connection that it came on"),
    ("server/control.rs", "server/mod.rs", "the server's own commands are methods of it"),
];

/// Front pages whose `mod` lines stand in the order of imports: each file imports only from those declared after it.
const IN_ORDER: &[&str] = &["cluster/mod.rs"];

#[test]
fn modules_import_only_from_those_after_them() {
    let source = Source::read(&crate_source(), true);
    let order: Vec<String> = source.declared_in("lib.rs").iter().map(|file| top_module(file).to_owned()).collect();
    let place = |file: &str| order.iter().position(|name| name == top_module(file));
    let against: Vec<String> =
        source.imports().iter().filter(|import| place(&import.imported) < place(&import.importer)).map(shown).collect();
    assert!(against.is_empty(), "imports of what src/lib.rs declares earlier, or of src/lib.rs itself:\n{}", against.join("\n"));
}

#[test]
fn files_import_in_no_circle() {
    let imports = within_modules();
    let left: BTreeSet<Import> = imports.iter().filter(|import| !is_excepted(import)).cloned().collect();
    let circles: Vec<String> =
        circles::circles(&left).iter().map(|circle| circle.iter().map(shown).collect::<Vec<_>>().join("\n")).collect();
    assert!(circles.is_empty(), "{} circles of imports; one import of each has to go:\n\n{}", circles.len(), circles.join("\n\n"));
}

#[test]
fn files_are_declared_before_those_that_they_import() {
    let source = Source::read(&crate_source(), false);
    let imports = source.imports();
    for front in IN_ORDER {
        let order = source.declared_in(front);
        let place = |file: &String| order.iter().position(|declared| declared == file);
        let is_against =
            |import: &&Import| place(&import.importer).zip(place(&import.imported)).is_some_and(|(importer, imported)| imported < importer);
        let against: Vec<String> = imports.iter().filter(is_against).map(shown).collect();
        assert!(against.is_empty(), "imports of what src/{front} declares earlier:\n{}", against.join("\n"));
    }
}

#[test]
fn every_exception_is_needed() {
    let imports = within_modules();
    for (importer, imported, _) in EXCEPTIONS {
        let excepted = |import: &&Import| import.importer == *importer && import.imported == *imported;
        let needed = imports.iter().find(excepted).is_some_and(|import| circles::closes_one(import, &imports));
        assert!(needed, "src/{importer} imports nothing from src/{imported}, or in no circle: take it off the list");
    }
}

/// Imports between files of one top-level module, without test code.
fn within_modules() -> BTreeSet<Import> {
    let imports = Source::read(&crate_source(), false).imports();
    imports.into_iter().filter(|import| top_module(&import.importer) == top_module(&import.imported)).collect()
}

fn is_excepted(import: &Import) -> bool {
    EXCEPTIONS.iter().any(|(importer, imported, _)| import.importer == *importer && import.imported == *imported)
}

/// The first part of a path below `src/`.
fn top_module(file: &str) -> &str {
    file.split('/').next().map_or(file, |first| first.strip_suffix(".rs").unwrap_or(first))
}

fn shown(import: &Import) -> String {
    let Import { importer, imported, path } = import;
    format!("src/{importer} imports src/{imported} ({path})")
}

fn crate_source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn imports_of(files: &[(&str, &str)], with_tests: bool) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has one")).expect("made");
        fs::write(path, text).expect("written");
    }
    let imports = Source::read(directory.path(), with_tests).imports();
    imports.into_iter().map(|import| format!("{} -> {}", import.importer, import.imported)).collect()
}

#[test]
fn imports_are_found_however_they_are_written() {
    for text in [
        "use crate::codec::field::Field;",
        "use crate::{other, codec::{self as c, field::{Field, Kind}}};",
        "fn f() { use super::codec::field::Field; }",
        "fn f() -> crate::codec::field::Field { todo!() }",
        "use super::codec; fn f(_: codec::field::Field) {}",
        "use crate::codec as known; fn f() { known::field::g::<u8>() }",
        "use crate::codec::*; use crate::codec::field::*;",
        "mod inner { use super::super::codec::field::Field; }",
        "use crate::codec::Field;",
        "use crate::codec::Renamed;",
        "use crate::codec::{self}; fn f() { codec::Field::new() }",
        "macro_rules! m { () => { $crate::codec::field::g() } }",
    ] {
        let front = "mod field; pub use field::Field; pub use field::Field as Renamed;";
        let files =
            [("lib.rs", "mod a; mod codec; mod other;"), ("a.rs", text), ("codec/mod.rs", front), ("codec/field.rs", ""), ("other.rs", "")];
        assert!(imports_of(&files, false).contains(&"a.rs -> codec/field.rs".to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_import_is_not_taken_for_one() {
    for text in [
        "// crate::b::X",
        "/* crate::b::X */",
        "const A: &str = \"crate::b::X\"; const B: char = '\"';",
        "use std::b::X; fn f() { other_crate::b::X; mine.b(); <T as U>::b::X; }",
        "#[cfg(test)] mod tests { use crate::b::X; }",
        "#[cfg(test)] use crate::b::{X, Y}; #[cfg(test)] fn f<A, B>() { crate::b::X }",
        "pub use crate::b::X;",
        "use crate::b;",
    ] {
        let found = imports_of(&[("lib.rs", "mod a; mod b;"), ("a.rs", text), ("b.rs", "")], false);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    let test_code = "#[cfg(test)] mod tests { use crate::b::X; }";
    assert_eq!(imports_of(&[("lib.rs", "mod a; mod b;"), ("a.rs", test_code), ("b.rs", "")], true), ["a.rs -> b.rs"]);
}

#[test]
fn shared_types_of_a_front_page_are_imports_of_it() {
    let front = "mod child; pub use child::Child; pub struct Shared;";
    let files = [("lib.rs", "mod a;"), ("a/mod.rs", front), ("a/child.rs", "use super::Shared;")];
    assert_eq!(imports_of(&files, false), ["a/child.rs -> a/mod.rs"]);
    let user = [("lib.rs", "mod a;"), ("a/mod.rs", "mod child; pub use child::Child; fn f(_: Child) {}"), ("a/child.rs", "")];
    assert_eq!(imports_of(&user, false), ["a/mod.rs -> a/child.rs"]);
}
