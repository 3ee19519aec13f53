//! Every mistake of one configuration, shown as compilers show theirs: where, what, and how to put it right.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

use super::mistake::{Mistake, Span};
use super::sources::{Source, Sources};

/// Why a configuration cannot be used, or what of a good one its writer hardly meant. Holds the texts, so that they can be
/// quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    sources: Sources,
    mistakes: Vec<Mistake>,
    severity: Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    Mistake,
    Warning,
}

impl Report {
    /// So many are quoted; whoever has more has one mistake, many times.
    const SHOWN: usize = 100;

    /// Puts the mistakes in the order of the texts, which are what their spans point into.
    pub(super) fn new(sources: Sources, mut mistakes: Vec<Mistake>, severity: Severity) -> Self {
        mistakes.sort_by_key(|mistake| (mistake.span.start, !mistake.is_of_file, mistake.span.end));
        Self { sources, mistakes, severity }
    }

    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// The first mistake in one line, with its file: for a status that has no room for the report.
    pub fn headline(&self) -> String {
        let Some(first) = self.mistakes.first() else { return String::new() };
        let file = self.file(first);
        let place = self.line(first).map_or(file.to_owned(), |line| format!("{file}:{line}"));
        let more = match self.mistakes.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("{place}: {}{more}", first.message)
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The name of the file that a mistake is in.
    pub fn file(&self, mistake: &Mistake) -> &str {
        &self.sources.find(mistake.span.start).name
    }

    /// The line that a mistake is on, counted from 1.
    pub fn line(&self, mistake: &Mistake) -> Option<usize> {
        if mistake.is_of_file {
            return None;
        }
        let source = self.sources.find(mistake.span.start);
        let start = within_text(source, &mistake.span).start;
        Some(source.text[..start].matches('\n').count() + 1)
    }

    /// The whole report, in colour for a terminal.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() }.decor_style(DecorStyle::Ascii);
        let mut shown = String::new();
        for mistake in self.mistakes.iter().take(Self::SHOWN) {
            shown.push_str(&renderer.render(&[self.group(mistake)]));
            shown.push_str("\n\n");
        }
        let count = self.mistakes.len();
        if count > Self::SHOWN {
            shown.push_str(&format!("and {} more\n\n", count - Self::SHOWN));
        }
        for source in self.sources.iter() {
            let count = self.mistakes.iter().filter(|mistake| std::ptr::eq(self.sources.find(mistake.span.start), source)).count();
            if count > 0 {
                let noun = if self.severity == Severity::Warning { "warning" } else { "mistake" };
                shown.push_str(&format!("{}: {count} {noun}{}\n", source.name, if count == 1 { "" } else { "s" }));
            }
        }
        shown
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let level = if self.severity == Severity::Warning { Level::WARNING } else { Level::ERROR };
        let title = level.primary_title(mistake.message.as_str());
        let source = self.sources.find(mistake.span.start);
        let group = if mistake.is_of_file {
            title.elements([Level::NOTE.message(format!("in {}", source.name))])
        } else {
            let snippet = quoted(source).annotation(AnnotationKind::Primary.span(within_text(source, &mistake.span)));
            match &mistake.related {
                None => title.element(snippet),
                Some((span, label)) => {
                    let other = self.sources.find(span.start);
                    let annotation = AnnotationKind::Context.span(within_text(other, span)).label(*label);
                    if std::ptr::eq(other, source) {
                        title.element(snippet.annotation(annotation))
                    } else {
                        title.element(snippet).element(quoted(other).annotation(annotation))
                    }
                }
            }
        };
        match mistake.help.as_str() {
            "" => group,
            help => group.element(Level::HELP.message(help)),
        }
    }
}

fn quoted<'a>(source: &'a Source) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    Snippet::source(source.text.as_str()).path(source.name.as_str())
}

/// A place in the source's own text. The parser may point past the end, or, in broken text, between the bytes of one character.
fn within_text(source: &Source, span: &Span) -> Span {
    let start = source.text.floor_char_boundary(span.start - source.offset);
    let end = source.text.ceil_char_boundary((span.end - source.offset).max(start));
    start..end
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
