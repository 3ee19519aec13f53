//! Circles in a graph of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::Import;

/// A shortest circle for each import that lies on one, as the imports that make it; each circle once.
pub fn circles(imports: &BTreeSet<Import>) -> Vec<Vec<Import>> {
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for import in imports {
        let Some(mut circle) = way(&import.imported, &import.importer, imports) else { continue };
        circle.insert(0, import.clone());
        let files: BTreeSet<String> = circle.iter().map(|import| import.importer.clone()).collect();
        if seen.insert(files) {
            circles.push(circle);
        }
    }
    circles
}

pub fn closes_one(import: &Import, imports: &BTreeSet<Import>) -> bool {
    way(&import.imported, &import.importer, imports).is_some()
}

/// The shortest way along imports.
fn way(from: &str, to: &str, imports: &BTreeSet<Import>) -> Option<Vec<Import>> {
    let mut reached: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut left = VecDeque::from([from]);
    while let Some(file) = left.pop_front() {
        for import in imports.iter().filter(|import| import.importer == file) {
            if import.imported != from && !reached.contains_key(import.imported.as_str()) {
                reached.insert(&import.imported, import);
                left.push_back(&import.imported);
            }
        }
    }
    let mut way = Vec::new();
    let mut file = to;
    while file != from {
        let import = reached.get(file)?;
        way.insert(0, (*import).clone());
        file = &import.importer;
    }
    Some(way)
}

#[test]
fn circles_are_found_at_any_length() {
    let import = |(importer, imported): &(&str, &str)| Import {
        importer: (*importer).to_owned(),
        imported: (*imported).to_owned(),
        path: String::new(),
    };
    let found = |pairs: &[(&str, &str)]| circles(&pairs.iter().map(import).collect()).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(found(&[("a", "b"), ("a", "c"), ("b", "c")]), [0; 0]);
    assert_eq!(found(&[("a", "b"), ("b", "a"), ("c", "a")]), [2]);
    assert_eq!(found(&[("a", "b"), ("b", "c"), ("c", "a")]), [3]);
    assert_eq!(found(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "a")]), [2, 3]);
}
