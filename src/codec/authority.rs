//! Authorities (`host:port`) in one canonical form, so that policy, DNS and pools agree on what a
//! client meant however it was spelled (RFC 3986 section 3.2, RFC 9110 section 4.2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A canonical host and port.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authority {
    pub host: Host,
    pub port: u16,
}

/// A host as policy, DNS and pools see it: an address whatever its spelling, or a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::large_enum_variant, reason = "a key must not allocate, and lives on the stack")]
pub enum Host {
    Address(IpAddr),
    Name(Name),
}

/// A registered name: lower case, percent-decoded, without a trailing dot, held inline so that
/// a stream allocates nothing for its key.
#[derive(Clone, Copy)]
pub struct Name {
    length: u8,
    bytes: [u8; Name::MAX],
}

/// Why an authority was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityError {
    /// `user@host` (RFC 9110 section 4.2.4).
    Userinfo,
    MissingHost,
    InvalidHost,
    MissingPort,
    InvalidPort,
}

impl Authority {
    /// Reads `host[:port]`. A missing or empty port becomes `default_port`, or an error where
    /// there is none (CONNECT, RFC 9110 section 9.3.6).
    pub fn parse(text: &[u8], default_port: Option<u16>) -> Result<Self, AuthorityError> {
        // Nothing that holds an `@` passes; where that is the reason, it is told.
        Self::parse_host_and_port(text, default_port).map_err(|error| if text.contains(&b'@') { AuthorityError::Userinfo } else { error })
    }

    fn parse_host_and_port(text: &[u8], default_port: Option<u16>) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        let host = Host::parse(host)?;
        let port = match port {
            None | Some([]) => default_port.ok_or(AuthorityError::MissingPort)?,
            Some(digits) => parse_port(digits)?,
        };
        Ok(Authority { host, port })
    }
}

impl Host {
    /// Reads a host without a port: `[v6]`, an IPv4 address in any spelling that `inet_aton`
    /// understands, or a name.
    pub fn parse(text: &[u8]) -> Result<Self, AuthorityError> {
        if let Some(inner) = text.strip_prefix(b"[") {
            let inner = inner.strip_suffix(b"]").ok_or(AuthorityError::InvalidHost)?;
            let inner = std::str::from_utf8(inner).map_err(|_| AuthorityError::InvalidHost)?;
            let address: Ipv6Addr = inner.parse().map_err(|_| AuthorityError::InvalidHost)?;
            return Ok(Host::Address(IpAddr::V6(address)));
        }
        if let Some(address) = parse_dotted_quad(text) {
            return Ok(Host::Address(IpAddr::V4(address)));
        }
        let name = Name::parse(text)?;
        // The last label decides whether this is an address (WHATWG URL, "ends in a number"), so
        // that `0x7f.1` cannot mean one thing here and another to a resolver.
        if ends_in_number(name.as_bytes()) {
            let address = parse_ipv4(name.as_bytes()).ok_or(AuthorityError::InvalidHost)?;
            return Ok(Host::Address(IpAddr::V4(address)));
        }
        Ok(Host::Name(name))
    }
}

impl Name {
    /// Longest name in text form (RFC 1035 section 2.3.4, less the root's dot).
    pub const MAX: usize = 253;

    /// Canonicalises a registered name. Percent-encoding is undone; what remains must be letters,
    /// digits, `-`, `_` and dots between labels of 1 to 63 bytes.
    pub fn parse(text: &[u8]) -> Result<Self, AuthorityError> {
        if text.is_empty() {
            return Err(AuthorityError::MissingHost);
        }
        if text.contains(&b'%') {
            return Self::parse_plain(&percent_decode(text)?);
        }
        Self::parse_plain(text)
    }

    fn parse_plain(text: &[u8]) -> Result<Self, AuthorityError> {
        // A trailing dot says "absolute", which every name here is.
        let text = text.strip_suffix(b".").unwrap_or(text);
        if text.is_empty() || text.len() > Name::MAX {
            return Err(AuthorityError::InvalidHost);
        }
        let mut name = Name { length: text.len() as u8, bytes: [0; Name::MAX] };
        let mut label = 0;
        for (byte, canonical) in text.iter().zip(&mut name.bytes) {
            *canonical = CANONICAL[usize::from(*byte)];
            label += 1;
            match *canonical {
                0 => return Err(AuthorityError::InvalidHost),
                b'.' if label == 1 => return Err(AuthorityError::InvalidHost),
                b'.' => label = 0,
                _ if label > 63 => return Err(AuthorityError::InvalidHost),
                _ => {}
            }
        }
        // A second trailing dot would leave an empty label.
        if label == 0 { Err(AuthorityError::InvalidHost) } else { Ok(name) }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("parse() lets only ASCII in")
    }
}

/// What each byte of a name becomes; 0 is refused.
const CANONICAL: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let this = byte as u8;
        if this.is_ascii_alphanumeric() || matches!(this, b'-' | b'_' | b'.') {
            table[byte] = this.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// RFC 3986 section 2.1. Rare in hosts, so it may allocate.
fn percent_decode(text: &[u8]) -> Result<Vec<u8>, AuthorityError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            decoded.push(first);
            continue;
        }
        let (&[high, low], tail) = tail.split_first_chunk().ok_or(AuthorityError::InvalidHost)?;
        rest = tail;
        decoded.push(hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low).ok_or(AuthorityError::InvalidHost)?);
    }
    Ok(decoded)
}

