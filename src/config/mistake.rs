//! One mistake in a configuration.

use std::ops::Range;

/// A place in the texts, in bytes of their common numbering.
pub(super) type Span = Range<usize>;

/// One mistake and its remedy.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    pub(super) span: Span,
    /// The file that `span` is in is meant as a whole.
    pub(super) is_of_file: bool,
    pub message: String,
    /// Empty where the message says it all.
    pub help: String,
    /// Another place that plays a part, such as the first of two duplicates.
    pub(super) related: Option<(Span, &'static str)>,
}

impl Mistake {
    pub(super) fn at(span: Span, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { span, is_of_file: false, message: message.into(), help: help.into(), related: None }
    }

    /// `offset` is where the file begins.
    pub(super) fn of_file(offset: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { is_of_file: true, ..Self::at(offset..offset, message, help) }
    }
}
