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
    /// The kind of a field of this name, in any case. A name is made of token bytes.
    pub fn of(name: &[u8]) -> Kind {
        // Length and first letter first: most fields match no pair in the list and cost one jump.
        let first = name.first().map_or(0, |first| first | 0x20);
        let (is_known, kind) = match (name.len(), first) {
            (2, b't') => (is(name, b"te"), Kind::Te),
            (3, b'v') => (is(name, b"via"), Kind::Via),
            (4, b'd') => (is(name, b"date"), Kind::Date),
            (4, b'h') => (is(name, b"host"), Kind::Host),
            (6, b'e') => (is(name, b"expect"), Kind::Expect),
            (7, b't') => (is(name, b"trailer"), Kind::Trailer),
            (7, b'u') => (is(name, b"upgrade"), Kind::Upgrade),
            (10, b'c') => (is(name, b"connection"), Kind::Connection),
            (10, b'k') => (is(name, b"keep-alive"), Kind::KeepAlive),
            (12, b'm') => (is(name, b"max-forwards"), Kind::MaxForwards),
            (14, b'c') => (is(name, b"content-length"), Kind::ContentLength),
            (14, b'h') => (is(name, b"http2-settings"), Kind::Http2Settings),
            (16, b'p') => (is(name, b"proxy-connection"), Kind::ProxyConnection),
            (17, b't') => (is(name, b"transfer-encoding"), Kind::TransferEncoding),
            (19, b'p') => (is(name, b"proxy-authorization"), Kind::ProxyAuthorization),
            _ => return Kind::Other,
        };
        if is_known { kind } else { Kind::Other }
    }
}

/// Whether `name` is `known`, which is in lower case. The bit that makes a letter small makes nothing but controls into the
/// hyphens and digits of the names above, and those are no token bytes; so all bytes are compared at once.
fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    <&[u8; N]>::try_from(name).is_ok_and(|name| name.map(|byte| byte | 0x20) == *known)
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), empty ones left out.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Fields that Connection may name in one head; the usual is one.
const MAX_NAMED: usize = 32;

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
    /// # Errors
    /// When it names more fields than `MAX_NAMED`: each field of the head is compared with each of them.
    pub fn add(&mut self, value: &'b [u8]) -> Result<(), Refusal> {
        // What nearly every peer says, if it says anything.
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if self.named.len() == MAX_NAMED {
                return Err(Refusal::TooManyConnectionOptions);
            } else if Self::may_be_named(option) {
                self.named.push(option);
            }
        }
        Ok(())
    }

    /// Proxy-Connection never was a standard; only its two usual values are heard.
    pub fn add_proxy_connection(&mut self, value: &[u8]) {
        if is(value, b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for option in list(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    pub fn names_any(&self) -> bool {
        !self.named.is_empty()
    }

    pub fn names(&self, field: &[u8]) -> bool {
        self.named.iter().any(|name| name.eq_ignore_ascii_case(field))
    }

    /// The names of those further fields, for the trailers, which come when the head is gone.
    pub fn named_fields(&self) -> NamedFields {
        NamedFields(self.named.iter().map(|&name| name.into()).collect())
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

/// Fields that Connection names, and that therefore end at the next hop, in the head and in the trailers.
#[derive(Debug, Default, Clone)]
pub struct NamedFields(Box<[Box<[u8]>]>);

impl NamedFields {
    pub fn contains(&self, field: &[u8]) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(field))
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
    fn proxy_connection_is_heard_in_its_usual_values() {
        for (value, expected) in [("Keep-Alive", (false, true)), ("keep-alivex", (false, false)), ("x, keep-alive,Close", (true, true))] {
            let mut options = ConnectionOptions::default();
            options.add_proxy_connection(value.as_bytes());
            assert_eq!((options.close, options.keep_alive), expected, "{value}");
        }
    }

    #[test]
    fn connection_cannot_strip_framing_or_host() {
        let mut options = ConnectionOptions::default();
        options.add(b"close, X-Hop , ,host,Content-Length").unwrap();
        assert!(options.close && !options.keep_alive);
        assert!(options.names(b"x-hop"));
        assert!(!options.names(b"Host") && !options.names(b"content-length"));
    }

    #[test]
    fn connection_names_a_bounded_number_of_fields() {
        let mut options = ConnectionOptions::default();
        let named = vec!["x"; MAX_NAMED].join(",");
        assert_eq!(options.add(named.as_bytes()), Ok(()));
        assert_eq!(options.add(b"close, keep-alive"), Ok(()));
        assert_eq!(options.add(b"y"), Err(Refusal::TooManyConnectionOptions));
    }
}
