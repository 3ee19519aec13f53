//! What bytes may stand where, told many at a time.

/// Whether a byte may stand in a field name or method (RFC 9110 section 5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether a byte may stand in a field value (RFC 9110 section 5.5).
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// How many bytes lie before the first one that is no token byte; all of them where each is one.
pub fn token_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((&eight, tail)) = rest.split_first_chunk() {
        let others = !letters_and_hyphens(u64::from_le_bytes(eight)) & HIGH;
        if others != 0 {
            rest = &rest[lowest(others)..];
            break;
        }
        rest = tail;
    }
    // What is not of the usual letters ends a name, nearly always.
    let left = rest.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(rest.len());
    bytes.len() - rest.len() + left
}

/// How many bytes lie before the first one that is below `LEAST` or DEL; all of them where there is none.
///
/// Most of a head is values, and each of their bytes is looked at here and nowhere else.
pub fn printable_length<const LEAST: u8>(bytes: &[u8]) -> usize {
    let is_other = |byte: u8| byte < LEAST || byte == 0x7f;
    let mut rest = bytes;
    // The compiler makes one comparison of this.
    while let Some((sixteen, tail)) = rest.split_first_chunk::<16>()
        && !sixteen.iter().fold(false, |found, &byte| found | is_other(byte))
    {
        rest = tail;
    }
    while let Some((&eight, tail)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(eight);
        let delete = word ^ (ONES * 0x7f);
        // In each, the lowest byte that is marked is one that was looked for; a borrow may mark others above it.
        let marked = (word.wrapping_sub(ONES * u64::from(LEAST)) & !word | delete.wrapping_sub(ONES) & !delete) & HIGH;
        if marked != 0 {
            return bytes.len() - rest.len() + lowest(marked);
        }
        rest = tail;
    }
    let left = rest.iter().position(|&byte| is_other(byte)).unwrap_or(rest.len());
    bytes.len() - rest.len() + left
}

// Words of eight bytes, the first in the lowest place; the highest bit of a byte marks it.
const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES * 0x80;

/// Marks those of eight bytes that are ASCII letters or hyphens. Bits that are no marks mean nothing.
fn letters_and_hyphens(word: u64) -> u64 {
    // Seven bits and a sum below 256, so that nothing is carried into a neighbour.
    let seven = word & !HIGH;
    let small = seven | (ONES * 0x20);
    let letters = (small + ONES * u64::from(0x80 - b'a')) & !(small + ONES * u64::from(0x7f - b'z'));
    let no_hyphens = (seven ^ (ONES * u64::from(b'-'))) + ONES * 0x7f;
    (letters | !no_hyphens) & !word
}

/// The place of the first byte that is marked.
fn lowest(marked: u64) -> usize {
    marked.trailing_zeros() as usize / 8
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let this = byte as u8;
        table[byte] =
            this.is_ascii_alphanumeric() || matches!(this, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn token_bytes() {
        let tokens: Vec<u8> = (0..=255).filter(|&byte| is_token_byte(byte)).collect();
        let punctuation = b"!#$%&'*+-.^_`|~";
        assert_eq!(tokens.len(), 62 + punctuation.len());
        assert!(tokens.iter().all(|byte| byte.is_ascii_alphanumeric() || punctuation.contains(byte)));
    }

    fn look<const LEAST: u8>(bytes: &[u8]) {
        let token = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
        assert_eq!(token_length(bytes), token, "{bytes:?}");
        let expected = bytes.iter().position(|&byte| byte < LEAST || byte == 0x7f).unwrap_or(bytes.len());
        assert_eq!(printable_length::<LEAST>(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..20 {
                for neighbour in [b' ', b'!', b'~', b'a', b'Z', b'-', b'9', 0x80, 0xff] {
                    let mut bytes = [neighbour; 20];
                    bytes[place] = byte;
                    look::<0x20>(&bytes);
                    look::<0x21>(&bytes);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), common in proptest::collection::vec(0x1eu8..0x82, 0..40)) {
            for bytes in [bytes, common] {
                look::<0x20>(&bytes);
                look::<0x21>(&bytes);
            }
        }
    }
}
