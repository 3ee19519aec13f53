//! Field lines: the ones that a proxy must know by name, and the lists some of them hold.

use super::Refusal;

/// One field of a head, as slices of the buffer it arrived in.
#[derive(Debug, Clone, Copy)]
pub struct Field<'b> {
    pub name: &'b [u8],
    /// Without surrounding white space.
    pub value: &'b [u8],
    /// The whole line as it came, with its CRLF.
    pub line: &'b [u8],
    pub kind: Kind,
}

/// Fields that a head may have without an allocation to read it; `max_headers_count` may allow more.
pub(super) const USUAL_FIELDS: usize = 128;

/// Where the fields of one head lie in its bytes. Kept by a worker and used again, so that reading
/// a head allocates nothing.
#[derive(Debug, Default)]
pub struct FieldIndex(Vec<Span>);

#[derive(Debug, Clone, Copy)]
struct Span {
    line: u32,
    value: u32,
    value_length: u32,
    line_end: u32,
    name_length: u32,
    kind: Kind,
}

impl FieldIndex {
    /// Takes in the fields that httparse found in `head`. Lines lie back to back, so each ends
    /// where the next one starts, and the last one before the empty line.
    ///
    /// # Errors
    /// When a line ends in a bare LF, which httparse takes for a line end, too.
    pub(super) fn fill(&mut self, head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Refusal> {
        let offset = |slice: &[u8]| (slice.as_ptr() as usize - head.as_ptr() as usize) as u32;
        self.0.clear();
        for (index, header) in headers.iter().enumerate() {
            let line_end = headers.get(index + 1).map_or(head.len() as u32 - 2, |next| offset(next.name.as_bytes()));
            if !head[..line_end as usize].ends_with(b"\r\n") {
                return Err(Refusal::BareLineFeed);
            }
            self.0.push(Span {
                line: offset(header.name.as_bytes()),
                // An empty value of httparse lies nowhere.
                value: if header.value.is_empty() { 0 } else { offset(header.value) },
                value_length: header.value.len() as u32,
                line_end,
                name_length: header.name.len() as u32,
                kind: Kind::of(header.name.as_bytes()),
            });
        }
        Ok(())
    }

    pub(super) fn iter<'b>(&self, head: &'b [u8]) -> impl Iterator<Item = Field<'b>> {
        self.0.iter().map(|span| {
            let line = &head[span.line as usize..span.line_end as usize];
            Field {
                name: &line[..span.name_length as usize],
                value: &head[span.value as usize..][..span.value_length as usize],
                line,
                kind: span.kind,
            }
        })
    }
}

/// The fields that mean something to a proxy; everything else passes untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Other,
    Connection,
    ContentLength,
    Date,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyAuthorization,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
}

impl Kind {
    pub fn of(name: &[u8]) -> Kind {
        // Length and first letter first: most fields match no pair in the list and cost one jump.
        let first = name.first().map_or(0, |first| first | 0x20);
        let (known, kind): (&[u8], Kind) = match (name.len(), first) {
            (2, b't') => (b"te", Kind::Te),
            (3, b'v') => (b"via", Kind::Via),
            (4, b'd') => (b"date", Kind::Date),
            (4, b'h') => (b"host", Kind::Host),
            (6, b'e') => (b"expect", Kind::Expect),
            (7, b't') => (b"trailer", Kind::Trailer),
            (7, b'u') => (b"upgrade", Kind::Upgrade),
            (10, b'c') => (b"connection", Kind::Connection),
            (10, b'k') => (b"keep-alive", Kind::KeepAlive),
            (12, b'm') => (b"max-forwards", Kind::MaxForwards),
            (14, b'c') => (b"content-length", Kind::ContentLength),
            (14, b'h') => (b"http2-settings", Kind::Http2Settings),
            (16, b'p') => (b"proxy-connection", Kind::ProxyConnection),
            (17, b't') => (b"transfer-encoding", Kind::TransferEncoding),
            (19, b'p') => (b"proxy-authorization", Kind::ProxyAuthorization),
            _ => return Kind::Other,
        };
        if name.eq_ignore_ascii_case(known) { kind } else { Kind::Other }
    }
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// What Connection (and Proxy-Connection) asked for (RFC 9110 section 7.6.1).
#[derive(Debug, Default)]
pub struct ConnectionOptions<'b> {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// Further fields that end here.
    named: Vec<&'b [u8]>,
}

impl<'b> ConnectionOptions<'b> {
    pub fn add(&mut self, value: &'b [u8]) {
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if Self::may_be_named(option) {
                self.named.push(option);
            }
        }
    }

    /// Proxy-Connection never was a standard; only its two usual values are heard.
    pub fn add_proxy_connection(&mut self, value: &[u8]) {
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    pub fn names(&self, field: &[u8]) -> bool {
        self.named.iter().any(|name| name.eq_ignore_ascii_case(field))
    }

    /// Naming one of these would strip what keeps a message safe or routable, so it is not heard.
    /// The ones that are hop-by-hop anyway are handled by kind.
    fn may_be_named(option: &[u8]) -> bool {
        !matches!(
            Kind::of(option),
            Kind::Host | Kind::ContentLength | Kind::TransferEncoding | Kind::Via | Kind::Date | Kind::MaxForwards | Kind::Expect
        )
    }
}

/// Whether a field may not stand among trailers: framing, routing, authentication and connection
/// control (RFC 9110 section 6.5.1).
pub fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    const MORE: [&[u8]; 12] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"forwarded",
        b"proxy-authenticate",
        b"set-cookie",
        b"www-authenticate",
        b"x-forwarded-for",
        b"x-forwarded-host",
    ];
    Kind::of(name) != Kind::Other || MORE.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a byte may stand in a field name or method (RFC 9110 section 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a byte may stand in a field value (RFC 9110 section 5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Kind::of(b"HOST"), Kind::Host);
        assert_eq!(Kind::of(b"Content-length"), Kind::ContentLength);
        assert_eq!(Kind::of(b"Proxy-Authorization"), Kind::ProxyAuthorization);
        assert_eq!(Kind::of(b"hosT2"), Kind::Other);
        assert_eq!(Kind::of(b"data"), Kind::Other);
        assert_eq!(Kind::of(b""), Kind::Other);
    }

    #[test]
    fn connection_cannot_strip_framing_or_host() {
        let mut options = ConnectionOptions::default();
        options.add(b"close, X-Hop , ,host,Content-Length");
        assert!(options.close && !options.keep_alive);
        assert!(options.names(b"x-hop"));
        assert!(!options.names(b"Host") && !options.names(b"content-length"));
    }
}
