//! Finding where a head ends, in one pass however the bytes arrive.

use std::sync::LazyLock;

use memchr::memchr_iter;
use memchr::memmem::Finder;

use super::Refusal;

/// Looks for the empty line that ends a head. Remembers how far it looked, so that a head dripping
/// in byte by byte costs no more than one that comes at once.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScanner {
    scanned: usize,
    has_line: bool,
}

/// Empty lines that may stand before a request line (RFC 9112 section 2.2 asks for at least one).
const MAX_EMPTY_LINES: usize = 4;

/// The end of a head, less the CR before it: no other line of a sound head holds a piece of this.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\r\n"));

impl HeadScanner {
    /// Where the head ends, its empty line included, or `None` while it is not complete.
    ///
    /// # Errors
    /// When the head is larger than `max`; and when it ends after a bare LF, or an incomplete one has a line that ends in
    /// one, whose sender may think it complete. Of a complete one, the parser tells.
    pub fn find_end(&mut self, bytes: &[u8], max: usize) -> Result<Option<usize>, Refusal> {
        // The end may straddle what was looked at before.
        let from = self.scanned.saturating_sub(2);
        if let Some(line_feed) = END.find(&bytes[from..]).map(|offset| from + offset) {
            if !bytes[..line_feed].ends_with(b"\r") {
                return Err(Refusal::BareLineFeed);
            }
            let end = line_feed + 3;
            if end <= max {
                return Ok(Some(end));
            }
            self.has_line |= bytes[..max].contains(&b'\n');
            return Err(Refusal::HeadTooLarge);
        }
        for line_feed in memchr_iter(b'\n', &bytes[self.scanned..]).map(|offset| self.scanned + offset) {
            if !bytes[..line_feed].ends_with(b"\r") {
                return Err(Refusal::BareLineFeed);
            }
            self.has_line = true;
        }
        self.scanned = bytes.len();
        if bytes.len() >= max { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    /// Whether a whole line was seen in an incomplete head, which tells an over-long head from an
    /// over-long first line.
    pub fn has_line(&self) -> bool {
        self.has_line
    }
}

/// How many bytes of empty lines to skip before a request line, or `None` when more bytes are
/// needed to tell. Refuses at once what cannot be the start of a request, so that a client that
/// speaks something else learns it now and not after a timeout.
pub fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut rest = bytes;
    let mut lines = 0;
    loop {
        match rest {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', tail @ ..] => {
                lines += 1;
                if lines > MAX_EMPTY_LINES {
                    return Err(Refusal::TooManyEmptyLines);
                }
                rest = tail;
            }
            [b'\n', ..] => return Err(Refusal::BareLineFeed),
            [b'\r', ..] => return Err(Refusal::ControlByte),
            // It waits for our banner when it has sent its own: no line that follows would tell.
            [b'S', ..] if rest.starts_with(SSH) => return Err(Refusal::Ssh),
            [b'S', ..] if SSH.starts_with(rest) => return Ok(None),
            [byte, ..] if byte.is_ascii_graphic() => return Ok(Some(bytes.len() - rest.len())),
            [b' ' | b'\t', ..] => return Err(Refusal::InvalidRequestLine),
            _ => return Err(foreign(rest)),
        }
    }
}

/// How every SSH 2 client begins (RFC 4253 section 4.2).
const SSH: &[u8] = b"SSH-2.0-";

