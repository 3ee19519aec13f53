//! Writing heads: lines that leave as they came, and fields of our own in the chosen format.

use std::ops::Range;

use super::field::Field;
use crate::config::HeaderKeyFormat;

/// Appends field lines to a head.
pub struct HeadWriter<'o, 'b> {
    out: &'o mut Vec<u8>,
    format: HeaderKeyFormat,
    /// Bytes of the head being forwarded, from which lines are taken.
    source: &'b [u8],
    /// Lines of `source` that lie back to back and are copied at once.
    run: Range<usize>,
}

/// What goes into Via (RFC 9110 section 7.6.3).
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// Version that the message was received in.
    pub minor_version: u8,
    pub pseudonym: &'a str,
}

impl<'o, 'b> HeadWriter<'o, 'b> {
    /// `source` is the head that forwarded lines belong to; empty where there is none.
    pub fn new(out: &'o mut Vec<u8>, format: HeaderKeyFormat, source: &'b [u8]) -> Self {
        HeadWriter { out, format, source, run: 0..0 }
    }

    /// A line that leaves as it came, but for the case of its name where a format asks for one.
    #[inline]
    pub fn line(&mut self, field: &Field<'b>) {
        match self.format {
            HeaderKeyFormat::PreserveCase => {
                let start = field.line.as_ptr() as usize - self.source.as_ptr() as usize;
                if self.run.end != start {
                    self.flush();
                    self.run.start = start;
                }
                self.run.end = start + field.line.len();
            }
            _ => {
                self.name(field.name);
                self.out.extend_from_slice(&field.line[field.name.len()..]);
            }
        }
    }

    /// A field of our own, its name given in Proper-Case.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        self.field_as(name.as_bytes(), value);
    }

    /// A new value under a name that the peer wrote.
    pub fn field_as(&mut self, name: &[u8], value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    pub fn via(&mut self, via: Via<'_>) {
        self.name(b"Via");
        self.out.extend_from_slice(if via.minor_version == 0 { b": 1.0 " } else { b": 1.1 " });
        self.out.extend_from_slice(via.pseudonym.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The empty line.
    pub fn finish(mut self) {
        self.flush();
        self.out.extend_from_slice(b"\r\n");
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&self.source[self.run.clone()]);
        self.run = 0..0;
    }

    fn name(&mut self, name: &[u8]) {
        self.flush();
        let start = self.out.len();
        self.out.extend_from_slice(name);
        format_name(&mut self.out[start..], self.format);
    }
}

/// Puts a field name into the format.
pub(super) fn format_name(name: &mut [u8], format: HeaderKeyFormat) {
    match format {
        HeaderKeyFormat::PreserveCase => {}
        HeaderKeyFormat::LowerCase => name.make_ascii_lowercase(),
        HeaderKeyFormat::ProperCaseWords => {
            // Envoy's rule: the first letter, and every letter after a byte that is none.
            let mut first = true;
            for byte in name {
                if first {
                    byte.make_ascii_uppercase();
                } else {
                    byte.make_ascii_lowercase();
                }
                first = !byte.is_ascii_alphanumeric();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::field::Kind;

    fn written(format: HeaderKeyFormat) -> String {
        let mut out = Vec::new();
        let head = b"x-fOO_bar:V  v \r\n";
        let mut writer = HeadWriter::new(&mut out, format, head);
        writer.line(&Field { name: &head[..9], value: b"V  v", line: head, kind: Kind::Other });
        writer.field("Proxy-Status", b"x");
        writer.via(Via { minor_version: 1, pseudonym: "p" });
        writer.finish();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn formats() {
        assert_eq!(written(HeaderKeyFormat::PreserveCase), "x-fOO_bar:V  v \r\nProxy-Status: x\r\nVia: 1.1 p\r\n\r\n");
        assert_eq!(written(HeaderKeyFormat::LowerCase), "x-foo_bar:V  v \r\nproxy-status: x\r\nvia: 1.1 p\r\n\r\n");
        assert_eq!(written(HeaderKeyFormat::ProperCaseWords), "X-Foo_Bar:V  v \r\nProxy-Status: x\r\nVia: 1.1 p\r\n\r\n");
    }
}
