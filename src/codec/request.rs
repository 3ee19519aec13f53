//! Request heads: read strictly, and written for the next hop with as few edits as may be.

use std::mem::MaybeUninit;

use httparse::Header;

use super::Refusal;
use super::field::{ConnectionOptions, Field, FieldIndex, Kind, USUAL_FIELDS, list};
use super::framing::{Framing, FramingFields, is_canonical_length, wants_trailers};
use super::target::{AbsoluteTarget, Target};
use super::write::{HeadWriter, Via};
use crate::config::{Http1, UnderscoresAction};

/// A request head that passed every check, borrowed from the bytes it arrived in.
#[derive(Debug)]
pub struct Request<'b> {
    pub method: &'b [u8],
    /// The request target as it came.
    pub target_text: &'b [u8],
    pub target: Target<'b>,
    pub minor_version: u8,
    pub framing: Framing,
    pub connection: ConnectionOptions<'b>,
    /// The client waits for a 100 before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// Whether an Upgrade is passed on, and may be answered by a 101.
    pub upgrade: bool,
    /// Both Content-Length and Transfer-Encoding came and were let through: no reuse afterwards.
    pub must_close: bool,
    /// Via names this proxy already: the request goes round in circles.
    pub loops: bool,
    pub max_forwards: Option<u64>,
    host: Option<&'b [u8]>,
    carries_trailers: bool,
    head: &'b [u8],
    fields: &'b FieldIndex,
}

