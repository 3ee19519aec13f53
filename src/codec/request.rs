//! Request heads: read strictly, and written for the next hop with as few edits as may be.

use super::Refusal;
use super::bytes::{printable_length, token_length};
use super::field::{ConnectionOptions, Field, Kind, list};
use super::framing::{Framing, FramingFields, is_canonical_length, wants_trailers};
use super::index::FieldIndex;
use super::target::{AbsoluteTarget, Target};
use super::write::{HeadWriter, Via};
use crate::config::{HeaderKeyFormat, Http1, UnderscoresAction};

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
    /// Where the first field line begins in `head`.
    fields_start: usize,
    fields: &'b FieldIndex,
}

impl<'b> Request<'b> {
    /// Reads one whole head, as delimited by [`HeadScanner`](super::head::HeadScanner).
    pub fn parse(head: &'b [u8], options: &Http1, index: &'b mut FieldIndex) -> Result<Request<'b>, Refusal> {
        let line = RequestLine::read(head, options.max_target)?;
        index.read(head, line.length, options.max_headers_count)?;
        if line.minor_version == 0 && !options.accept_http_10 {
            return Err(Refusal::Http10NotAccepted);
        }
        let mut request = Request {
            method: line.method,
            target_text: line.target,
            target: Target::parse(line.method, line.target)?,
            minor_version: line.minor_version,
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
            fields_start: line.length,
            fields: index,
        };
        request.read_fields(options)?;
        Ok(request)
    }

    fn read_fields(&mut self, options: &Http1) -> Result<(), Refusal> {
        let mut framing = FramingFields::default();
        let mut upgrade_offered = None;
        // Known names hold none.
        if options.headers_with_underscores_action == UnderscoresAction::RejectRequest
            && self.fields().any(|field| field.name.contains(&b'_'))
        {
            return Err(Refusal::UnderscoreInName);
        }
        for field in self.fields.known(self.head) {
            match field.kind {
                Kind::Host if self.host.replace(field.value).is_some() => return Err(Refusal::DuplicateHost),
                Kind::ContentLength => framing.add_content_length(field.value)?,
                Kind::TransferEncoding => framing.add_transfer_encoding(field.value)?,
                Kind::Connection => self.connection.add(field.value)?,
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
        // RFC 9110 section 9.3.8.
        if self.method == b"TRACE" && self.framing != Framing::None {
            return Err(Refusal::BodyInTrace);
        }
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
        if matches!(&self.target, Target::Absolute(target) if target.authority_text == host) {
            return Ok(());
        }
        let default_port = if matches!(self.target, Target::Authority(_)) { 443 } else { 80 };
        let host = Authority::parse(host, Some(default_port)).map_err(|_| Refusal::InvalidHost)?;
        let authority = match &self.target {
            Target::Absolute(target) => &target.authority,
            Target::Authority(authority) => authority,
            Target::Origin | Target::Asterisk => return Ok(()),
        };
        if options.reject_host_mismatch && host != *authority { Err(Refusal::HostMismatch) } else { Ok(()) }
    }

    /// Where a head that was refused ends all the same, and whether its client wants to go on. For
    /// refusals that leave it certain.
    pub fn framing(head: &'b [u8], options: &Http1, index: &'b mut FieldIndex) -> Option<(Framing, bool)> {
        let line = RequestLine::read(head, options.max_target).ok()?;
        index.read(head, line.length, options.max_headers_count).ok()?;
        let mut fields = FramingFields::default();
        let mut connection = ConnectionOptions::default();
        for field in index.known(head) {
            match field.kind {
                Kind::ContentLength => fields.add_content_length(field.value).ok()?,
                Kind::TransferEncoding => fields.add_transfer_encoding(field.value).ok()?,
                Kind::Connection => connection.add(field.value).ok()?,
                Kind::ProxyConnection => connection.add_proxy_connection(field.value),
                _ => {}
            }
        }
        let framing = fields.request(line.minor_version, false).ok()?;
        Some((framing, goes_on(&connection, line.minor_version, options)))
    }

    /// Host as it came; an HTTP/1.0 request may have none.
    pub fn host(&self) -> Option<&'b [u8]> {
        self.host
    }

    /// Whether the client wants to go on after this exchange (RFC 9112 section 9.3).
    pub fn keeps_alive(&self, options: &Http1) -> bool {
        !self.must_close && goes_on(&self.connection, self.minor_version, options)
    }

    /// Fields of the request, as they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'b>> {
        self.fields.iter(self.head)
    }

    /// Writes the head for the next hop. What there is no reason to change leaves as it came.
    pub fn write_forwarded(&self, to: &AbsoluteTarget<'_>, options: &Http1, out: &mut Vec<u8>) {
        self.write_request_line(to, options, out);
        let mut writer = HeadWriter::of(out, options.header_key_format, self.head, self.fields_start);
        if self.host.is_none() {
            writer.field("Host", to.authority_text);
        }
        let drops_underscores = options.headers_with_underscores_action == UnderscoresAction::DropHeader;
        let all = drops_underscores || self.connection.names_any() || options.header_key_format != HeaderKeyFormat::PreserveCase;
        let mut length_written = false;
        for field in self.fields.select(self.head, all) {
            match field.kind {
                // Never true of what keeps a message safe or routable.
                _ if self.connection.names(field.name) => writer.leave_out(&field),
                // Known names hold no underscore.
                Kind::Other if drops_underscores && field.name.contains(&b'_') => writer.leave_out(&field),
                // What it announces does not come.
                Kind::Trailer if !options.enable_trailers => writer.leave_out(&field),
                Kind::Other | Kind::Trailer | Kind::Date | Kind::Expect | Kind::Via => writer.keep(&field),
                Kind::Host if field.value == to.authority_text => writer.keep(&field),
                Kind::Host => writer.replace(&field, to.authority_text),
                Kind::ContentLength => {
                    // One field, whose text can be read in one way only; none beside chunked.
                    let length = match self.framing {
                        Framing::Length(length) => length,
                        _ => 0,
                    };
                    if self.framing == Framing::Chunked || std::mem::replace(&mut length_written, true) {
                        writer.leave_out(&field);
                    } else if is_canonical_length(field.value, length) {
                        writer.keep(&field);
                    } else {
                        writer.replace(&field, itoa::Buffer::new().format(length).as_bytes());
                    }
                }
                Kind::Upgrade if self.upgrade => writer.keep(&field),
                Kind::MaxForwards if self.counts_forwards() => {
                    let left = self.max_forwards.unwrap_or(1).saturating_sub(1);
                    writer.replace(&field, itoa::Buffer::new().format(left).as_bytes());
                }
                Kind::MaxForwards => writer.keep(&field),
                Kind::Connection
                | Kind::Http2Settings
                | Kind::KeepAlive
                | Kind::ProxyAuthorization
                | Kind::ProxyConnection
                | Kind::Te
                | Kind::TransferEncoding
                | Kind::Upgrade => writer.leave_out(&field),
            }
        }
        writer.rest();
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

/// A proxy must not keep the connection of an HTTP/1.0 client (RFC 9112 section 9.3), whose keep-alive may come from behind
/// another proxy that does not know it; it may be told to.
fn goes_on(connection: &ConnectionOptions<'_>, minor_version: u8, options: &Http1) -> bool {
    !connection.close && (minor_version == 1 || options.keep_alive_http_10 && connection.keep_alive)
}

/// `method SP target SP version CRLF` (RFC 9112 section 3).
struct RequestLine<'b> {
    method: &'b [u8],
    target: &'b [u8],
    minor_version: u8,
    /// With its CRLF.
    length: usize,
}

