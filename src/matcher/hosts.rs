//! A set of host patterns: names, everything below names, and networks for hosts that are addresses.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::NetworkSet;
use crate::codec::authority::{Host, Name};
use crate::config::HostPattern;

#[derive(Debug, Clone)]
pub struct HostSet {
    names: Names,
    networks: NetworkSet,
}

#[derive(Debug, Clone)]
enum Names {
    /// Comparing a few is faster than hashing once.
    Few(Box<[(Box<str>, Covers)]>),
    Many(NameTable),
}

/// What a pattern covers: the name itself, all names below it, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Covers {
    itself: bool,
    below: bool,
}

impl HostSet {
    /// Up to here names are compared one by one.
    const FEW: usize = 8;

    pub fn new(patterns: &[HostPattern]) -> Self {
        let networks = patterns.iter().filter_map(|pattern| match pattern {
            HostPattern::Net(network) => Some(network),
            HostPattern::Exact(_) | HostPattern::Suffix(_) => None,
        });
        let names = || {
            patterns.iter().filter_map(|pattern| match pattern {
                HostPattern::Exact(name) => Some((name.as_str(), Covers { itself: true, below: false })),
                HostPattern::Suffix(name) => Some((name.as_str(), Covers { itself: false, below: true })),
                HostPattern::Net(_) => None,
            })
        };
        let names = if names().count() <= Self::FEW {
            Names::Few(names().map(|(name, covers)| (name.into(), covers)).collect())
        } else {
            Names::Many(NameTable::new(names()))
        };
        Self { names, networks: NetworkSet::new(networks) }
    }

    pub fn contains(&self, host: &Host) -> bool {
        match host {
            Host::Address(address) => self.networks.contains(*address),
            Host::Name(name) => self.contains_name(name),
        }
    }

    pub fn contains_name(&self, name: &Name) -> bool {
        match &self.names {
            Names::Few(patterns) => patterns.iter().any(|(pattern, covers)| matches(pattern.as_bytes(), *covers, name.as_bytes())),
            Names::Many(table) => table.contains(name.as_bytes()),
        }
    }
}

fn matches(pattern: &[u8], covers: Covers, name: &[u8]) -> bool {
    match name.strip_suffix(pattern) {
        Some([]) => covers.itself,
        Some([.., b'.']) => covers.below,
        _ => false,
    }
}

/// Many names: their text end to end, and a table of where each stands. A list of a million costs its
/// text and about ten bytes a name, and a question one hash for each label of the name asked about.
#[derive(Debug, Clone)]
struct NameTable {
    text: Box<[u8]>,
    entries: HashTable<Entry>,
    /// Fresh for each set, so that nobody can prepare names that collide.
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u8,
    covers: Covers,
}

impl NameTable {
    fn new<'a>(names: impl Iterator<Item = (&'a str, Covers)>) -> Self {
        let hasher = RandomState::default();
        let mut text = Vec::new();
        let mut entries: HashTable<Entry> = HashTable::new();
        for (name, covers) in names {
            let name = name.as_bytes();
            let hash = hasher.hash_one(name);
            if let Some(entry) = entries.find_mut(hash, |entry| entry.name(&text) == name) {
                entry.covers.itself |= covers.itself;
                entry.covers.below |= covers.below;
                continue;
            }
            let entry = Entry {
                start: u32::try_from(text.len()).expect("config::load refuses files that do not fit into 32 bits"),
                length: u8::try_from(name.len()).expect("a checked name has at most 253 bytes"),
                covers,
            };
            text.extend_from_slice(name);
            entries.insert_unique(hash, entry, |entry| hasher.hash_one(entry.name(&text)));
        }
        Self { text: text.into(), entries, hasher }
    }

    fn contains(&self, name: &[u8]) -> bool {
        if self.find(name).is_some_and(|covers| covers.itself) {
            return true;
        }
        let dots = memchr::memchr_iter(b'.', name);
        dots.map(|dot| &name[dot + 1..]).any(|suffix| self.find(suffix).is_some_and(|covers| covers.below))
    }

    fn find(&self, name: &[u8]) -> Option<Covers> {
        self.entries.find(self.hasher.hash_one(name), |entry| entry.name(&self.text) == name).map(|entry| entry.covers)
    }
}

impl Entry {
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..][..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
            None => text.parse().map(HostPattern::Net).unwrap_or_else(|_| HostPattern::Exact(text.to_owned())),
        }
    }

    fn host(text: &str) -> Host {
        Host::parse(text.as_bytes()).expect("a host")
    }

    /// The same answers from a short list and from one long enough for the table.
    fn sets(patterns: &[&str]) -> [HostSet; 2] {
        let few: Vec<_> = patterns.iter().map(|text| pattern(text)).collect();
        let filler = (0..20).map(|number| HostPattern::Exact(format!("filler-{number}.invalid")));
        [HostSet::new(&few), HostSet::new(&few.iter().cloned().chain(filler).collect::<Vec<_>>())]
    }

    #[test]
    fn names_suffixes_and_networks() {
        for set in sets(&["example.org", "*.example.net", "both.example", "*.both.example", "192.0.2.0/24", "2001:db8::/32"]) {
            for (name, expected) in [
                ("example.org", true),
                ("EXAMPLE.org.", true),
                ("www.example.org", false),
                ("example.net", false),
                ("www.example.net", true),
                ("a.b.c.example.net", true),
                ("badexample.net", false),
                ("both.example", true),
                ("a.both.example", true),
                ("org", false),
                ("192.0.2.7", true),
                ("3221225991", true),
                ("192.0.3.7", false),
                ("[2001:db8::1]", true),
                ("[::ffff:192.0.2.7]", true),
                ("[::1]", false),
            ] {
                assert_eq!(set.contains(&host(name)), expected, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_text(
            patterns in prop::collection::vec(("[*a]", "[ab](\\.[ab]){0,3}"), 0..24),
            names in prop::collection::vec("[ab](\\.[ab]){0,4}", 1..20),
        ) {
            let patterns: Vec<_> = patterns.into_iter().map(|(kind, name)| match kind.as_str() {
                "*" => HostPattern::Suffix(name),
                _ => HostPattern::Exact(name),
            }).collect();
            let set = HostSet::new(&patterns);
            for name in names {
                let expected = patterns.iter().any(|pattern| match pattern {
                    HostPattern::Exact(exact) => *exact == name,
                    HostPattern::Suffix(suffix) => name.ends_with(&format!(".{suffix}")),
                    HostPattern::Net(_) => false,
                });
                prop_assert_eq!(set.contains(&host(&name)), expected, "{}", name);
            }
        }
    }
}
