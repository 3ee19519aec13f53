//! The chunked transfer coding (RFC 9112 section 7.1): decoded strictly, written anew.

use super::Refusal;
use super::bytes::{is_token_byte, is_value_byte};
use super::field::{NamedFields, is_forbidden_in_trailers};
use super::write::format_name;
use crate::config::HeaderKeyFormat;

/// Hexadecimal digits of a chunk size; more would not fit into 64 bits.
const MAX_SIZE_DIGITS: u32 = 16;
/// Bytes of extensions of one chunk, and of one message: they are dropped, so there is no reason to
/// read many.
const MAX_EXTENSION: u32 = 4096;
const MAX_EXTENSIONS: u32 = 65536;

/// Reads a chunked body however its bytes are split.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of extensions so far, in this chunk and in all.
    extension: u32,
    extensions: u32,
    /// Trailer lines, with their line ends, kept only where they are passed on.
    trailers: Vec<u8>,
    trailer_bytes: usize,
    max_trailers: usize,
    /// Trailers are passed on, their names in this format; otherwise they are dropped.
    kept: Option<HeaderKeyFormat>,
    /// Trailers of these names are dropped all the same.
    hop_by_hop: NamedFields,
    drops_forbidden: bool,
    allows_blanks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ExpectSize {
        size: u64,
        digits: u32,
    },
    /// White space after the size, which only an extension may follow.
    ExpectExtension {
        size: u64,
    },
    InExtension {
        size: u64,
        part: Extension,
    },
    ExpectSizeLineFeed {
        size: u64,
    },
    InData {
        left: u64,
    },
    ExpectDataCarriageReturn,
    ExpectDataLineFeed,
    InTrailer {
        line: usize,
    },
    ExpectTrailerLineFeed {
        line: usize,
    },
    Done,
}

/// Where in a chunk extension the decoder is: BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    ExpectName,
    InName,
    /// Blanks after a name.
    AfterName,
    ExpectValue,
    InValue,
    InQuotes,
    Escaped,
    AfterQuotes,
    /// Blanks after a value.
    AfterValue,
}

impl Extension {
    /// `None` where `byte` may not stand.
    fn next(self, byte: u8) -> Option<Extension> {
        use Extension::*;
        Some(match (self, byte) {
            (InQuotes, b'"') => AfterQuotes,
            (InQuotes, b'\\') => Escaped,
            (InQuotes | Escaped, byte) if is_value_byte(byte) => InQuotes,
            (InQuotes | Escaped, _) => return None,
            (ExpectName | ExpectValue, b' ' | b'\t') => self,
            (InName | AfterName, b' ' | b'\t') => AfterName,
            (InValue | AfterQuotes | AfterValue, b' ' | b'\t') => AfterValue,
            (InName | AfterName, b'=') => ExpectValue,
            (InName | AfterName | InValue | AfterQuotes | AfterValue, b';') => ExpectName,
            (ExpectValue, b'"') => InQuotes,
            (ExpectName | InName, byte) if is_token_byte(byte) => InName,
            (ExpectValue | InValue, byte) if is_token_byte(byte) => InValue,
            _ => return None,
        })
    }

    fn may_end(self, allows_blanks: bool) -> bool {
        match self {
            Extension::InName | Extension::InValue | Extension::AfterQuotes => true,
            Extension::AfterName | Extension::AfterValue => allows_blanks,
            Extension::ExpectName | Extension::ExpectValue | Extension::InQuotes | Extension::Escaped => false,
        }
    }
}

/// One step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// The next `usize` bytes of the input are data.
    Data(usize),
    /// The next `usize` bytes were framing and are used up.
    Framing(usize),
    /// The message ended.
    Done,
}

impl Decoder {
    /// `max_trailers` bounds the bytes of the trailer section; `kept` is the format of field names where
    /// trailers are passed on.
    pub fn new(max_trailers: usize, kept: Option<HeaderKeyFormat>) -> Self {
        Decoder {
            state: State::ExpectSize { size: 0, digits: 0 },
            extension: 0,
            extensions: 0,
            trailers: Vec::new(),
            trailer_bytes: 0,
            max_trailers,
            kept,
            hop_by_hop: NamedFields::default(),
            drops_forbidden: false,
            allows_blanks: false,
        }
    }