impl<'b> RequestLine<'b> {
    fn read(head: &'b [u8], max_target: usize) -> Result<Self, Refusal> {
        let line = first_line(head)?;
        let method_length = token_length(line);
        let (method, rest) = line.split_at(method_length);
        // The target is what is left between the two spaces; one more space in it is not printable here.
        if let Some((rest, version)) = rest.split_last_chunk()
            && let Some(target) = rest.strip_prefix(b" ")
            && let Some(minor_version) = minor_version(version)
            && !method.is_empty()
            && !target.is_empty()
            && target.len() <= max_target
            && printable_length::<b' '>(target) == target.len()
            && (target.is_ascii() || std::str::from_utf8(target).is_ok())
        {
            return Ok(RequestLine { method, target, minor_version, length: line.len() + 2 });
        }
        Err(refusal(line, max_target))
    }
}

fn minor_version(version: &[u8; 9]) -> Option<u8> {
    match version {
        b" HTTP/1.1" => Some(1),
        b" HTTP/1.0" => Some(0),
        _ => None,
    }
}

/// Why a request line was not taken.
#[cold]
fn refusal(line: &[u8], max_target: usize) -> Refusal {
    // RFC 9113 section 3.4.
    if line == b"PRI * HTTP/2.0" {
        return Refusal::Http2Preface;
    }
    let mut words = line.split(|&byte| byte == b' ');
    let (Some(_), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Refusal::InvalidRequestLine;
    };
    match version {
        _ if target.len() > max_target => Refusal::TargetTooLong,
        b"HTTP/1.1" | b"HTTP/1.0" => Refusal::InvalidRequestLine,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Refusal::UnsupportedVersion
        }
        _ => Refusal::InvalidRequestLine,
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
