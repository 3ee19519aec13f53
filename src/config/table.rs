//! One table of the configuration while its keys are read. What was asked for is what is known: there is
//! no second list of keys that could drift from the first.
//!
//! Several files may each have a part of the table. Its keys are read in all of them, so that a value is checked even
//! where a later file has another in its place.

use serde::Deserialize;
use smallvec::SmallVec;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::form::Form;
use super::mistake::{Mistake, Span};

/// A table being read. Every reader notes its key as known; what is left over when the reading
/// function returns is unknown. A mistake leaves the value in place as it was.
pub(super) struct Table<'a> {
    /// As written in brackets: `cluster.override`; empty for the file itself.
    header: String,
    span: Span,
    layers: Layers<'a>,
    known: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

/// What one file has of a table.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    /// Where the file begins in the common numbering of places.
    pub(super) offset: usize,
    pub(super) entries: &'a DeTable<'a>,
}

/// In the order of the files.
type Layers<'a> = Vec<Layer<'a>>;

/// One file's value of a key.
struct Found<'a> {
    offset: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Found<'a> {
    fn span(&self) -> Span {
        self.span_of(self.value)
    }

    /// Where a part of the value is.
    fn span_of(&self, part: &Spanned<DeValue<'_>>) -> Span {
        in_common_numbering(part.span(), self.offset)
    }

    fn as_layer(&self) -> Option<Layer<'a>> {
        Some(Layer { offset: self.offset, entries: self.value.get_ref().as_table()? })
    }
}

/// A place in the text of the file that begins at `offset`, among all files.
fn in_common_numbering(span: Span, offset: usize) -> Span {
    span.start + offset..span.end + offset
}

impl<'a> Table<'a> {
    pub(super) fn read_root<T>(layers: Layers<'a>, mistakes: &'a mut Vec<Mistake>, read: impl FnOnce(&mut Table<'_>) -> T) -> T {
        let mut table = Table { header: String::new(), span: 0..0, layers, known: Vec::new(), mistakes };
        let result = read(&mut table);
        table.report_unknown();
        result
    }

    /// Reads one value in the form `F`; the last file's holds. Answers where that was written.
    pub(super) fn read<F: Form>(&mut self, key: &'static str, into: &mut F::Checked) -> Option<Span> {
        let mut place = None;
        for found in self.values(key) {
            if let Some(checked) = self.check::<F>(found.value, found.span()) {
                *into = checked;
            }
            place = Some(found.span());
        }
        place
    }

    /// Reads a list, each of whose items has the form `F`; it takes the place of the default, and of an earlier file's.
    /// Answers where each item was written, as far as they are right.
    pub(super) fn list<F: Form>(&mut self, key: &'static str, into: &mut Vec<F::Checked>) -> Vec<Span> {
        let mut spans = Vec::new();
        for found in self.values(key) {
            let Some(items) = found.value.get_ref().as_array() else {
                let help = format!("write a list, even of one: {key} = [{}]", F::example());
                self.mistake(Mistake::at(found.span(), format!("`{key}` is a list"), help));
                continue;
            };
            into.clear();
            spans.clear();
            for item in items.iter() {
                let span = found.span_of(item);
                if let Some(checked) = self.check::<F>(item, span.clone()) {
                    into.push(checked);
                    spans.push(span);
                }
            }
        }
        spans
    }

    /// Like [`Table::list`], where an empty one would leave nothing that works.
    pub(super) fn filled_list<F: Form>(&mut self, key: &'static str, into: &mut Vec<F::Checked>) -> Vec<Span> {
        for found in self.values(key) {
            if found.value.get_ref().as_array().is_some_and(|items| items.is_empty()) {
                let help = format!("name at least one, such as {}, or leave the key out", F::example());
                self.mistake(Mistake::at(found.span(), format!("`{key}` is empty"), help));
            }
        }
        self.list::<F>(key, into)
    }

    /// Reads the table `[key]` if it is there, as one of what all files have of it; answers what the reading function did.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let header = self.below(key);
        let (mut layers, mut span) = (Layers::new(), None);
        for found in self.values(key) {
            let Some(layer) = found.as_layer() else {
                let help = format!("write [{header}] and its keys below it");
                self.mistake(Mistake::at(found.span(), format!("`{key}` is a table"), help));
                continue;
            };
            layers.push(layer);
            span.get_or_insert_with(|| found.span());
        }
        Some(self.descend(header, span?, layers, read))
    }

    /// Reads every `[[key]]`, in order, file by file.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Table<'_>)) {
        let header = self.below(key);
        let wrong = |span| Mistake::at(span, format!("`{key}` may be there many times"), format!("write [[{header}]], with two brackets"));
        for found in self.values(key) {
            let Some(items) = found.value.get_ref().as_array() else {
                self.mistake(wrong(found.span()));
                continue;
            };
            for value in items.iter() {
                let item = Found { value, ..found };
                match item.as_layer() {
                    Some(layer) => self.descend(header.clone(), item.span(), vec![layer], &mut read),
                    None => self.mistake(wrong(item.span())),
                }
            }
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.layers.iter().any(|layer| layer.entries.contains_key(key))
    }

