//! Response heads: read strictly, and written for the client with as few edits as may be.

use std::mem::MaybeUninit;

use httparse::Header;

use super::Refusal;
use super::field::{ConnectionOptions, FieldIndex, Kind, USUAL_FIELDS};
use super::framing::{Framing, FramingFields, is_canonical_length};
use super::request::{first_line, refusal};
use super::write::{HeadWriter, Via};
use crate::config::Http1;

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
        let mut few = [const { MaybeUninit::<Header<'b>>::uninit() }; USUAL_FIELDS];
        if options.max_headers_count <= USUAL_FIELDS {
            return Self::parse_with(head, &mut few[..options.max_headers_count], to, options, index);
        }
        let mut many = vec![MaybeUninit::uninit(); options.max_headers_count];
        Self::parse_with(head, &mut many, to, options, index)
    }

    fn parse_with(
        head: &'b [u8],
        headers: &mut [MaybeUninit<Header<'b>>],
        to: RequestKind,
        options: &Http1,
        index: &'b mut FieldIndex,
    ) -> Result<Response<'b>, Refusal> {
        let reason_phrase = check_status_line(head)?;
        let mut parsed = httparse::Response::new(&mut []);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, headers) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            // It took a bare LF for an empty line.
            Ok(httparse::Status::Complete(_)) => return Err(Refusal::BareLineFeed),
            Ok(httparse::Status::Partial) => return Err(Refusal::InvalidStatusLine),
            Err(error) => return Err(refusal(error, head)),
        }
        let (Some(status @ 100..), Some(minor_version)) = (parsed.code, parsed.version) else {
            return Err(Refusal::InvalidStatusLine);
        };
        index.fill(head, parsed.headers)?;
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
            fields: index,
        };
        let mut framing = FramingFields::default();
        for field in response.fields.iter(head) {
            match field.kind {
                Kind::ContentLength => framing.add_content_length(field.value)?,
                Kind::TransferEncoding => framing.add_transfer_encoding(field.value)?,
                Kind::Connection => response.connection.add(field.value),
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
        let mut writer = HeadWriter::new(out, options.header_key_format, self.head);
        let mut length_written = false;
        for field in self.fields.iter(self.head) {
            match field.kind {
                // Never true of what keeps a message safe or routable.
                _ if self.connection.names(field.name) => {}
                Kind::Trailer if !options.enable_trailers => {}
                Kind::ContentLength => {
                    if self.may_have_length() && !std::mem::replace(&mut length_written, true) {
                        let length = self.content_length.unwrap_or(0);
                        if is_canonical_length(field.value, length) {
                            writer.line(&field);
                        } else {
                            writer.field_as(field.name, itoa::Buffer::new().format(length).as_bytes());
                        }
                    }
                }
                Kind::Upgrade if self.status == 101 || self.status == 426 => writer.line(&field),
                // A coding that runs to the end of the connection stays declared.
                Kind::TransferEncoding if reframed.framing == Framing::UntilClose && self.framing == Framing::UntilClose => {
                    writer.line(&field)
                }
                Kind::Connection | Kind::KeepAlive | Kind::ProxyConnection | Kind::Te | Kind::TransferEncoding | Kind::Upgrade => {}
                _ => writer.line(&field),
            }
        }
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
        self.framing == Framing::UntilClose && self.fields.iter(self.head).any(|field| field.kind == Kind::TransferEncoding)
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

/// What httparse does not tell: it takes other line shapes and loses a phrase with obs-text.
fn check_status_line(head: &[u8]) -> Result<&[u8], Refusal> {
    match first_line(head)? {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', status @ ..] => match status {
            [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => Ok(&[]),
            [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', phrase @ ..] => Ok(phrase),
            _ => Err(Refusal::InvalidStatusLine),
        },
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' ', ..] => Err(Refusal::UnsupportedVersion),
        _ => Err(Refusal::InvalidStatusLine),
    }
}

#[cfg(test)]
mod tests;
