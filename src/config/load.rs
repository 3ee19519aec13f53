//! From a path, or from nothing, to a checked [`Config`].

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use super::report::Mistake;
use super::table::Table;
use super::{Config, Report, keys};

/// Where the packages put the file; read when no other is named.
pub const DEFAULT_PATH: &str = "/etc/outrider/outrider.toml";

/// The file that the packages install, which is also what holds where there is none.
pub const EMBEDDED: &str = include_str!("../../config/outrider.toml");

/// No longer file is read. Places in it fit into 32 bits, which compiled lists rely on.
const MAX_BYTES: usize = 256 << 20;

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The path, or `embedded default`.
    pub source: String,
}

/// Reads the file named, else the one at [`DEFAULT_PATH`] if there is one, else [`EMBEDDED`].
pub fn load(path: Option<&Path>) -> Result<Loaded, Report> {
    // Not being allowed to look is no reason to run with something else than the administrator wrote.
    let present = |path: &&Path| path.try_exists().unwrap_or(true);
    let found = path.or_else(|| Some(Path::new(DEFAULT_PATH)).filter(present));
    let (source, text) = match found {
        Some(path) => (path.display().to_string(), read(path)?),
        None => ("embedded default".to_owned(), EMBEDDED.to_owned()),
    };
    let config = parse(&source, &text)?;
    Ok(Loaded { config, source })
}

/// Checks one file's text. `name` is what the report calls it.
pub fn parse(name: &str, text: &str) -> Result<Config, Report> {
    if text.len() > MAX_BYTES {
        return Err(too_long(name));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut found = Vec::new();
    let config = Table::read_root(document.get_ref(), &mut found, keys::config);
    // One broken line makes many errors, and what the parser made of it says nothing about what was
    // meant: the first error of each such line tells enough.
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut broken = HashSet::new();
    for mistake in errors.iter().map(syntax_mistake) {
        if broken.insert(start_of_line(text, &mistake)) {
            mistakes.push(mistake);
        }
    }
    mistakes.extend(found.into_iter().filter(|mistake| !broken.contains(&start_of_line(text, mistake))));
    if mistakes.is_empty() { Ok(config) } else { Err(Report::new(name, text, mistakes)) }
}

fn start_of_line(text: &str, mistake: &Mistake) -> Option<usize> {
    let start = mistake.span.as_ref()?.start.min(text.len());
    Some(memchr::memrchr(b'\n', &text.as_bytes()[..start]).map_or(0, |end| end + 1))
}

fn read(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let unreadable = |message: String, help: &str| Report::new(&name, "", vec![Mistake::of_file(message, help)]);
    let mut bytes = Vec::new();
    // One byte more than may be, so that it shows; /dev/zero ends here too.
    let result = File::open(path).and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    result.map_err(|error| {
        unreadable(format!("cannot read the file: {error}"), "check the path, and that the user that Outrider runs as may read it")
    })?;
    if bytes.len() > MAX_BYTES {
        return Err(too_long(&name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        unreadable(format!("the file is not UTF-8 (line {line})"), "TOML is UTF-8 only; save the file in that encoding")
    })
}

fn too_long(name: &str) -> Report {
    let help = "check the path; lists as long as this belong elsewhere";
    Report::new(name, "", vec![Mistake::of_file(format!("the file has more than {} MiB", MAX_BYTES >> 20), help)])
}

fn syntax_mistake(error: &toml::de::Error) -> Mistake {
    let help = match error.message() {
        message if message.starts_with("duplicate key") => "keep one of the two",
        _ => "text goes into quotes (\"10s\"), lists into brackets ([80, 443]); see https://toml.io",
    };
    match error.span() {
        Some(span) => Mistake::at(span, error.message(), help),
        None => Mistake::of_file(error.message(), help),
    }
}
