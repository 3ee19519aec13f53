//! Where a message ends (RFC 9112 section 6).

use super::Refusal;
use super::field::list;

/// How a body is framed on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}

/// What the framing fields of one head said, gathered while its fields are read.
#[derive(Debug, Default, Clone, Copy)]
pub struct FramingFields {
    length: Option<u64>,
    coding: Coding,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    /// Other codings first, `chunked` last.
    ChunkedLast,
    NotChunked,
}

impl FramingFields {
    /// Digits only; a list or several fields are one value if all agree (RFC 9112 section 6.3).
    pub fn add_content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for element in value.split(|&byte| byte == b',') {
            let length = parse_length(element.trim_ascii()).ok_or(Refusal::InvalidContentLength)?;
            match self.length {
                Some(earlier) if earlier != length => return Err(Refusal::ConflictingContentLength),
                _ => self.length = Some(length),
            }
        }
        Ok(())
    }

    pub fn add_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for element in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            // To be ignored in other lists (RFC 9110 section 5.6.1.2); here two readers might differ in what is left.
            if element.is_empty() {
                return Err(Refusal::InvalidTransferEncoding);
            }
            let chunked = element.eq_ignore_ascii_case(b"chunked");
            self.coding = match (self.coding, chunked) {
                (Coding::Absent, true) => Coding::Chunked,
                (Coding::Absent | Coding::NotChunked, false) => Coding::NotChunked,
                (Coding::NotChunked, true) => Coding::ChunkedLast,
                // Chunked twice, or something after chunked: nobody agrees on what that means.
                (Coding::Chunked | Coding::ChunkedLast, _) => return Err(Refusal::UnsupportedTransferCoding),
            };
        }
        Ok(())
    }

    pub fn has_transfer_encoding(&self) -> bool {
        self.coding != Coding::Absent
    }

    /// The one Content-Length, when that is what frames the message.
    pub fn content_length(&self) -> Option<u64> {
        self.length
    }

    /// Whether both framing fields came, which `allow_chunked_length` lets through once.
    pub fn is_ambiguous(&self) -> bool {
        self.length.is_some() && self.coding != Coding::Absent
    }

    pub fn request(&self, minor_version: u8, allow_chunked_length: bool) -> Result<Framing, Refusal> {
        match (self.coding, self.length) {
            (Coding::Absent, None | Some(0)) => Ok(Framing::None),
            (Coding::Absent, Some(length)) => Ok(Framing::Length(length)),
            (_, _) if minor_version == 0 => Err(Refusal::TransferEncodingInHttp10),
            (Coding::Chunked, Some(_)) if !allow_chunked_length => Err(Refusal::LengthAndChunked),
            (Coding::Chunked, _) => Ok(Framing::Chunked),
            (Coding::ChunkedLast | Coding::NotChunked, _) => Err(Refusal::UnsupportedTransferCoding),
        }
    }

    pub fn response(&self, minor_version: u8, allow_chunked_length: bool) -> Result<Framing, Refusal> {
        match (self.coding, self.length) {
            (Coding::Absent, Some(length)) => Ok(Framing::Length(length)),
            (Coding::Absent, None) => Ok(Framing::UntilClose),
            (_, _) if minor_version == 0 => Err(Refusal::TransferEncodingInHttp10),
            (_, Some(_)) if !allow_chunked_length => Err(Refusal::LengthAndChunked),
            (Coding::Chunked, _) => Ok(Framing::Chunked),
            // The codings under the chunks would have to be undone or declared anew; we never asked for any.
            (Coding::ChunkedLast, _) => Err(Refusal::UnsupportedTransferCoding),
            (Coding::NotChunked, _) => Ok(Framing::UntilClose),
        }
    }
}

fn parse_length(digits: &[u8]) -> Option<u64> {
    // 19 digits always fit into 64 bits.
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Whether `value` is the text that [`FramingFields::content_length`] would be written as, so
/// that the line may leave as it came.
pub fn is_canonical_length(value: &[u8], length: u64) -> bool {
    itoa::Buffer::new().format(length).as_bytes() == value
}

/// Whether a TE field asks for trailers (RFC 9110 section 10.1.4).
pub fn wants_trailers(te: &[u8]) -> bool {
    list(te).any(|element| element.eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lengths: &[&str], codings: &[&str]) -> Result<Framing, Refusal> {
        let mut fields = FramingFields::default();
        for length in lengths {
            fields.add_content_length(length.as_bytes())?;
        }
        for coding in codings {
            fields.add_transfer_encoding(coding.as_bytes())?;
        }
        fields.request(1, false)
    }

    #[test]
    fn requests() {
        use Framing::*;
        assert_eq!(request(&[], &[]), Ok(None));
        assert_eq!(request(&["5"], &[]), Ok(Length(5)));
        assert_eq!(request(&["5, 5", "5"], &[]), Ok(Length(5)));
        assert_eq!(request(&["5,6"], &[]), Err(Refusal::ConflictingContentLength));
        for bad in ["", "+5", "-1", "5 5", "0x5", "5,", ",5", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(request(&[bad], &[]), Err(Refusal::InvalidContentLength), "{bad}");
        }
        assert_eq!(request(&[], &["Chunked"]), Ok(Chunked));
        assert_eq!(request(&["5"], &["chunked"]), Err(Refusal::LengthAndChunked));
        for bad in ["gzip, chunked", "chunked, chunked", "chunked, gzip", "identity", "xchunked", "chunked;q=1", "\"chunked\""] {
            assert_eq!(request(&[], &[bad]), Err(Refusal::UnsupportedTransferCoding), "{bad}");
        }
        for bad in ["", ",", ",chunked", ", chunked", "chunked,", "gzip,,chunked", "chunked, ,chunked"] {
            assert_eq!(request(&[], &[bad]), Err(Refusal::InvalidTransferEncoding), "{bad}");
        }
        assert_eq!(request(&[], &["chunked", "chunked"]), Err(Refusal::UnsupportedTransferCoding));
    }
}
