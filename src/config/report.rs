//! Every mistake of one file, shown as compilers show theirs: where, what, and how to put it right.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// Why a file cannot be used. Holds the text, so that it can be quoted.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) mistakes: Vec<Mistake>,
}

/// One mistake and its remedy.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// `None` where the file as a whole is meant.
    pub(super) span: Option<Span>,
    pub message: String,
    /// Empty where the message says it all.
    pub help: String,
    /// Another place that plays a part, such as the first of two duplicates.
    pub(super) related: Option<(Span, &'static str)>,
}

impl Mistake {
    pub(super) fn at(span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), help: help.into(), related: None }
    }

    pub(super) fn of_file(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span: None, message: message.into(), help: help.into(), related: None }
    }
}

impl Report {
    /// So many are quoted; whoever has more has one mistake, many times.
    const SHOWN: usize = 100;

    /// Puts the mistakes in the order of the text; `text` is what their spans point into.
    pub(super) fn new(name: &str, text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| (span.start, span.end)));
        Self { name: name.to_owned(), text: text.to_owned(), mistakes }
    }

    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The line that a mistake is on, counted from 1.
    pub fn line(&self, mistake: &Mistake) -> Option<usize> {
        let start = self.within_text(mistake.span.as_ref()?).start;
        Some(self.text[..start].matches('\n').count() + 1)
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
        shown.push_str(&format!("{}: {count} {}\n", self.name, if count == 1 { "mistake" } else { "mistakes" }));
        shown
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let title = Level::ERROR.primary_title(mistake.message.as_str());
        let group = match &mistake.span {
            None => title.elements([Level::NOTE.message(format!("in {}", self.name))]),
            Some(span) => {
                let snippet = Snippet::source(self.text.as_str()).path(self.name.as_str());
                let related = mistake.related.as_ref();
                let related = related.map(|(span, label)| AnnotationKind::Context.span(self.within_text(span)).label(*label));
                title.element(snippet.annotation(AnnotationKind::Primary.span(self.within_text(span))).annotations(related))
            }
        };
        match mistake.help.as_str() {
            "" => group,
            help => group.element(Level::HELP.message(help)),
        }
    }

    /// The parser may point past the end, or, in broken text, between the bytes of one character.
    fn within_text(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        start..end
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}
