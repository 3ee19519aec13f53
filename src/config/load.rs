//! From a path, or from nothing, to a checked [`Config`].

use std::collections::HashSet;
use std::path::Path;

use toml::de::DeTable;

use super::advice::{self, Places};
use super::mistake::Mistake;
use super::report::Severity;
use super::sources::{self, Open, Source, Sources};
use super::table::{Layer, Table};
use super::{Config, Report, keys};

/// Where the packages put the file; read when no other is named.
pub const DEFAULT_PATH: &str = "/etc/outrider/outrider.toml";

/// The file that the packages install, which is also what holds where there is none.
pub const EMBEDDED: &str = include_str!("../../config/outrider.toml");

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The paths of the main file and those of its `conf.d`, as they were read, or `embedded default`.
    pub sources: Vec<String>,
    /// What its writer hardly meant; empty where nobody asked for it.
    pub warnings: Report,
}

/// Reads the file named, else the one at [`DEFAULT_PATH`] if there is one, else [`EMBEDDED`]; and after a file, every
/// `*.toml` in the directory `conf.d` beside it, in the order of their names.
pub fn load(path: Option<&Path>) -> Result<Loaded, Report> {
    load_by(path, sources::open, Advice::Unwanted)
}

/// The same for a file that was read before. A pipe gave all that it had then, and is a mistake now: waiting for more of it
/// could take for ever.
pub fn load_again(path: Option<&Path>) -> Result<Loaded, Report> {
    load_by(path, sources::open_again, Advice::Unwanted)
}

/// Like [`load`], and looks for what is right by every rule and yet hardly meant.
pub fn load_with_advice(path: Option<&Path>) -> Result<Loaded, Report> {
    load_by(path, sources::open, Advice::Wanted)
}

/// Whether to look for what is hardly meant, which takes longer than reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    Wanted,
    Unwanted,
}

fn load_by(path: Option<&Path>, open: Open, advice: Advice) -> Result<Loaded, Report> {
    // Not being allowed to look is no reason to run with something else than the administrator wrote.
    let present = |path: &&Path| path.try_exists().unwrap_or(true);
    let found = path.or_else(|| Some(Path::new(DEFAULT_PATH)).filter(present));
    let Some(path) = found else {
        let name = "embedded default";
        let (sources, mistakes) = Sources::of_text(name, EMBEDDED);
        let (config, warnings) = check(sources, mistakes, advice)?;
        return Ok(Loaded { config, sources: vec![name.to_owned()], warnings });
    };
    let (sources, unreadable) = Sources::read(path, open);
    let names = sources.iter().map(|source| source.name.clone()).collect();
    let (config, warnings) = check(sources, unreadable, advice)?;
    Ok(Loaded { config, sources: names, warnings })
}

/// Checks one file's text. `name` is what the report calls it.
pub fn parse(name: &str, text: &str) -> Result<Config, Report> {
    let (sources, mistakes) = Sources::of_text(name, text);
    Ok(check(sources, mistakes, Advice::Unwanted)?.0)
}

/// Parses each file by itself and reads them as one. `mistakes` are those that were found before.
fn check(sources: Sources, mut mistakes: Vec<Mistake>, advice: Advice) -> Result<(Config, Report), Report> {
    let mut documents = Vec::new();
    let mut broken = HashSet::new();
    for source in sources.iter() {
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        // One broken line makes many errors, and what the parser made of it says nothing about what was
        // meant: the first error of each such line tells enough.
        for mistake in errors.iter().map(|error| syntax_mistake(source, error)) {
            if broken.insert(start_of_line(&sources, &mistake)) {
                mistakes.push(mistake);
            }
        }
        documents.push((source.offset, document));
    }
    let layers = documents.iter().map(|(offset, document)| Layer { offset: *offset, entries: document.get_ref() });
    let mut found = Vec::new();
    let mut places = Places::default();
    let config = Table::read_root(layers.collect(), &mut found, |file| keys::config(file, &mut places));
    mistakes.extend(found.into_iter().filter(|mistake| !broken.contains(&start_of_line(&sources, mistake))));
    drop(documents);
    if !mistakes.is_empty() {
        return Err(Report::new(sources, mistakes, Severity::Mistake));
    }
    let warnings = if advice == Advice::Wanted { advice::warnings(&config, &places, &sources) } else { Vec::new() };
    Ok((config, Report::new(sources, warnings, Severity::Warning)))
}

/// As a place in the common numbering.
fn start_of_line(sources: &Sources, mistake: &Mistake) -> usize {
    let source = sources.find(mistake.span.start);
    let start = (mistake.span.start - source.offset).min(source.text.len());
    source.offset + memchr::memrchr(b'\n', &source.text.as_bytes()[..start]).map_or(0, |end| end + 1)
}

fn syntax_mistake(source: &Source, error: &toml::de::Error) -> Mistake {
    let help = match error.message() {
        message if message.starts_with("duplicate key") => "keep one of the two",
        _ => "text goes into quotes (\"10s\"), lists into brackets ([80, 443]); see https://toml.io",
    };
    // The parser may point past the end, which must not be a place in the next file.
    let place = |place: usize| source.offset + place.min(source.text.len());
    match error.span() {
        Some(span) => Mistake::at(place(span.start)..place(span.end), error.message(), help),
        None => Mistake::of_file(source.offset, error.message(), help),
    }
}
