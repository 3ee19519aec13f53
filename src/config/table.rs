//! One table of the file while its keys are read. What was asked for is what is known: there is no
//! second list of keys that could drift from the first.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::form::Form;
use super::report::{Mistake, Span};

/// A table being read. Every reader notes its key as known; what is left over when the reading
/// function returns is unknown. A mistake leaves the value in place as it was.
pub(super) struct Table<'a> {
    /// As written in brackets: `cluster.override`; empty for the file itself.
    header: String,
    span: Span,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
    mistakes: &'a mut Vec<Mistake>,
}

impl<'a> Table<'a> {
    pub(super) fn read_root<T>(document: &'a DeTable<'a>, mistakes: &'a mut Vec<Mistake>, read: impl FnOnce(&mut Table<'_>) -> T) -> T {
        let mut table = Table { header: String::new(), span: 0..0, entries: document, known: Vec::new(), mistakes };
        let result = read(&mut table);
        table.report_unknown();
        result
    }

    /// Reads one value in the form `F`. Answers where it was written.
    pub(super) fn read<F: Form>(&mut self, key: &'static str, into: &mut F::Checked) -> Option<Span> {
        let value = self.value(key)?;
        if let Some(checked) = self.check::<F>(value) {
            *into = checked;
        }
        Some(value.span())
    }

    /// Reads a list, each of whose items has the form `F`; it takes the place of the default.
    /// Answers where each item was written, as far as they are right.
    pub(super) fn list<F: Form>(&mut self, key: &'static str, into: &mut Vec<F::Checked>) -> Vec<Span> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            let help = format!("write a list, even of one: {key} = [{}]", F::example());
            self.mistake(Mistake::at(value.span(), format!("`{key}` is a list"), help));
            return Vec::new();
        };
        into.clear();
        let mut spans = Vec::new();
        for item in items.iter() {
            if let Some(checked) = self.check::<F>(item) {
                into.push(checked);
                spans.push(item.span());
            }
        }
        spans
    }

    /// Like [`Table::list`], where an empty one would leave nothing that works.
    pub(super) fn filled_list<F: Form>(&mut self, key: &'static str, into: &mut Vec<F::Checked>) -> Vec<Span> {
        if let Some(value) = self.value(key)
            && value.get_ref().as_array().is_some_and(|items| items.is_empty())
        {
            let help = format!("name at least one, such as {}, or leave the key out", F::example());
            self.mistake(Mistake::at(value.span(), format!("`{key}` is empty"), help));
        }
        self.list::<F>(key, into)
    }

    /// Reads the table `[key]` if it is there; answers what the reading function did.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let value = self.value(key)?;
        let header = self.below(key);
        let Some(entries) = value.get_ref().as_table() else {
            let help = format!("write [{header}] and its keys below it");
            self.mistake(Mistake::at(value.span(), format!("`{key}` is a table"), help));
            return None;
        };
        Some(self.descend(header, value.span(), entries, read))
    }

    /// Reads every `[[key]]`, in order.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Table<'_>)) {
        let Some(value) = self.value(key) else { return };
        let header = self.below(key);
        let wrong = |span| Mistake::at(span, format!("`{key}` may be there many times"), format!("write [[{header}]], with two brackets"));
        let Some(items) = value.get_ref().as_array() else { return self.mistake(wrong(value.span())) };
        for item in items.iter() {
            match item.get_ref().as_table() {
                Some(entries) => self.descend(header.clone(), item.span(), entries, &mut read),
                None => self.mistake(wrong(item.span())),
            }
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
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

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.get(key)
    }

    /// serde reads what is written, the form checks what it says.
    fn check<F: Form>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<F::Checked> {
        let mistake = match F::Written::deserialize(ValueDeserializer::from(value.clone())) {
            Err(error) => {
                // serde appends what it would have taken; that is the remedy, and the form's own is better.
                let (message, expected) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
                let help = F::remedy();
                Mistake::at(value.span(), message, if help.is_empty() { format!("write {expected}") } else { help })
            }
            Ok(written) => match F::check(written) {
                Ok(checked) => return Some(checked),
                Err(wrong) => Mistake::at(value.span(), wrong.message, wrong.help.unwrap_or_else(F::remedy)),
            },
        };
        self.mistake(mistake);
        None
    }

    fn below(&self, key: &str) -> String {
        if self.header.is_empty() { key.to_owned() } else { format!("{}.{key}", self.header) }
    }

    fn descend<T>(&mut self, header: String, span: Span, entries: &DeTable<'_>, read: impl FnOnce(&mut Table<'_>) -> T) -> T {
        let mut table = Table { header, span, entries, known: Vec::new(), mistakes: &mut *self.mistakes };
        let result = read(&mut table);
        table.report_unknown();
        result
    }

    fn report_unknown(&mut self) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = if self.header.is_empty() { "a file".to_owned() } else { format!("[{}]", self.header) };
            let nearest = nearest(name, &self.known).map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default();
            let message = format!("unknown key `{}`{nearest}", name.escape_debug());
            let help = format!("{place} has: {}", self.known.join(", "));
            self.mistakes.push(Mistake::at(key.span(), message, help));
        }
    }
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
