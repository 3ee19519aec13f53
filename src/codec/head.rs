//! Finding where a head ends, in one pass however the bytes arrive.

use memchr::memchr;

use super::Refusal;

/// Looks for the empty line that ends a head. Remembers how far it looked, so that a head dripping
/// in byte by byte costs no more than one that comes at once.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScanner {
    /// Start of the line being looked at.
    line_start: usize,
    scanned: usize,
}

/// Empty lines that may stand before a request line (RFC 9112 section 2.2 asks for at least one).
const MAX_EMPTY_LINES: usize = 4;

impl HeadScanner {
    /// Where the head ends, its empty line included, or `None` while it is not complete.
    ///
    /// Every line must end in CRLF: a bare LF is a line end for some parsers and not for others
    /// (RFC 9112 section 2.2).
    pub fn find_end(&mut self, bytes: &[u8], max: usize) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = memchr(b'\n', &bytes[self.scanned..]) {
            let line_feed = self.scanned + offset;
            if line_feed == 0 || bytes[line_feed - 1] != b'\r' {
                return Err(Refusal::BareLineFeed);
            }
            if line_feed == self.line_start + 1 {
                let end = line_feed + 1;
                return if end > max { Err(Refusal::HeadTooLarge) } else { Ok(Some(end)) };
            }
            self.line_start = line_feed + 1;
            self.scanned = self.line_start;
        }
        self.scanned = bytes.len();
        if bytes.len() >= max { Err(Refusal::HeadTooLarge) } else { Ok(None) }
    }

    /// Whether a whole line was seen, which tells an over-long request line from an over-long head.
    pub fn has_line(&self) -> bool {
        self.line_start > 0
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
            [byte, ..] if byte.is_ascii_graphic() => return Ok(Some(bytes.len() - rest.len())),
            [b' ' | b'\t', ..] => return Err(Refusal::InvalidRequestLine),
            _ => return Err(Refusal::NotHttp),
        }
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
    }

    #[test]
    fn what_may_stand_before_a_request() {
        assert_eq!(skip_empty_lines(b"GET"), Ok(Some(0)));
        assert_eq!(skip_empty_lines(b"\r\n\r\nGET"), Ok(Some(4)));
        assert_eq!(skip_empty_lines(b"\r\n\r"), Ok(None));
        assert_eq!(skip_empty_lines(b"\r\n\r\n\r\n\r\n\r\n"), Err(Refusal::TooManyEmptyLines));
        assert_eq!(skip_empty_lines(b"\nGET"), Err(Refusal::BareLineFeed));
        assert_eq!(skip_empty_lines(b"\x16\x03\x01"), Err(Refusal::NotHttp));
        assert_eq!(skip_empty_lines(b" GET"), Err(Refusal::InvalidRequestLine));
    }
}
