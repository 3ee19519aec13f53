//! Local replies: responses that Outrider makes itself.

use std::borrow::Cow;

use super::fault::{Fault, Shape};
use crate::codec::response::standard_phrase;
use crate::codec::write::HeadWriter;
use crate::config::Http1;

/// A response of our own.
pub(super) struct Reply<'a> {
    pub status: u16,
    /// Stands behind the standard phrase: clients hide the body of a failed CONNECT, but most show this.
    pub phrase: Option<&'a str>,
    pub content_type: &'static str,
    pub body: Cow<'a, str>,
    /// RFC 9209.
    pub proxy_status: Option<ProxyStatus<'a>>,
    pub fields: &'a [(&'static str, &'a str)],
    pub request_id: u64,
    pub closes: bool,
}

pub(super) struct ProxyStatus<'a> {
    pub error: &'static str,
    pub details: &'a str,
}

/// What of the request shapes the reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct To {
    pub minor_version: u8,
    pub is_head: bool,
    pub keeps_alive: bool,
}

impl Reply<'_> {
    pub fn write(&self, to: To, options: &Http1, date: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        out.extend_from_slice(standard_phrase(self.status).as_bytes());
        if let Some(phrase) = self.phrase {
            out.extend_from_slice(b" (");
            out.extend(phrase.bytes().map(printable));
            out.push(b')');
        }
        out.extend_from_slice(b"\r\n");
        let mut writer = HeadWriter::new(out, options.header_key_format);
        writer.field("Date", date);
        if !self.content_type.is_empty() {
            writer.field("Content-Type", self.content_type.as_bytes());
        }
        writer.field("Content-Length", itoa::Buffer::new().format(self.body.len()).as_bytes());
        for (name, value) in self.fields {
            writer.field(name, value.as_bytes());
        }
        if let Some(status) = &self.proxy_status {
            writer.field("Proxy-Status", proxy_status(&options.via, status).as_bytes());
        }
        writer.field("X-Request-Id", format!("{:016x}", self.request_id).as_bytes());
        if self.closes || !to.keeps_alive {
            writer.field("Connection", b"close");
        } else if to.minor_version == 0 {
            writer.field("Connection", b"keep-alive");
        }
        writer.finish();
        if !to.is_head {
            out.extend_from_slice(self.body.as_bytes());
        }
    }
}

/// The reply that tells a client of a fault.
pub(super) struct FaultReply<'a> {
    pub fault: &'a Fault,
    pub shape: &'a Shape,
    /// Shown with the reason: a rule's name, say.
    pub detail: &'a str,
    /// The method and the destination, where that is what was refused; else empty.
    pub asked: &'a str,
    pub request_id: u64,
}

impl FaultReply<'_> {
    pub fn write(&self, to: To, options: &Http1, date: &[u8], out: &mut Vec<u8>) {
        let FaultReply { shape, detail, asked, request_id, .. } = *self;
        let phrase = if detail.is_empty() { shape.reason.to_owned() } else { format!("{}: {detail}", shape.reason) };
        let asked = if asked.is_empty() { String::new() } else { format!("Asked: {asked}\n") };
        let remedy = self.fault.remedy(detail).map(|remedy| format!("To allow it: {remedy}\n")).unwrap_or_default();
        let body = format!(
            "{} {}\n\n{}\n\n{asked}Reason: {phrase}\n{remedy}Request: {request_id:016x}\n",
            shape.status,
            standard_phrase(shape.status),
            self.fault.explanation(),
        );
        let fields: &[_] = if shape.status == 503 { &[("Retry-After", "1")] } else { &[] };
        Reply {
            status: shape.status,
            phrase: Some(&phrase),
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
            proxy_status: Some(ProxyStatus { error: shape.proxy_error, details: &phrase }),
            fields,
            request_id,
            closes: shape.closes,
        }
        .write(to, options, date, out);
    }
}

/// A structured field (RFC 8941): a token where the pseudonym is one, otherwise a string.
fn proxy_status(pseudonym: &str, status: &ProxyStatus<'_>) -> String {
    let mut value = String::new();
    let is_token = pseudonym.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*')
        && pseudonym.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
    if is_token {
        value.push_str(pseudonym);
    } else {
        push_string(&mut value, pseudonym);
    }
    value.push_str("; error=");
    value.push_str(status.error);
    if !status.details.is_empty() {
        value.push_str("; details=");
        push_string(&mut value, status.details);
    }
    value
}

fn push_string(value: &mut String, text: &str) {
    value.push('"');
    for byte in text.bytes().map(printable) {
        if matches!(byte, b'"' | b'\\') {
            value.push('\\');
        }
        value.push(char::from(byte));
    }
    value.push('"');
}

/// Names in the configuration may hold anything; heads may not.
fn printable(byte: u8) -> u8 {
    if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_status_is_a_structured_field() {
        let status = ProxyStatus { error: "dns_error", details: "a \"b\" \\ \n" };
        assert_eq!(proxy_status("outrider", &status), r#"outrider; error=dns_error; details="a \"b\" \\ ?""#);
        assert_eq!(proxy_status("1st", &ProxyStatus { error: "x", details: "" }), r#""1st"; error=x"#);
    }
}