    /// Takes blanks between a chunk size and its line end, which old servers write; refused otherwise, as two parsers may
    /// read them differently.
    pub fn allow_blanks(mut self, allow: bool) -> Self {
        self.allows_blanks = allow;
        self
    }

    /// Drops trailers of fields that the message's Connection names (RFC 9110 section 7.6.1).
    pub fn drop_hop_by_hop(mut self, fields: NamedFields) -> Self {
        self.hop_by_hop = fields;
        self
    }

    /// Drops fields that may not stand among trailers (RFC 9110 section 6.5.1), instead of refusing the message. For
    /// responses: nothing behind them is read by their framing, and the client is to get its answer.
    pub fn drop_forbidden(mut self) -> Self {
        self.drops_forbidden = true;
        self
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Field lines of the trailer section, each with its CRLF, without the last empty line.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Says what the next bytes are. Data is only counted, never copied: the caller takes it from
    /// the input.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        if let State::InData { left } = &mut self.state {
            let length = (*left).min(input.len() as u64);
            *left -= length;
            if *left == 0 {
                self.state = State::ExpectDataCarriageReturn;
            }
            return Ok(Step::Data(length as usize));
        }
        for (index, &byte) in input.iter().enumerate() {
            self.state = self.next(byte)?;
            match self.state {
                State::InData { .. } => return Ok(Step::Framing(index + 1)),
                State::Done => return Ok(Step::Framing(index + 1)),
                _ => {}
            }
        }
        if self.is_done() { Ok(Step::Done) } else { Ok(Step::Framing(input.len())) }
    }

    fn next(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::ExpectSize { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(Refusal::InvalidChunkSize);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::ExpectSize { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::ExpectSize { digits: 0, .. }, _) => return Err(Refusal::InvalidChunkSize),
            (State::ExpectSize { size, .. }, b'\r') => State::ExpectSizeLineFeed { size },
            (State::ExpectSize { size, .. } | State::ExpectExtension { size }, b';') => {
                self.extension = 0;
                State::InExtension { size, part: Extension::ExpectName }
            }
            (State::ExpectSize { size, .. } | State::ExpectExtension { size }, b' ' | b'\t') => {
                self.count_extension()?;
                State::ExpectExtension { size }
            }
            (State::ExpectExtension { size }, b'\r') if self.allows_blanks => State::ExpectSizeLineFeed { size },
            (State::ExpectSize { .. } | State::ExpectExtension { .. }, _) => return Err(Refusal::InvalidChunkSize),
            (State::InExtension { size, part }, b'\r') if part.may_end(self.allows_blanks) => State::ExpectSizeLineFeed { size },
            (State::InExtension { size, part }, byte) => {
                self.count_extension()?;
                State::InExtension { size, part: part.next(byte).ok_or(Refusal::InvalidChunkExtension)? }
            }
            (State::ExpectSizeLineFeed { size: 0 }, b'\n') => State::InTrailer { line: 0 },
            (State::ExpectSizeLineFeed { size }, b'\n') => State::InData { left: size },
            (State::ExpectSizeLineFeed { .. }, _) => return Err(Refusal::InvalidChunkSize),
            (State::ExpectDataCarriageReturn, b'\r') => State::ExpectDataLineFeed,
            (State::ExpectDataLineFeed, b'\n') => State::ExpectSize { size: 0, digits: 0 },
            (State::ExpectDataCarriageReturn | State::ExpectDataLineFeed, _) => return Err(Refusal::InvalidChunkEnd),
            (State::InTrailer { line }, b'\r') => State::ExpectTrailerLineFeed { line },
            (State::InTrailer { line }, byte) if is_value_byte(byte) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > self.max_trailers {
                    return Err(Refusal::TrailersTooLarge);
                }
                self.trailers.push(byte);
                State::InTrailer { line: line + 1 }
            }
            (State::InTrailer { .. }, _) => return Err(Refusal::InvalidTrailer),
            (State::ExpectTrailerLineFeed { line: 0 }, b'\n') => State::Done,
            (State::ExpectTrailerLineFeed { line }, b'\n') => {
                self.end_trailer_line(line)?;
                State::InTrailer { line: 0 }
            }
            (State::ExpectTrailerLineFeed { .. }, _) => return Err(Refusal::InvalidTrailer),
            (State::InData { .. } | State::Done, _) => unreachable!("step() reads data itself and stops when done"),
        })
    }

    fn count_extension(&mut self) -> Result<(), Refusal> {
        self.extension += 1;
        self.extensions += 1;
        if self.extension > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
            return Err(Refusal::ChunkExtensionTooLong);
        }
        Ok(())
    }

    /// Checks the trailer line that was just completed by the rules of fields, and keeps or drops it.
    fn end_trailer_line(&mut self, length: usize) -> Result<(), Refusal> {
        let start = self.trailers.len() - length;
        let line = &self.trailers[start..];
        let colon = memchr::memchr(b':', line).ok_or(Refusal::InvalidTrailer)?;
        let name = &line[..colon];
        if name.is_empty() || !name.iter().copied().all(is_token_byte) {
            return Err(Refusal::InvalidTrailer);
        }
        let is_forbidden = is_forbidden_in_trailers(name);
        if is_forbidden && !self.drops_forbidden {
            return Err(Refusal::ForbiddenTrailer);
        }
        match self.kept.filter(|_| !is_forbidden && !self.hop_by_hop.contains(name)) {
            Some(format) => {
                format_name(&mut self.trailers[start..start + colon], format);
                self.trailers.extend_from_slice(b"\r\n");
            }
            None => self.trailers.truncate(start),
        }
        // Line ends count too, so that empty-looking lines cannot go on for ever.
        self.trailer_bytes += 2;
        Ok(())
    }
}

