//! Which level each module logs at.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// One level for Outrider, and exceptions by module.
///
/// Libraries keep to warnings until they are named: at `debug` they would bury what one looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    default: LevelFilter,
    /// By short name: `dns`, `access_log::writer`, `hickory_resolver`.
    exceptions: BTreeMap<String, LevelFilter>,
}

/// Libraries that log with tracing.
const LIBRARIES: [&str; 4] = ["h2", "hickory_net", "hickory_proto", "hickory_resolver"];
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

impl Default for Levels {
    fn default() -> Self {
        Self { default: LevelFilter::INFO, exceptions: BTreeMap::new() }
    }
}

impl Levels {
    pub(super) fn set(&mut self, name: &str, level: &str) -> Result<(), LevelError> {
        let short = name.strip_prefix("outrider::").unwrap_or(name);
        let first = short.split("::").next().unwrap_or_default();
        if !modules().chain(LIBRARIES).any(|known| known == first) {
            return Err(LevelError::UnknownModule(name.to_owned()));
        }
        self.exceptions.insert(short.to_owned(), parse_level(level)?);
        Ok(())
    }

    pub(super) fn targets(&self) -> Targets {
        let exceptions = self.exceptions.iter().map(|(name, level)| match is_library(name) {
            true => (name.clone(), *level),
            false => (format!("outrider::{name}"), *level),
        });
        Targets::new().with_default(self.default.min(LevelFilter::WARN)).with_target("outrider", self.default).with_targets(exceptions)
    }

    pub(super) fn list(&self) -> Vec<(String, LevelFilter)> {
        let mut levels: BTreeMap<String, LevelFilter> = modules().map(|module| (module.to_owned(), self.default)).collect();
        levels.extend(LIBRARIES.map(|library| (library.to_owned(), self.default.min(LevelFilter::WARN))));
        levels.extend(self.exceptions.clone());
        levels.into_iter().collect()
    }
}

/// `info`, or `info,dns=debug,access_log::writer=trace`; the part without a name may be left out.
impl FromStr for Levels {
    type Err = LevelError;

    fn from_str(spec: &str) -> Result<Self, LevelError> {
        let mut levels = Levels::default();
        for part in spec.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((name, level)) => levels.set(name.trim(), level.trim())?,
                None => levels.default = parse_level(part)?,
            }
        }
        Ok(levels)
    }
}

fn parse_level(text: &str) -> Result<LevelFilter, LevelError> {
    let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map(|&(_, level)| level).ok_or_else(|| LevelError::UnknownLevel(text.to_owned()))
}

fn is_library(name: &str) -> bool {
    LIBRARIES.iter().any(|library| name.split("::").next() == Some(library))
}

/// The crate's modules, read from its own front page so that the list is never out of date.
fn modules() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("../lib.rs").lines();
    lines.filter_map(|line| line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';'))
}

/// What is wrong with a level or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LevelError {
    UnknownLevel(String),
    UnknownModule(String),
}

impl fmt::Display for LevelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name, names) = match self {
            LevelError::UnknownLevel(level) => ("log level", level, LEVELS.iter().map(|&(level, _)| level).collect::<Vec<_>>()),
            LevelError::UnknownModule(module) => ("module", module, modules().chain(LIBRARIES).collect()),
        };
        write!(formatter, "there is no {what} {name:?}; there are {}", names.join(", "))
    }
}

impl std::error::Error for LevelError {}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_spec_is_a_level_and_exceptions() {
        let levels: Levels = "Warn, dns=debug,outrider::access_log::writer=trace,hickory_resolver=info".parse().expect("valid");
        let targets = levels.targets();
        assert!(targets.would_enable("outrider::dns::cache", &Level::DEBUG));
        assert!(targets.would_enable("outrider::access_log::writer", &Level::TRACE));
        assert!(!targets.would_enable("outrider::access_log::log", &Level::INFO));
        assert!(targets.would_enable("hickory_resolver::lookup", &Level::INFO));
        assert_eq!("dns=debug".parse::<Levels>().expect("valid").default, LevelFilter::INFO);
    }

    #[test]
    fn libraries_stay_quiet_until_named() {
        let targets = "trace".parse::<Levels>().expect("valid").targets();
        assert!(targets.would_enable("outrider::dns", &Level::TRACE));
        assert!(!targets.would_enable("h2::client", &Level::INFO));
        assert!(!"off".parse::<Levels>().expect("valid").targets().would_enable("h2::client", &Level::ERROR));
    }

    #[test]
    fn errors_name_what_is_accepted() {
        let message = |spec: &str| spec.parse::<Levels>().expect_err("refused").to_string();
        assert_eq!(message("loud"), "there is no log level \"loud\"; there are off, error, warn, info, debug, trace");
        assert_eq!(message(""), "there is no log level \"\"; there are off, error, warn, info, debug, trace");
        let unknown = message("info,dsn=debug");
        assert!(unknown.starts_with("there is no module \"dsn\"; there are ") && unknown.contains("access_log"), "{unknown}");
    }
}
