//! Response heads: read strictly, and written for the client with as few edits as may be.

use super::Refusal;
use super::bytes::is_value_byte;
use super::field::{ConnectionOptions, Kind};
use super::framing::{Framing, FramingFields, is_canonical_length};
use super::index::FieldIndex;
use super::request::first_line;
use super::write::{HeadWriter, Via};
use crate::config::{HeaderKeyFormat, Http1};

/// A response head that passed every check, borrowed from the bytes it arrived in.
#[derive(Debug)]
pub struct Response<'b> {
    pub status: u16,
    /// As it came; may be empty.
    pub reason_phrase: &'b [u8],
    pub minor_version: u8,
    pub framing: Framing,
    pub connection: ConnectionOptions<'b>,
    has_date: bool,
    must_close: bool,
    /// The one value that all Content-Length fields agree on.
    content_length: Option<u64>,
    head: &'b [u8],
    /// Where the first field line begins in `head`.
    fields_start: usize,
    fields: &'b FieldIndex,
}

/// What the request was decides how its response is read (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Head,
    Other,
}

/// How a response is to be framed for the client, and what it is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reframed {
    pub framing: Framing,
    pub connection: ConnectionField,
}

/// The Connection field that the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionField {
    /// Persistence is the default of HTTP/1.1.
    Absent,
    Close,
    /// For a kept-alive HTTP/1.0 client.
    KeepAlive,
    /// With a 101.
    Upgrade,
}

