//! HTTP/1 messages as a test sees them: the bytes of a head as they came, the body without its framing.
//!
//! Read by rules of their own and without the proxy's codec, so that both cannot be wrong together.

use std::fmt::Write;

/// A message with its body decoded.
#[derive(Debug, Clone)]
pub struct Message {
    pub head: Head,
    pub body: Vec<u8>,
    /// Lines of a trailer section, each with its CRLF.
    pub trailers: Vec<u8>,
}

/// A head, byte for byte, up to and with its empty line.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub bytes: Vec<u8>,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyEnd {
    None,
    Length(usize),
    Chunked,
    Close,
}

impl Head {
    pub fn start_line(&self) -> &str {
        self.lines().next().unwrap_or("")
    }

    /// Of a response.
    pub fn status(&self) -> u16 {
        let status = self.start_line().split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    /// Of a request.
    pub fn method(&self) -> &str {
        self.start_line().split(' ').next().unwrap_or("")
    }

    /// Value of the only field of that name, in any case.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields(name);
        let value = values.pop();
        assert!(values.is_empty(), "several {name} fields in {self:?}");
        value
    }

    /// Values of all fields of that name, in any case.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Whether a comma-separated field has that element.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.fields(name).iter().flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(element))
    }

    /// Names of the fields as they were written, in order.
    pub fn names(&self) -> Vec<&str> {
        self.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        // Good enough where the head is text; whole heads are compared as bytes.
        std::str::from_utf8(&self.bytes).unwrap_or("").split("\r\n").filter(|line| !line.is_empty())
    }

    pub(super) fn request_body_end(&self) -> BodyEnd {
        match (self.lists("transfer-encoding", "chunked"), self.length()) {
            (true, _) => BodyEnd::Chunked,
            (false, Some(length)) => BodyEnd::Length(length),
            (false, None) => BodyEnd::None,
        }
    }

    /// `to` is the method that is answered.
    pub(super) fn response_body_end(&self, to: &str) -> BodyEnd {
        match (self.status(), self.request_body_end()) {
            (100..200 | 204 | 304, _) => BodyEnd::None,
            _ if to == "HEAD" => BodyEnd::None,
            (200..300, _) if to == "CONNECT" => BodyEnd::None,
            (_, BodyEnd::None) => BodyEnd::Close,
            (_, end) => end,
        }
    }

    fn length(&self) -> Option<usize> {
        self.field("content-length").map(|length| length.parse().unwrap_or_else(|_| panic!("bad Content-Length in {self:?}")))
    }
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&dump(&self.bytes))
    }
}

impl PartialEq<&[u8]> for Head {
    fn eq(&self, other: &&[u8]) -> bool {
        self.bytes == *other
    }
}

/// Bytes as readable text on several lines, every invisible one escaped, long runs cut.
pub fn dump(bytes: &[u8]) -> String {
    const MOST: usize = 1500;
    let mut text = String::from("\n    ");
    for (index, &byte) in bytes.iter().enumerate() {
        if index == MOST {
            let _ = write!(text, "... and {} bytes more", bytes.len() - MOST);
            break;
        }
        match byte {
            b'\n' if index + 1 < bytes.len() => text.push_str("\\n\n    "),
            b'"' | b'\'' => text.push(char::from(byte)),
            _ => text.extend(byte.escape_ascii().map(char::from)),
        }
    }
    if bytes.is_empty() {
        text.push_str("(nothing)");
    }
    text
}