/// The line in front of a chunk of `length` bytes (not zero), held inline.
pub fn chunk_head(length: usize) -> smallvec::SmallVec<[u8; 20]> {
    debug_assert!(length > 0, "a chunk of no bytes would end the body");
    let mut head = smallvec::SmallVec::new();
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        head.push(b"0123456789abcdef"[(length >> (4 * digit)) & 0xf]);
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::field::ConnectionOptions;
    use super::*;

    /// Decodes `input` in pieces of `piece` bytes; the body, the trailers, and how much was left over.
    fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, usize), Refusal> {
        let mut decoder = Decoder::new(100, Some(HeaderKeyFormat::PreserveCase));
        let mut body = Vec::new();
        let mut used = 0;
        for part in input.chunks(piece) {
            let mut part = part;
            while !part.is_empty() && !decoder.is_done() {
                match decoder.step(part)? {
                    Step::Data(length) => {
                        body.extend_from_slice(&part[..length]);
                        used += length;
                        part = &part[length..];
                    }
                    Step::Framing(length) => {
                        used += length;
                        part = &part[length..];
                    }
                    Step::Done => break,
                }
            }
        }
        assert!(decoder.is_done(), "not complete");
        Ok((body, decoder.trailers().to_vec(), input.len() - used))
    }

    #[test]
    fn a_body_at_every_split() {
        let input = b"5\r\nhello\r\n00A;x=\"y\" ;z\r\n, world!..\r\n1 ;a\r\n!\r\n0\r\nX-Sum: 1\r\n\r\nGET";
        for piece in 1..=input.len() {
            let (body, trailers, left) = decode(input, piece).unwrap();
            assert_eq!((body.as_slice(), trailers.as_slice(), left), (&b"hello, world!..!"[..], &b"X-Sum: 1\r\n"[..], 3));
        }
    }

    #[test]
    fn tricks_are_refused() {
        use Refusal::*;
        for (input, refusal) in [
            (&b"\r\n"[..], InvalidChunkSize),
            (b";ext\r\n", InvalidChunkSize),
            (b" 5\r\n", InvalidChunkSize),
            (b"5 \r\n", InvalidChunkSize),
            (b"0x5\r\n", InvalidChunkSize),
            (b"-5\r\n", InvalidChunkSize),
            (b"+5\r\n", InvalidChunkSize),
            (b"5_0\r\n", InvalidChunkSize),
            (b"g\r\n", InvalidChunkSize),
            (b"5\n", InvalidChunkSize),
            (b"5\rX", InvalidChunkSize),
            (b"10000000000000000\r\n", InvalidChunkSize),
            (b"00000000000000005\r\n", InvalidChunkSize),
            (b"5;a\nb\r\n", InvalidChunkExtension),
            (b"5;a\0\r\n", InvalidChunkExtension),
            (b"5;a\rb\r\n", InvalidChunkSize),
            (b"5;\r\n", InvalidChunkExtension),
            (b"5; =x\r\n", InvalidChunkExtension),
            (b"1\r\nab\r\n", InvalidChunkEnd),
            (b"1\r\na\n", InvalidChunkEnd),
            (b"1\r\na\rb", InvalidChunkEnd),
            (b"0\r\nno colon\r\n", InvalidTrailer),
            (b"0\r\n: empty\r\n", InvalidTrailer),
            (b"0\r\nA : b\r\n", InvalidTrailer),
            (b"0\r\n folded: b\r\n", InvalidTrailer),
            (b"0\r\nA: b\n", InvalidTrailer),
            (b"0\r\n\n", InvalidTrailer),
            (b"0\r\nA: b\rc\r\n", InvalidTrailer),
            (b"0\r\nContent-Length: 5\r\n", ForbiddenTrailer),
            (b"0\r\nhost: a\r\n", ForbiddenTrailer),
            (b"0\r\nTransfer-Encoding: chunked\r\n", ForbiddenTrailer),
        ] {
            for piece in [1, input.len()] {
                assert_eq!(decode(input, piece), Err(refusal), "{:?} by {piece}", String::from_utf8_lossy(input));
            }
        }
        let long = [b"5;".as_slice(), &[b'x'; 5000], b"\r\n"].concat();
        assert_eq!(decode(&long, long.len()), Err(ChunkExtensionTooLong));
        let trailers = [b"0\r\nA: ".as_slice(), &[b'x'; 200], b"\r\n\r\n"].concat();
        assert_eq!(decode(&trailers, 7), Err(TrailersTooLarge));
    }

    #[test]
    fn trailers_that_are_dropped() {
        let mut options = ConnectionOptions::default();
        options.add(b"close, X-Hop").expect("few names");
        let input = b"0\r\nx-hop: 1\r\nX-Sum: 2\r\nHost: a\r\nX-Hop: 3\r\nX-Hopper: 4\r\n\r\n";
        for piece in 1..=input.len() {
            let mut decoder = Decoder::new(100, Some(HeaderKeyFormat::PreserveCase)).drop_forbidden();
            decoder = decoder.drop_hop_by_hop(options.named_fields());
            input.chunks(piece).for_each(|part| assert_eq!(decoder.step(part), Ok(Step::Framing(part.len()))));
            assert!(decoder.is_done());
            assert_eq!(decoder.trailers(), b"X-Sum: 2\r\nX-Hopper: 4\r\n", "by {piece}");
        }
    }

    #[test]
    fn extensions_have_names() {
        for good in [";a", " ; a", ";a;b", ";a=b", ";a = b ;c", ";a=\"\"", "\t;\ta\t=\t\"x;\\\"y=é\";b", ";a=1 ; b=\"2\""] {
            let input = format!("1{good}\r\nx\r\n0\r\n\r\n");
            for piece in 1..=input.len() {
                assert!(decode(input.as_bytes(), piece).is_ok(), "{good:?} by {piece}");
            }
        }
        for bad in [
            ";",
            "; ",
            ";;",
            ";a;",
            "; =x",
            ";=x",
            ";a=",
            ";a= ;b",
            ";a b",
            ";a=b c",
            ";a=b=c",
            ";a=\"b",
            ";a=\"b\"c",
            ";a=b\"c\"",
            ";\"a\"",
            ";a ",
            ";a=b ",
        ] {
            let input = format!("1{bad}\r\nx\r\n0\r\n\r\n");
            for piece in [1, input.len()] {
                assert_eq!(decode(input.as_bytes(), piece), Err(Refusal::InvalidChunkExtension), "{bad:?} by {piece}");
            }
        }
        assert_eq!(Decoder::new(100, None).allow_blanks(true).step(b"1;a \r\nx"), Ok(Step::Framing(6)));
    }

    #[test]
    fn blanks_after_a_size_are_an_option() {
        for (allow, expected) in [(true, Ok(Step::Framing(5))), (false, Err(Refusal::InvalidChunkSize))] {
            assert_eq!(Decoder::new(100, None).allow_blanks(allow).step(b"1 \t\r\nx"), expected);
        }
        assert_eq!(Decoder::new(100, None).allow_blanks(true).step(b" 1\r\n"), Err(Refusal::InvalidChunkSize));
    }

    #[test]
    fn chunk_heads() {
        for length in [1usize, 15, 16, 255, 4096, 65536, usize::MAX] {
            assert_eq!(chunk_head(length).as_slice(), format!("{length:x}\r\n").as_bytes());
        }
    }

    /// Chunks as a peer may write them: any case and leading zeros of sizes, extensions, any sizes.
    fn written(chunks: &[(Vec<u8>, usize, &str)], trailers: &[u8]) -> Vec<u8> {
        let mut input = Vec::new();
        for (data, zeros, extension) in chunks {
            let size = if zeros % 2 == 0 { format!("{:x}", data.len()) } else { format!("{:X}", data.len()) };
            input.extend([&vec![b'0'; *zeros], size.as_bytes(), extension.as_bytes(), b"\r\n", data, b"\r\n"].concat());
        }
        input.extend([b"0\r\n", trailers, b"\r\n"].concat());
        input
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding_at_every_split(
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), 0usize..4, select(vec!["", ";a", " ;a=b", "\t;a=\"b\";c"])), 0..5),
            trailers in select(vec!["", "X-Sum: 1\r\n", "a:\r\nB-c:\t d \r\n"]),
            rest in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let mut input = written(&chunks, trailers.as_bytes());
            input.extend(&rest);
            let body: Vec<u8> = chunks.iter().flat_map(|(data, ..)| data.clone()).collect();
            for piece in 1..=input.len() {
                prop_assert_eq!(decode(&input, piece), Ok((body.clone(), trailers.as_bytes().to_vec(), rest.len())), "by {}", piece);
            }
            // And what we write ourselves.
            let mut ours = Vec::new();
            for (data, ..) in &chunks {
                ours.extend([&chunk_head(data.len())[..], data, b"\r\n"].concat());
            }
            ours.extend([b"0\r\n", trailers.as_bytes(), b"\r\n"].concat());
            prop_assert_eq!(decode(&ours, 3), Ok((body, trailers.as_bytes().to_vec(), 0)));
        }

        #[test]
        fn any_bytes_give_one_result_at_every_split(input in "[0-2;\\r\\na: ]{0,40}") {
            let outcome = outcome(input.as_bytes(), input.len().max(1));
            for piece in 1..input.len() {
                prop_assert_eq!(self::outcome(input.as_bytes(), piece), outcome.clone(), "by {}", piece);
            }
        }
    }

    /// The body so far, and whether it is whole or why it was refused.
    fn outcome(input: &[u8], piece: usize) -> (Vec<u8>, Result<bool, Refusal>) {
        let mut decoder = Decoder::new(100, None);
        let mut body = Vec::new();
        for mut part in input.chunks(piece) {
            while !part.is_empty() && !decoder.is_done() {
                match decoder.step(part) {
                    Ok(Step::Data(length)) => {
                        body.extend_from_slice(&part[..length]);
                        part = &part[length..];
                    }
                    Ok(Step::Framing(length)) => part = &part[length..],
                    Ok(Step::Done) => break,
                    Err(refusal) => return (body, Err(refusal)),
                }
            }
        }
        (body, Ok(decoder.is_done()))
    }
}