/// Names the protocol of what cannot be a request, by its first bytes or as many of them as there are.
#[cold]
fn foreign(bytes: &[u8]) -> Refusal {
    match bytes {
        // A handshake record (RFC 8446 section 5.1) of some version 3.x.
        [22] | [22, 3, ..] => Refusal::Tls,
        // CONNECT and BIND.
        [4] | [4, 1 | 2, ..] => Refusal::Socks4,
        // Then the number of methods (RFC 1928 section 3).
        [5] | [5, 1..=255, ..] => Refusal::Socks5,
        _ => Refusal::NotHttp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn the_end_is_found_at_every_split() {
        for split in 0..=HEAD.len() {
            let mut scanner = HeadScanner::default();
            let first = scanner.find_end(&HEAD[..split], 1000).unwrap();
            assert_eq!(first, (split == HEAD.len()).then_some(HEAD.len()));
            let mut more = HEAD.to_vec();
            more.extend_from_slice(b"rest\r\n\r\n");
            assert_eq!(scanner.find_end(&more, 1000), Ok(Some(HEAD.len())), "split at {split}");
        }
    }

    #[test]
    fn limits_and_bare_line_feeds() {
        assert_eq!(HeadScanner::default().find_end(HEAD, HEAD.len()), Ok(Some(HEAD.len())));
        assert_eq!(HeadScanner::default().find_end(HEAD, HEAD.len() - 1), Err(Refusal::HeadTooLarge));
        assert_eq!(HeadScanner::default().find_end(b"GET / HTTP/1.1\n", 100), Err(Refusal::BareLineFeed));
        assert_eq!(HeadScanner::default().find_end(b"\n", 100), Err(Refusal::BareLineFeed));
        assert_eq!(HeadScanner::default().find_end(b"GET / HTTP/1.1\r\na: b\n\r\n", 100), Err(Refusal::BareLineFeed));
        assert_eq!(HeadScanner::default().find_end(b"GET / HTTP/1.1\r\na: b\r\n\n", 100), Err(Refusal::BareLineFeed));
    }

    #[test]
    fn a_dripping_head_is_looked_at_once() {
        let head = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(5000), b"\r\n"].concat();
        let mut scanner = HeadScanner::default();
        for end in 1..head.len() {
            assert_eq!(scanner.find_end(&head[..end], 1 << 20), Ok(None));
            // The next look begins here, less the two bytes that an end may straddle.
            assert_eq!(scanner.scanned, end);
        }
        assert_eq!(scanner.find_end(&head, 1 << 20), Ok(Some(head.len())));
    }

    #[test]
    fn what_may_stand_before_a_request() {
        assert_eq!(skip_empty_lines(b"GET"), Ok(Some(0)));
        assert_eq!(skip_empty_lines(b"\r\n\r\nGET"), Ok(Some(4)));
        assert_eq!(skip_empty_lines(b"\r\n\r"), Ok(None));
        assert_eq!(skip_empty_lines(b"\r\n\r\n\r\n\r\n\r\n"), Err(Refusal::TooManyEmptyLines));
        assert_eq!(skip_empty_lines(b"\nGET"), Err(Refusal::BareLineFeed));
        assert_eq!(skip_empty_lines(b"SEARCH"), Ok(Some(0)));
        assert_eq!(skip_empty_lines(b" GET"), Err(Refusal::InvalidRequestLine));
    }
    #[test]
    fn other_protocols_are_named_at_every_split() {
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        let cases: [(&[u8], Refusal); 4] = [
            (hello, Refusal::Tls),
            (b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00", Refusal::Socks4),
            (b"\x05\x02\x00\x02", Refusal::Socks5),
            (b"\x05\x01\x00", Refusal::Socks5),
        ];
        for (bytes, refusal) in cases {
            for length in 1..=bytes.len() {
                assert_eq!(skip_empty_lines(&bytes[..length]), Err(refusal), "{length} bytes of {bytes:?}");
            }
        }
        let banner = b"SSH-2.0-OpenSSH_9.2p1\r\n";
        for length in 1..=banner.len() {
            let expected = if length < SSH.len() { Ok(None) } else { Err(Refusal::Ssh) };
            assert_eq!(skip_empty_lines(&banner[..length]), expected, "{length} bytes");
        }
        assert_eq!(skip_empty_lines(b"\x16GET"), Err(Refusal::NotHttp));
        assert_eq!(skip_empty_lines(b"\x00"), Err(Refusal::NotHttp));
    }
}
