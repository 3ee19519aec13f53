//! Writing heads: lines that leave as they came, and fields of our own in the chosen format.

use super::field::Field;
use crate::config::HeaderKeyFormat;

/// Appends field lines to a head.
pub struct HeadWriter<'o> {
    out: &'o mut Vec<u8>,
    format: HeaderKeyFormat,
}

/// What goes into Via (RFC 9110 section 7.6.3).
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// Version that the message was received in.
    pub minor_version: u8,
    pub pseudonym: &'a str,
}

impl<'o> HeadWriter<'o> {
    pub fn new(out: &'o mut Vec<u8>, format: HeaderKeyFormat) -> Self {
        HeadWriter { out, format }
    }

    /// A line that leaves as it came, but for the case of its name where a format asks for one.
    #[inline]
    pub fn line(&mut self, field: &Field<'_>) {
        match self.format {
            HeaderKeyFormat::PreserveCase => self.out.extend_from_slice(field.line),
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
    pub fn finish(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn name(&mut self, name: &[u8]) {
        let start = self.out.len();
        self.out.extend_from_slice(name);
        let written = &mut self.out[start..];
        match self.format {
            HeaderKeyFormat::PreserveCase => {}
            HeaderKeyFormat::LowerCase => written.make_ascii_lowercase(),
            HeaderKeyFormat::ProperCaseWords => {
                // Envoy's rule: the first letter, and every letter after a byte that is none.
                let mut first = true;
                for byte in written {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::field::Kind;

    fn written(format: HeaderKeyFormat) -> String {
        let mut out = Vec::new();
        let mut writer = HeadWriter::new(&mut out, format);
        writer.line(&Field { name: b"x-fOO_bar", value: b"V  v", line: b"x-fOO_bar:V  v \r\n", kind: Kind::Other });
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
