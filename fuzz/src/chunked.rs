//! The chunked coding: one result at every split of the input, and what is written anew decodes to the same body.

use outrider::codec::Refusal;
use outrider::codec::chunked::{Decoder, Step, chunk_head};
use outrider::config::HeaderKeyFormat;

/// What a decoder made of its input.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Whole { body: Vec<u8>, trailers: Vec<u8>, used: usize },
    Partial { body: Vec<u8> },
    Refused { body: Vec<u8>, refusal: Refusal },
}

/// The first byte bounds the trailers and chooses whether they are kept; the second is the size of reads.
pub fn chunked_decoder(data: &[u8]) {
    let [choice, piece, input @ ..] = data else { return };
    let max_trailers = if choice & 1 == 0 { 4096 } else { 32 };
    let kept = [Some(HeaderKeyFormat::PreserveCase), Some(HeaderKeyFormat::LowerCase), None][usize::from(choice / 2 % 3)];
    let outcome = decode(input, input.len(), max_trailers, kept);
    for piece in [1, 2 + usize::from(*piece)] {
        assert_eq!(decode(input, piece, max_trailers, kept), outcome, "in pieces of {piece}");
    }
    let Outcome::Whole { body, trailers, used } = outcome else { return };
    assert!(input[..used].ends_with(b"\r\n"));
    if let Ok(text) = std::str::from_utf8(&input[..used])
        && !text.contains(';')
        && trailers.is_empty()
        && kept.is_some()
    {
        assert!(text.ends_with("0\r\n\r\n"));
    }
    let written = encode(&body, usize::from(*piece) + 1, &trailers);
    let again = Outcome::Whole { body, trailers, used: written.len() };
    assert_eq!(decode(&written, 7, usize::MAX, Some(HeaderKeyFormat::PreserveCase)), again);
}

/// Decodes in reads of `piece` bytes.
pub fn decode(input: &[u8], piece: usize, max_trailers: usize, kept: Option<HeaderKeyFormat>) -> Outcome {
    let mut decoder = Decoder::new(max_trailers, kept);
    let mut body = Vec::new();
    let mut used = 0;
    for read in input.chunks(piece.max(1)) {
        let mut rest = read;
        while !rest.is_empty() && !decoder.is_done() {
            match decoder.step(rest) {
                Err(refusal) => return Outcome::Refused { body, refusal },
                Ok(Step::Done) => break,
                Ok(Step::Data(length)) => {
                    body.extend_from_slice(&rest[..length]);
                    used += length;
                    rest = &rest[length..];
                }
                Ok(Step::Framing(length)) => {
                    assert!(length > 0, "no progress");
                    used += length;
                    rest = &rest[length..];
                }
            }
        }
    }
    if decoder.is_done() { Outcome::Whole { body, trailers: decoder.trailers().to_vec(), used } } else { Outcome::Partial { body } }
}

/// Writes a body in chunks of `size` bytes, as the proxy does.
pub fn encode(body: &[u8], size: usize, trailers: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for chunk in body.chunks(size) {
        written.extend_from_slice(&chunk_head(chunk.len()));
        written.extend_from_slice(chunk);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"0\r\n");
    written.extend_from_slice(trailers);
    written.extend_from_slice(b"\r\n");
    written
}
