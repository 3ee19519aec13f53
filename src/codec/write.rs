//! Writing heads: a copy of the field lines that came, with as few edits as may be, and fields of our own.

use super::field::Field;
use crate::config::HeaderKeyFormat;

/// Appends field lines to a head.
pub struct HeadWriter<'o, 'b> {
    out: &'o mut Vec<u8>,
    format: HeaderKeyFormat,
    /// The head being forwarded, from which lines are copied.
    source: &'b [u8],
    /// What lies before this is copied or left out already. Lines that stay as they are are copied together, when the next
    /// edit comes.
    done: usize,
}

/// What goes into Via (RFC 9110 section 7.6.3).
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// Version that the message was received in.
    pub minor_version: u8,
    pub pseudonym: &'a str,
}

impl<'o, 'b> HeadWriter<'o, 'b> {
    /// For a head of our own.
    pub fn new(out: &'o mut Vec<u8>, format: HeaderKeyFormat) -> Self {
        HeadWriter { out, format, source: &[], done: 0 }
    }

    /// For the successor of `source`, whose field lines begin at `start`. They are edited in the order in which they lie
    /// there; those that are not mentioned leave as they came, so `PreserveCase` need not mention one that it keeps.
    pub fn of(out: &'o mut Vec<u8>, format: HeaderKeyFormat, source: &'b [u8], start: usize) -> Self {
        HeadWriter { out, format, source, done: start }
    }

    /// Leaves as it came, but for the case of its name where a format asks for one.
    pub fn keep(&mut self, field: &Field<'b>) {
        if self.format != HeaderKeyFormat::PreserveCase {
            self.leave_out(field);
            self.name(field.name);
            self.out.extend_from_slice(&field.line[field.name.len()..]);
        }
    }

    pub fn leave_out(&mut self, field: &Field<'b>) {
        let line = field.line.as_ptr() as usize - self.source.as_ptr() as usize;
        self.copy_to(line);
        self.done = line + field.line.len();
    }

    /// A new value under the name that the peer wrote.
    pub fn replace(&mut self, field: &Field<'b>, value: &[u8]) {
        self.leave_out(field);
        self.own(field.name, value);
    }

    /// Copies the lines that are left; fields of our own may follow.
    pub fn rest(&mut self) {
        self.copy_to(self.source.len() - 2);
    }

    /// A field of our own, its name given in Proper-Case.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        self.own(name.as_bytes(), value);
    }

    pub fn via(&mut self, via: Via<'_>) {
        self.name(b"Via");
        self.out.extend_from_slice(if via.minor_version == 0 { b": 1.0 " } else { b": 1.1 " });
        self.out.extend_from_slice(via.pseudonym.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// The empty line.
    pub fn finish(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn own(&mut self, name: &[u8], value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn copy_to(&mut self, end: usize) {
        self.out.extend_from_slice(&self.source[self.done..end]);
        self.done = end;
    }

    fn name(&mut self, name: &[u8]) {
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
        let head = b"x-fOO_bar:V  v \r\n\r\n";
        let mut writer = HeadWriter::of(&mut out, format, head, 0);
        writer.keep(&Field { name: &head[..9], value: b"V  v", line: &head[..17], kind: Kind::Other });
        writer.rest();
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
