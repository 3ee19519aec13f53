//! Where the fields of a head lie.

use smallvec::{SmallVec, smallvec};

use super::Refusal;
use super::bytes::{printable_length, token_length};
use super::field::{Field, Kind};

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
    /// Takes in the field lines of `head`, which begin at `start` and end with the empty line.
    ///
    /// # Errors
    /// When there are more than `max`, or when a line is no field line (RFC 9112 section 5).
    pub(super) fn read(&mut self, head: &[u8], start: usize, max: usize) -> Result<(), Refusal> {
        match self.read_plain(head, start, max) {
            Some(()) => Ok(()),
            None => self.read_any(head, start, max),
        }
    }

    /// One pass over lines that have nothing unusual: `None` where one has, whether that is allowed or not.
    fn read_plain(&mut self, head: &[u8], start: usize, max: usize) -> Option<()> {
        self.0.clear();
        let mut line = start;
        while head.len() - line > 2 {
            let name_length = token_length(&head[line..]);
            let colon = line + name_length;
            if name_length == 0 || head.get(colon) != Some(&b':') || self.0.len() == max {
                return None;
            }
            let value = colon + 1 + usize::from(head.get(colon + 1) == Some(&b' '));
            let end = value + printable_length::<0x1f>(head.get(value..)?);
            if head.get(end..end + 2) != Some(b"\r\n") || head[value] == b' ' || head[end - 1] == b' ' {
                return None;
            }
            self.0.push(Span {
                line: line as u32,
                value: value as u32,
                value_length: (end - value) as u32,
                line_end: end as u32 + 2,
                name_length: name_length as u32,
                kind: Kind::of(&head[line..colon]),
            });
            line = end + 2;
        }
        (&head[line..] == b"\r\n").then_some(())
    }

    /// Any lines, as httparse reads them.
    #[cold]
    fn read_any(&mut self, head: &[u8], start: usize, max: usize) -> Result<(), Refusal> {
        /// As many as a head usually may have; room for more is allocated.
        const USUAL_FIELDS: usize = 128;
        let mut headers: SmallVec<[_; USUAL_FIELDS]> = smallvec![httparse::EMPTY_HEADER; max];
        match httparse::parse_headers(&head[start..], &mut headers) {
            Ok(httparse::Status::Complete((length, headers))) if start + length == head.len() => self.fill(head, headers),
            // It took a bare LF for an empty line.
            Ok(_) => Err(Refusal::BareLineFeed),
            Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooManyFields),
            Err(httparse::Error::HeaderValue) => Err(Refusal::InvalidFieldValue),
            Err(httparse::Error::NewLine) => Err(Refusal::ControlByte),
            Err(_) if memchr::memmem::find(head, b"\r\n ").is_some() || memchr::memmem::find(head, b"\r\n\t").is_some() => {
                Err(Refusal::ObsoleteFold)
            }
            Err(_) => Err(Refusal::InvalidFieldName),
        }
    }

    /// Takes in what httparse found in `head`. Lines lie back to back, so each ends where the next one starts, and the last
    /// one before the empty line.
    fn fill(&mut self, head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Refusal> {
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
        self.select(head, true)
    }

    /// The fields that mean something to a proxy, which are few.
    pub(super) fn known<'b>(&self, head: &'b [u8]) -> impl Iterator<Item = Field<'b>> {
        self.select(head, false)
    }

    /// All fields, or the known ones alone.
    pub(super) fn select<'b>(&self, head: &'b [u8], all: bool) -> impl Iterator<Item = Field<'b>> {
        self.0.iter().filter(move |span| all || span.kind != Kind::Other).map(|span| {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = Vec<(Vec<u8>, Vec<u8>, Vec<u8>, Kind)>;

    fn found(index: &FieldIndex, head: &[u8]) -> Found {
        index.iter(head).map(|field| (field.name.to_vec(), field.value.to_vec(), field.line.to_vec(), field.kind)).collect()
    }

    /// Whether the quick reading took the lines; if so, it found what httparse finds.
    fn is_plain(lines: &[u8], max: usize) -> bool {
        let head = [b"GET / HTTP/1.1\r\n", lines, b"\r\n"].concat();
        let (mut plain, mut any) = (FieldIndex::default(), FieldIndex::default());
        let is_plain = plain.read_plain(&head, 16, max).is_some();
        if is_plain {
            assert_eq!(any.read_any(&head, 16, max), Ok(()), "{}", lines.escape_ascii());
            assert_eq!(found(&plain, &head), found(&any, &head), "{}", lines.escape_ascii());
        }
        is_plain
    }

    #[test]
    fn what_is_plain() {
        for plain in ["", "a:\r\n", "Host: a b\r\nB:c\r\n", "!#$%&'*+-.^_`|~09: \u{e9}~\r\n"] {
            assert!(is_plain(plain.as_bytes(), 9), "{plain:?}");
        }
        for other in [
            ":b\r\n",
            "a b: c\r\n",
            "a : b\r\n",
            "a\r\n",
            "a: b\rc\r\n",
            "a: b\n",
            "a: b\0\r\n",
            "a: \tb\r\n",
            "a: b\r\n c\r\n",
            "\r\na: b\r\n",
        ] {
            assert!(!is_plain(other.as_bytes(), 9), "{other:?}");
        }
        assert!(is_plain(b"a:b\r\na:b\r\n", 2));
        assert!(!is_plain(b"a:b\r\na:b\r\n", 1));
    }

    proptest! {
        #[test]
        fn the_quick_reading_agrees_with_httparse(
            parts in proptest::collection::vec(prop_oneof![
                6 => "[A-Za-z-]{1,9}: ?[ -~]{0,20} ?\r\n".prop_map(String::into_bytes),
                1 => "[A-Za-z-]{0,3}[:\r\n]{0,2}".prop_map(String::into_bytes),
                1 => proptest::collection::vec(any::<u8>(), 0..4),
            ], 0..8),
        ) {
            is_plain(&parts.concat(), 6);
        }
    }
}