impl<'b> Request<'b> {
    /// Reads one whole head, as delimited by [`HeadScanner`](super::head::HeadScanner).
    pub fn parse(head: &'b [u8], options: &Http1, index: &'b mut FieldIndex) -> Result<Request<'b>, Refusal> {
        let mut few = [const { MaybeUninit::<Header<'b>>::uninit() }; USUAL_FIELDS];
        if options.max_headers_count <= USUAL_FIELDS {
            return Self::parse_with(head, &mut few[..options.max_headers_count], options, index);
        }
        let mut many = vec![MaybeUninit::uninit(); options.max_headers_count];
        Self::parse_with(head, &mut many, options, index)
    }

    fn parse_with(
        head: &'b [u8],
        headers: &mut [MaybeUninit<Header<'b>>],
        options: &Http1,
        index: &'b mut FieldIndex,
    ) -> Result<Request<'b>, Refusal> {
        check_request_line(head, options.max_target)?;
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, headers) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            // It took a bare LF for an empty line.
            Ok(httparse::Status::Complete(_)) => return Err(Refusal::BareLineFeed),
            Ok(httparse::Status::Partial) => return Err(Refusal::InvalidRequestLine),
            Err(error) => return Err(refusal(error, head)),
        }
        let (Some(method), Some(target), Some(minor_version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::InvalidRequestLine);
        };
        if minor_version == 0 && !options.accept_http_10 {
            return Err(Refusal::Http10NotAccepted);
        }
        index.fill(head, parsed.headers)?;
        let mut request = Request {
            method: method.as_bytes(),
            target_text: target.as_bytes(),
            target: Target::parse(method.as_bytes(), target.as_bytes())?,
            minor_version,
            framing: Framing::None,
            connection: ConnectionOptions::default(),
            expects_continue: false,
            upgrade: false,
            must_close: false,
            loops: false,
            max_forwards: None,
            host: None,
            carries_trailers: false,
            head,
            fields: index,
        };
        request.read_fields(options)?;
        Ok(request)
    }

    fn read_fields(&mut self, options: &Http1) -> Result<(), Refusal> {
        let mut framing = FramingFields::default();
        let mut upgrade_offered = None;
        for field in self.fields.iter(self.head) {
            if options.headers_with_underscores_action == UnderscoresAction::RejectRequest && field.name.contains(&b'_') {
                return Err(Refusal::UnderscoreInName);
            }
            match field.kind {
                Kind::Host if self.host.replace(field.value).is_some() => return Err(Refusal::DuplicateHost),
                Kind::ContentLength => framing.add_content_length(field.value)?,
                Kind::TransferEncoding => framing.add_transfer_encoding(field.value)?,
                Kind::Connection => self.connection.add(field.value),
                Kind::ProxyConnection => self.connection.add_proxy_connection(field.value),
                Kind::Expect => self.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue"),
                // h2c would let a tunnel past the checks that every request gets.
                Kind::Upgrade => {
                    let acceptable = !list(field.value).any(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
                    upgrade_offered = Some(upgrade_offered.unwrap_or(true) && acceptable);
                }
                Kind::Te => self.carries_trailers |= options.enable_trailers && wants_trailers(field.value),
                Kind::Via => self.loops |= names_us(field.value, &options.via),
                Kind::MaxForwards if self.counts_forwards() => self.max_forwards = Some(parse_max_forwards(field.value)?),
                _ => {}
            }
        }
        self.framing = framing.request(self.minor_version, options.allow_chunked_length)?;
        self.must_close = framing.is_ambiguous();
        // An Upgrade may be ignored (RFC 9110 section 7.8), and with a body it is: the body would
        // have to end before the new protocol starts. HTTP/1.0 has none.
        self.upgrade = upgrade_offered == Some(true)
            && self.connection.upgrade
            && self.minor_version == 1
            && self.framing == Framing::None
            && !options.ignore_http_11_upgrade;
        self.check_host(options)
    }

    fn check_host(&self, options: &Http1) -> Result<(), Refusal> {
        use super::authority::Authority;
        let Some(host) = self.host else {
            return if self.minor_version == 1 { Err(Refusal::MissingHost) } else { Ok(()) };
        };
        if host.is_empty() && !matches!(self.target, Target::Absolute(_)) {
            // Legal for a target without an authority (RFC 9112 section 3.2).
            return if matches!(self.target, Target::Authority(_)) { Err(Refusal::InvalidHost) } else { Ok(()) };
        }
        // Most clients write the same in both places.
        if matches!(self.target, Target::Absolute(target) if target.authority_text == host) {
            return Ok(());
        }
        let default_port = if matches!(self.target, Target::Authority(_)) { 443 } else { 80 };
        let host = Authority::parse(host, Some(default_port)).map_err(|_| Refusal::InvalidHost)?;
        let authority = match self.target {
            Target::Absolute(target) => target.authority,
            Target::Authority(authority) => authority,
            Target::Origin | Target::Asterisk => return Ok(()),
        };
        if options.reject_host_mismatch && host != authority { Err(Refusal::HostMismatch) } else { Ok(()) }
    }

    /// Where a head that was refused ends all the same, and whether its client wants to go on. For
    /// refusals that leave it certain.
    pub fn framing(head: &'b [u8], options: &Http1, index: &'b mut FieldIndex) -> Option<(Framing, bool)> {
        let mut headers = vec![httparse::EMPTY_HEADER; options.max_headers_count];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(head).ok()?;
        let minor_version = parsed.version?;
        index.fill(head, parsed.headers).ok()?;
        let mut fields = FramingFields::default();
        let mut connection = ConnectionOptions::default();
        for field in index.iter(head) {
            match field.kind {
                Kind::ContentLength => fields.add_content_length(field.value).ok()?,
                Kind::TransferEncoding => fields.add_transfer_encoding(field.value).ok()?,
                Kind::Connection => connection.add(field.value),
                Kind::ProxyConnection => connection.add_proxy_connection(field.value),
                _ => {}
            }
        }
        let framing = fields.request(minor_version, false).ok()?;
        Some((framing, !connection.close && (minor_version == 1 || connection.keep_alive)))
    }

    /// Host as it came; an HTTP/1.0 request may have none.
    pub fn host(&self) -> Option<&'b [u8]> {
        self.host
    }

    /// Whether the client wants to go on after this exchange (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        !self.connection.close && !self.must_close && (self.minor_version == 1 || self.connection.keep_alive)
    }

    /// Fields of the request, as they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        self.fields.iter(self.head)
    }

    /// Writes the head for the next hop. What there is no reason to change leaves as it came.
    pub fn write_forwarded(&self, to: &AbsoluteTarget<'_>, options: &Http1, out: &mut Vec<u8>) {
        self.write_request_line(to, options, out);
        let mut writer = HeadWriter::new(out, options.header_key_format, self.head);
        if self.host.is_none() {
            writer.field("Host", to.authority_text);
        }
        let drops_underscores = options.headers_with_underscores_action == UnderscoresAction::DropHeader;
        let mut length_written = false;
        for field in self.fields.iter(self.head) {
            match field.kind {
                // Never true of what keeps a message safe or routable.
                _ if self.connection.names(field.name) => {}
                // Known names hold no underscore.
                Kind::Other if drops_underscores && field.name.contains(&b'_') => {}
                // What it announces does not come.
                Kind::Trailer if !options.enable_trailers => {}
                Kind::Other | Kind::Trailer | Kind::Date | Kind::Expect | Kind::Via => writer.line(&field),
                Kind::Host if field.value == to.authority_text => writer.line(&field),
                Kind::Host => writer.field_as(field.name, to.authority_text),
                Kind::ContentLength => {
                    // One field, whose text can be read in one way only; none beside chunked.
                    let length = match self.framing {
                        Framing::Length(length) => length,
                        _ => 0,
                    };
                    if self.framing != Framing::Chunked && !std::mem::replace(&mut length_written, true) {
                        if is_canonical_length(field.value, length) {
                            writer.line(&field);
                        } else {
                            writer.field_as(field.name, itoa::Buffer::new().format(length).as_bytes());
                        }
                    }
                }
                Kind::Connection if self.upgrade || self.carries_trailers => {}
                Kind::Upgrade if self.upgrade => writer.line(&field),
                Kind::MaxForwards if self.counts_forwards() => {
                    let left = self.max_forwards.unwrap_or(1).saturating_sub(1);
                    writer.field_as(field.name, itoa::Buffer::new().format(left).as_bytes());
                }
                Kind::MaxForwards => writer.line(&field),
                Kind::Connection
                | Kind::Http2Settings
                | Kind::KeepAlive
                | Kind::ProxyAuthorization
                | Kind::ProxyConnection
                | Kind::Te
                | Kind::TransferEncoding
                | Kind::Upgrade => {}
            }
        }
        if self.carries_trailers {
            writer.field("TE", b"trailers");
        }
        match (self.upgrade, self.carries_trailers) {
            (true, true) => writer.field("Connection", b"Upgrade, TE"),
            (true, false) => writer.field("Connection", b"Upgrade"),
            (false, true) => writer.field("Connection", b"TE"),
            (false, false) => {}
        }
        if self.framing == Framing::Chunked {
            writer.field("Transfer-Encoding", b"chunked");
        }
        if options.via_in_requests {
            writer.via(Via { minor_version: self.minor_version, pseudonym: &options.via });
        }
        writer.finish();
    }

    fn write_request_line(&self, to: &AbsoluteTarget<'_>, options: &Http1, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method);
        out.push(b' ');
        if options.send_fully_qualified_url {
            out.extend_from_slice(b"http://");
            out.extend_from_slice(to.authority_text);
        }
        match to.path_and_query {
            // RFC 9112 section 3.2.4.
            [] if self.method == b"OPTIONS" && !options.send_fully_qualified_url => out.push(b'*'),
            [] if self.method == b"OPTIONS" => {}
            path_and_query => {
                if path_and_query.first() != Some(&b'/') {
                    out.push(b'/');
                }
                out.extend_from_slice(path_and_query);
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
    }

    /// Max-Forwards is counted for these methods alone (RFC 9110 section 7.6.2).
    pub fn counts_forwards(&self) -> bool {
        self.method == b"TRACE" || self.method == b"OPTIONS"
    }
}

/// What httparse does not tell apart: length of the target, spaces, and the version.
fn check_request_line(head: &[u8], max_target: usize) -> Result<(), Refusal> {
    let mut words = first_line(head)?.split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(Refusal::InvalidRequestLine);
    };
    if target.len() > max_target {
        return Err(Refusal::TargetTooLong);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Refusal::UnsupportedVersion)
        }
        _ => Err(Refusal::InvalidRequestLine),
    }
}

