//! A second, plain reading of heads, to compare the codec's with.

use std::fmt;

use outrider::config::HeaderKeyFormat;

/// A field line: its name, and all that follows the name up to the CRLF.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    pub name: Vec<u8>,
    pub rest: Vec<u8>,
}

impl Line {
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        Line { name: name.to_vec(), rest: [b": ", value].concat() }
    }

    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    pub fn is_one_of(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    pub fn value(&self) -> &[u8] {
        self.rest[1..].trim_ascii()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", [&self.name[..], &self.rest].concat().escape_ascii())
    }
}

/// The first line and the field lines of a whole head.
pub fn read(head: &[u8]) -> (Vec<u8>, Vec<Line>) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let mut lines = split(text).into_iter();
    let first = lines.next().expect("a first line").to_vec();
    let fields = lines.map(|line| {
        assert!(!line.iter().any(|byte| b"\r\n\0".contains(byte)), "a control byte in {}", line.escape_ascii());
        let colon = line.iter().position(|&byte| byte == b':').expect("a colon in every line");
        Line { name: line[..colon].to_vec(), rest: line[colon..].to_vec() }
    });
    (first, fields.collect())
}

fn split(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}

/// Elements of all fields of this name, in lower case.
pub fn elements(lines: &[Line], name: &str) -> Vec<Vec<u8>> {
    let values = lines.iter().filter(|line| line.is(name)).flat_map(|line| line.value().split(|&byte| byte == b','));
    values.map(|element| element.trim_ascii().to_ascii_lowercase()).filter(|element| !element.is_empty()).collect()
}

/// Holds `actual` against `expected`, names in the format that was chosen.
pub fn assert_same(actual: &[Line], expected: &[Line], format: HeaderKeyFormat) {
    let formatted: Vec<Line> =
        expected.iter().map(|line| Line { name: with_format(&line.name, format), rest: line.rest.clone() }).collect();
    assert_eq!(actual, formatted);
}

fn with_format(name: &[u8], format: HeaderKeyFormat) -> Vec<u8> {
    match format {
        HeaderKeyFormat::PreserveCase => name.to_vec(),
        HeaderKeyFormat::LowerCase => name.to_ascii_lowercase(),
        HeaderKeyFormat::ProperCaseWords => {
            let starts_word = |at: usize| at == 0 || !name[at - 1].is_ascii_alphanumeric();
            let letter = |at: usize| if starts_word(at) { name[at].to_ascii_uppercase() } else { name[at].to_ascii_lowercase() };
            (0..name.len()).map(letter).collect()
        }
    }
}