/// Splits at the port's colon, leaving the brackets of an IPv6 literal on the host.
fn split(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), AuthorityError> {
    if text.first() == Some(&b'[') {
        let end = memchr::memchr(b']', text).ok_or(AuthorityError::InvalidHost)? + 1;
        let (host, rest) = text.split_at(end);
        return match rest.split_first() {
            None => Ok((host, None)),
            Some((b':', port)) => Ok((host, Some(port))),
            Some(_) => Err(AuthorityError::InvalidHost),
        };
    }
    match text.iter().position(|&byte| byte == b':') {
        None => Ok((text, None)),
        Some(colon) => Ok((&text[..colon], Some(&text[colon + 1..]))),
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, AuthorityError> {
    // Five digits hold every port; more would only be leading zeros, which two parsers could read differently.
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(AuthorityError::InvalidPort);
    }
    let port = digits.iter().fold(0u32, |port, digit| port * 10 + u32::from(digit - b'0'));
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(AuthorityError::InvalidPort),
        Ok(port) => Ok(port),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn ends_in_number(name: &[u8]) -> bool {
    let last = name.rsplit(|&byte| byte == b'.').next().unwrap_or(name);
    match last.strip_prefix(b"0x") {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => last.iter().all(u8::is_ascii_digit),
    }
}

/// The usual spelling of an IPv4 address: a quick way past what [`parse_ipv4`] would make of it.
fn parse_dotted_quad(text: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = text.split(|&byte| byte == b'.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = match parts.next()? {
            [b'0'] => 0,
            digits @ ([b'1'..=b'9'] | [b'1'..=b'9', b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) => {
                u8::try_from(digits.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0'))).ok()?
            }
            _ => return None,
        };
    }
    parts.next().is_none().then(|| octets.into())
}

/// `inet_aton`: one to four parts, each decimal, octal (`0`) or hexadecimal (`0x`); the last fills what is left.
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut parts = [0u64; 4];
    let mut count = 0;
    for part in text.split(|&byte| byte == b'.') {
        let (digits, radix) = match part {
            [b'0', b'x', digits @ ..] => (digits, 16),
            [b'0', digits @ ..] if !digits.is_empty() => (digits, 8),
            digits => (digits, 10),
        };
        let mut value = 0u64;
        for &digit in digits {
            value = value * radix + u64::from(char::from(digit).to_digit(radix as u32)?);
            if value > u64::from(u32::MAX) {
                return None;
            }
        }
        *parts.get_mut(count)? = value;
        count += 1;
    }
    let last = count.checked_sub(1)?;
    let mut address = parts[last];
    if address >= 1 << (8 * (4 - last)) {
        return None;
    }
    for (index, &part) in parts[..last].iter().enumerate() {
        if part > 255 {
            return None;
        }
        address |= part << (8 * (3 - index));
    }
    Some(Ipv4Addr::from(address as u32))
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V4(address)) => address.fmt(f),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Name(name) => name.fmt(f),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, AuthorityError> {
        Authority::parse(text.as_bytes(), Some(80)).map(|authority| authority.to_string())
    }

    #[test]
    fn one_form_for_every_spelling() {
        for (text, canonical) in [
            ("Example.ORG", "example.org:80"),
            ("example.org.:8080", "example.org:8080"),
            ("ex%61mple.org:", "example.org:80"),
            ("[::1]:443", "[::1]:443"),
            ("[2001:DB8::0:1]", "[2001:db8::1]:80"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("2130706433", "127.0.0.1:80"),
            ("0x7f.1", "127.0.0.1:80"),
            ("0177.0.0.01", "127.0.0.1:80"),
            ("127.1.", "127.0.0.1:80"),
            ("%31%32%37.1", "127.0.0.1:80"),
            ("a_b.example", "a_b.example:80"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(canonical), "{text}");
        }
    }

    #[test]
    fn the_quick_way_to_an_address_ends_where_the_long_one_does() {
        for octet in 0..300u32 {
            for text in [format!("{octet}.1.20.255"), format!("1.2.3.{octet}"), format!("1.0{octet}.3.4"), format!("1.2.{octet}.4.")] {
                let (quick, long) = (parse_dotted_quad(text.as_bytes()), parse_ipv4(text.as_bytes()));
                assert!(quick.is_none() || quick == long, "{text}");
                assert_eq!(quick, text.parse().ok(), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_an_authority_is_refused() {
        use AuthorityError::*;
        for (text, error) in [
            ("", MissingHost),
            (":80", MissingHost),
            ("user@example.org", Userinfo),
            ("a@b@c", Userinfo),
            ("user:password@example.org", Userinfo),
            ("user@[::1]", Userinfo),
            ("[::1]@a", Userinfo),
            ("a%40b", InvalidHost),
            ("example.org:0", InvalidPort),
            ("example.org:65536", InvalidPort),
            ("example.org:080000", InvalidPort),
            ("example.org:+80", InvalidPort),
            ("example.org:80:90", InvalidPort),
            ("a..b", InvalidHost),
            (".", InvalidHost),
            ("a b", InvalidHost),
            ("a\\b", InvalidHost),
            ("a%", InvalidHost),
            ("a%00b", InvalidHost),
            ("a%2fb", InvalidHost),
            ("[::1", InvalidHost),
            ("[::1]x", InvalidHost),
            ("[127.0.0.1]", InvalidHost),
            ("[fe80::1%25eth0]", InvalidHost),
            ("1.2.3.4.5", InvalidHost),
            ("256.1.1.1", InvalidHost),
            ("4294967296", InvalidHost),
            ("1.2.3.09", InvalidHost),
            ("example.0x", InvalidHost),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
        assert_eq!(Authority::parse(b"example.org", None), Err(MissingPort));
        assert_eq!(shown(&"a".repeat(64)), Err(InvalidHost));
        assert_eq!(shown(&format!("{}a", "a.".repeat(127))), Err(InvalidHost));
    }
}