impl<'b> Response<'b> {
    /// Reads one whole head, as delimited by [`HeadScanner`](super::head::HeadScanner).
    pub fn parse(head: &'b [u8], to: RequestKind, options: &Http1, index: &'b mut FieldIndex) -> Result<Response<'b>, Refusal> {
        let StatusLine { status, reason_phrase, minor_version, length } = StatusLine::read(head)?;
        index.read(head, length, options.max_headers_count)?;
        let mut response = Response {
            status,
            reason_phrase,
            minor_version,
            framing: Framing::None,
            connection: ConnectionOptions::default(),
            has_date: false,
            must_close: false,
            content_length: None,
            head,
            fields_start: length,
            fields: index,
        };
        let mut framing = FramingFields::default();
        for field in response.fields.known(head) {
            match field.kind {
                Kind::ContentLength => framing.add_content_length(field.value)?,
                Kind::TransferEncoding => framing.add_transfer_encoding(field.value)?,
                Kind::Connection => response.connection.add(field.value)?,
                Kind::ProxyConnection => response.connection.add_proxy_connection(field.value),
                Kind::Date => response.has_date = true,
                _ => {}
            }
        }
        response.content_length = framing.content_length();
        response.must_close = framing.is_ambiguous();
        // Also checked where no body follows: a peer that contradicts itself cannot be trusted with a next message.
        let framing = framing.response(minor_version, options.allow_chunked_length)?;
        response.framing = match status {
            100..200 | 204 | 304 => Framing::None,
            _ if to == RequestKind::Head => Framing::None,
            _ if framing == Framing::Length(0) => Framing::None,
            _ => framing,
        };
        Ok(response)
    }

    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Whether the upstream connection may carry another exchange after this one.
    pub fn keeps_alive(&self) -> bool {
        !self.connection.close
            && !self.must_close
            && self.framing != Framing::UntilClose
            && (self.minor_version == 1 || self.connection.keep_alive)
    }

    /// Writes the head for the client. What there is no reason to change leaves as it came.
    /// `date` gives an IMF-fixdate to a response that has none (RFC 9110 section 6.6.1).
    pub fn write_forwarded(&self, reframed: Reframed, options: &Http1, date: impl FnOnce() -> [u8; 29], out: &mut Vec<u8>) {
        self.write_status_line(options, out);
        let mut writer = HeadWriter::of(out, options.header_key_format, self.head, self.fields_start);
        let all = self.connection.names_any() || options.header_key_format != HeaderKeyFormat::PreserveCase;
        let mut length_written = false;
        for field in self.fields.select(self.head, all) {
            match field.kind {
                // Never true of what keeps a message safe or routable.
                _ if self.connection.names(field.name) => writer.leave_out(&field),
                Kind::Trailer if !options.enable_trailers => writer.leave_out(&field),
                Kind::ContentLength => {
                    let length = self.content_length.unwrap_or(0);
                    if !self.may_have_length() || std::mem::replace(&mut length_written, true) {
                        writer.leave_out(&field);
                    } else if is_canonical_length(field.value, length) {
                        writer.keep(&field);
                    } else {
                        writer.replace(&field, itoa::Buffer::new().format(length).as_bytes());
                    }
                }
                Kind::Upgrade if self.status == 101 || self.status == 426 => writer.keep(&field),
                // A coding that runs to the end of the connection stays declared.
                Kind::TransferEncoding if reframed.framing == Framing::UntilClose && self.framing == Framing::UntilClose => {
                    writer.keep(&field)
                }
                Kind::Connection | Kind::KeepAlive | Kind::ProxyConnection | Kind::Te | Kind::TransferEncoding | Kind::Upgrade => {
                    writer.leave_out(&field)
                }
                _ => writer.keep(&field),
            }
        }
        writer.rest();
        if reframed.framing == Framing::Chunked {
            writer.field("Transfer-Encoding", b"chunked");
        }
        match reframed.connection {
            ConnectionField::Absent => {}
            ConnectionField::Close => writer.field("Connection", b"close"),
            ConnectionField::KeepAlive => writer.field("Connection", b"keep-alive"),
            ConnectionField::Upgrade => writer.field("Connection", b"Upgrade"),
        }
        if !self.has_date && self.status >= 200 {
            writer.field("Date", &date());
        }
        writer.via(Via { minor_version: self.minor_version, pseudonym: &options.via });
        writer.finish();
    }

    /// Content-Length has no place in a 1xx or 204, nor beside a transfer coding (RFC 9110 section 8.6).
    fn may_have_length(&self) -> bool {
        !self.must_close && self.status >= 200 && self.status != 204
    }

    /// Whether a transfer coding other than chunked runs until close, which an HTTP/1.0 client cannot undo.
    pub fn has_other_coding(&self) -> bool {
        self.framing == Framing::UntilClose && self.fields.known(self.head).any(|field| field.kind == Kind::TransferEncoding)
    }

    fn write_status_line(&self, options: &Http1, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(self.status).as_bytes());
        out.push(b' ');
        if options.forward_reason_phrase {
            out.extend_from_slice(self.reason_phrase);
        } else {
            out.extend_from_slice(standard_phrase(self.status).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// The reason phrase that RFC 9110 section 15 gives a status.
pub fn standard_phrase(status: u16) -> &'static str {
    hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

/// `version SP status [SP reason-phrase] CRLF` (RFC 9112 section 4; the second space is often left out with the phrase).
struct StatusLine<'b> {
    status: u16,
    reason_phrase: &'b [u8],
    minor_version: u8,
    /// With its CRLF.
    length: usize,
}

impl<'b> StatusLine<'b> {
    fn read(head: &'b [u8]) -> Result<Self, Refusal> {
        let line = first_line(head)?;
        let (minor, rest) = match line {
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', rest @ ..] => (minor, rest),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' ', ..] => return Err(Refusal::UnsupportedVersion),
            _ => return Err(Refusal::InvalidStatusLine),
        };
        let (&[hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'], phrase) =
            rest.split_first_chunk().ok_or(Refusal::InvalidStatusLine)?
        else {
            return Err(Refusal::InvalidStatusLine);
        };
        let reason_phrase = match phrase {
            [] => phrase,
            [b' ', phrase @ ..] => phrase,
            _ => return Err(Refusal::InvalidStatusLine),
        };
        if !reason_phrase.iter().copied().all(is_value_byte) {
            return Err(Refusal::InvalidStatusLine);
        }
        let status = [hundreds, tens, ones].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Ok(StatusLine { status, reason_phrase, minor_version: minor - b'0', length: line.len() + 2 })
    }
}

#[cfg(test)]
mod tests;
