//! Bytes that are expected, with places for the few things that a test cannot know.

/// What the text between braces stands for.
const PLACES: [(&str, Place); 2] = [("{date}", Place::Date), ("{id}", Place::RequestId)];

/// Expected bytes. `{date}` stands for an IMF-fixdate and `{id}` for a request id; both have one
/// length, so a pattern says how many bytes to read.
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

enum Piece {
    Literal(Vec<u8>),
    Place(Place),
}

#[derive(Clone, Copy)]
enum Place {
    Date,
    RequestId,
}

impl Pattern {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some((&byte, tail)) = rest.split_first() {
            match PLACES.iter().find(|(name, _)| rest.starts_with(name.as_bytes())) {
                Some((name, place)) => {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(Piece::Place(*place));
                    rest = &rest[name.len()..];
                }
                None => {
                    literal.push(byte);
                    rest = tail;
                }
            }
        }
        pieces.push(Piece::Literal(literal));
        Self { pieces }
    }

    pub(super) fn length(&self) -> usize {
        self.pieces.iter().map(Piece::length).sum()
    }

    /// Whether `bytes` are a beginning of what is expected.
    pub(super) fn matches_start(&self, mut bytes: &[u8]) -> bool {
        for piece in &self.pieces {
            let (now, rest) = bytes.split_at(piece.length().min(bytes.len()));
            if !piece.matches_start(now) {
                return false;
            }
            bytes = rest;
        }
        bytes.is_empty()
    }
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Piece::Literal(bytes) => bytes.len(),
            Piece::Place(Place::Date) => "Sun, 06 Nov 1994 08:49:37 GMT".len(),
            Piece::Place(Place::RequestId) => 16,
        }
    }

    fn matches_start(&self, bytes: &[u8]) -> bool {
        match self {
            Piece::Literal(literal) => literal.starts_with(bytes),
            Piece::Place(Place::Date) => is_date(bytes),
            Piece::Place(Place::RequestId) => bytes.iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)),
        }
    }
}

fn is_date(bytes: &[u8]) -> bool {
    let shape = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    bytes.iter().zip(shape).all(|(byte, shape)| match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    })
}
