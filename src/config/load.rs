//! From a path, or from nothing, to a checked [`Config`].

use std::path::Path;

use toml::de::DeTable;

use super::report::Mistake;
use super::table::Table;
use super::{Config, Report, keys};

/// Where the packages put the file; read when no other is named.
pub const DEFAULT_PATH: &str = "/etc/outrider/outrider.toml";

/// The file that the packages install, which is also what holds where there is none.
pub const EMBEDDED: &str = include_str!("../../config/outrider.toml");

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// The path, or `embedded default`.
    pub source: String,
}

/// Reads the file named, else the one at [`DEFAULT_PATH`] if there is one, else [`EMBEDDED`].
pub fn load(path: Option<&Path>) -> Result<Loaded, Report> {
    let found = path.or_else(|| Some(Path::new(DEFAULT_PATH)).filter(|path| path.exists()));
    let (source, text) = match found {
        Some(path) => (path.display().to_string(), read(path)?),
        None => ("embedded default".to_owned(), EMBEDDED.to_owned()),
    };
    let config = parse(&source, &text)?;
    Ok(Loaded { config, source })
}

/// Checks one file's text. `name` is what the report calls it.
pub fn parse(name: &str, text: &str) -> Result<Config, Report> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<Mistake> = errors.iter().map(syntax_mistake).collect();
    let mut found = Vec::new();
    let config = Table::read_root(document.get_ref(), &mut found, keys::config);
    // What the parser made of a broken line says nothing about what was meant by it.
    let line_of = |mistake: &Mistake| {
        let start = mistake.span.as_ref()?.start.min(text.len());
        Some(text.as_bytes()[..start].iter().filter(|&&byte| byte == b'\n').count())
    };
    let broken: Vec<_> = mistakes.iter().filter_map(line_of).collect();
    mistakes.extend(found.into_iter().filter(|mistake| line_of(mistake).is_none_or(|line| !broken.contains(&line))));
    if mistakes.is_empty() { Ok(config) } else { Err(Report::new(name, text, mistakes)) }
}

fn read(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let unreadable = |message: String, help: &str| Report::new(&name, "", vec![Mistake::of_file(message, help)]);
    let bytes = std::fs::read(path).map_err(|error| {
        unreadable(format!("cannot read the file: {error}"), "check the path, and that the user that Outrider runs as may read it")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        unreadable(format!("the file is not UTF-8 (line {line})"), "TOML is UTF-8 only; save the file in that encoding")
    })
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
