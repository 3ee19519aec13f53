//! The probes that docs/tracing.md promises are those of the program.

use std::collections::BTreeMap;

/// Names, each with its number of arguments.
type Probes = BTreeMap<String, usize>;

/// What every note of a SystemTap probe begins with: its owner, and after that three addresses.
const OWNER: &[u8] = b"stapsdt\0";
const ADDRESSES: usize = 3 * size_of::<usize>();

#[test]
fn as_documented() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_outrider")).expect("the program");
    let documented = documented(include_str!("../../docs/tracing.md"));
    assert!(!documented.is_empty());
    assert_eq!(in_program(&program), documented);
}

/// Rows such as "| `name` | one, two | when |".
fn documented(text: &str) -> Probes {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| (name.to_owned(), rest.split(" | ").next().unwrap_or_default().split(", ").count())).collect()
}

/// The notes of the provider, each with three texts: provider, name, and the arguments as "SIZE@PLACE".
fn in_program(program: &[u8]) -> Probes {
    let mut probes = Probes::new();
    for owner in memchr::memmem::find_iter(program, OWNER) {
        let Some(texts) = program.get(owner + OWNER.len() + ADDRESSES..) else { continue };
        let mut texts = texts.splitn(4, |&byte| byte == 0).map(String::from_utf8_lossy);
        if texts.next().as_deref() == Some("outrider") {
            let (name, arguments) = (texts.next().expect("a name"), texts.next().expect("arguments"));
            let count = arguments.matches('@').count();
            let other = probes.insert(name.to_string(), count).unwrap_or(count);
            assert_eq!(other, count, "{name} has as many arguments wherever it stands");
        }
    }
    probes
}