/// The request or status line, without its CRLF.
pub(super) fn first_line(head: &[u8]) -> Result<&[u8], Refusal> {
    let end = memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len());
    match &head[end..] {
        [b'\r', b'\n', ..] => Ok(&head[..end]),
        [b'\n', ..] => Err(Refusal::BareLineFeed),
        _ => Err(Refusal::ControlByte),
    }
}

pub(super) fn refusal(error: httparse::Error, head: &[u8]) -> Refusal {
    let folded = || memchr::memmem::find(head, b"\r\n ").is_some() || memchr::memmem::find(head, b"\r\n\t").is_some();
    match error {
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::HeaderName if folded() => Refusal::ObsoleteFold,
        httparse::Error::HeaderName => Refusal::InvalidFieldName,
        httparse::Error::HeaderValue => Refusal::InvalidFieldValue,
        httparse::Error::NewLine => Refusal::ControlByte,
        httparse::Error::Status => Refusal::InvalidStatusLine,
        httparse::Error::Version => Refusal::UnsupportedVersion,
        httparse::Error::Token => Refusal::InvalidRequestLine,
    }
}

/// Whether a Via value has an entry received by `pseudonym` (RFC 9110 section 7.6.3).
fn names_us(via: &[u8], pseudonym: &str) -> bool {
    list(via).any(|entry| {
        let received_by = entry.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty()).nth(1);
        received_by.is_some_and(|received_by| received_by.eq_ignore_ascii_case(pseudonym.as_bytes()))
    })
}

fn parse_max_forwards(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::InvalidMaxForwards);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