    /// Where the table is, for what is missing from it.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Two keys that say the same thing: either, not both.
    pub(super) fn not_both(&mut self, first: Option<Span>, second: Option<Span>) {
        if let (Some(first), Some(second)) = (first, second) {
            let mistake = Mistake::at(second, "said twice", "these two keys set the same thing: keep one");
            self.mistake(Mistake { related: Some((first, "and here")), ..mistake });
        }
    }

    /// What each file that has the key says.
    fn values(&mut self, key: &'static str) -> SmallVec<[Found<'a>; 1]> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.layers.iter().filter_map(|layer| Some(Found { offset: layer.offset, value: layer.entries.get(key)? })).collect()
    }

    /// serde reads what is written, the form checks what it says.
    fn check<F: Form>(&mut self, value: &Spanned<DeValue<'_>>, span: Span) -> Option<F::Checked> {
        let mistake = match F::Written::deserialize(ValueDeserializer::from(value.clone())) {
            Err(error) => {
                let (message, help) = in_our_words(error.message());
                let remedy = F::remedy();
                Mistake::at(span, message, if remedy.is_empty() { help } else { remedy })
            }
            Ok(written) => match F::check(written) {
                Ok(checked) => return Some(checked),
                Err(wrong) => Mistake::at(span, wrong.message, wrong.help.unwrap_or_else(F::remedy)),
            },
        };
        self.mistake(mistake);
        None
    }

    fn below(&self, key: &str) -> String {
        if self.header.is_empty() { key.to_owned() } else { format!("{}.{key}", self.header) }
    }

    fn descend<T>(&mut self, header: String, span: Span, layers: Layers<'_>, read: impl FnOnce(&mut Table<'_>) -> T) -> T {
        let mut table = Table { header, span, layers, known: Vec::new(), mistakes: &mut *self.mistakes };
        let result = read(&mut table);
        table.report_unknown();
        result
    }

    fn report_unknown(&mut self) {
        for layer in &self.layers {
            for key in layer.entries.keys() {
                let name: &str = key.get_ref();
                if self.known.contains(&name) {
                    continue;
                }
                let place = if self.header.is_empty() { "a file".to_owned() } else { format!("[{}]", self.header) };
                let nearest = nearest(name, &self.known).map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
                let message = format!("unknown key `{}`{nearest}", name.escape_debug());
                let help = format!("{place} has: {}", self.known.join(", "));
                self.mistakes.push(Mistake::at(in_common_numbering(key.span(), layer.offset), message, help));
            }
        }
    }
}

/// What serde says of a value, and what it would have taken, as people say it.
fn in_our_words(error: &str) -> (String, String) {
    let (found, expected) = error.split_once(", expected ").unwrap_or((error, ""));
    let help = match expected {
        "a boolean" => "write true or false, without quotes".to_owned(),
        words => format!("write {}", words.trim_start_matches("one of ").replace('`', "\"")),
    };
    let shown = |value: &str| format!("`{}`", value.trim_matches(['"', '`']));
    let message = if let Some(variant) = found.strip_prefix("unknown variant ") {
        format!("{} is none of the words that may stand here", shown(variant))
    } else if let Some(kind) = found.strip_prefix("invalid type: ") {
        match kind.split_once(' ') {
            Some(("string", value)) => format!("{} is text, which cannot stand here", shown(value)),
            Some(("integer", value)) => format!("{} is a number, which cannot stand here", shown(value)),
            Some(("boolean", value)) => format!("{} cannot stand here", shown(value)),
            Some(("floating", value)) => format!("{} is a number, which cannot stand here", shown(value.trim_start_matches("point "))),
            _ if kind == "sequence" => "a list cannot stand here".to_owned(),
            _ if kind == "map" => "a table cannot stand here".to_owned(),
            _ => format!("{kind} cannot stand here"),
        }
    } else {
        found.to_owned()
    };
    (message, help)
}

/// The known name that was probably meant: near in edits, measured by the length of what was written.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    // No key is this long, and the distance takes time in the product of both lengths.
    if written.len() > 64 {
        return None;
    }
    let distance = |name: &str| strsim::damerau_levenshtein(&written.to_lowercase(), name);
    let best = known.iter().map(|&name| (distance(name), name)).min()?;
    let limit = (written.chars().count() / 3).max(1);
    // `timeout` for `idle_timeout`: a part of the name is as telling as a slip of the finger.
    let part = || known.iter().copied().find(|name| written.len() >= 4 && name.contains(written));
    if best.0 <= limit { Some(best.1) } else { part() }
}
