//! What bytes may stand where, told many at a time.

use crate::simd::length_before;

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
    // What is none of the usual letters ends a name, nearly always.
    let usual = length_before(bytes, |sixteen| !sixteen.letters_and_hyphens());
    let left = &bytes[usual..];
    usual + left.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(left.len())
}

/// How many bytes lie before the first one that is at most `LAST_REFUSED`, or DEL; all of them where there is none.
///
/// Most of a head is values, and each of their bytes is looked at here and nowhere else.
pub fn printable_length<const LAST_REFUSED: u8>(bytes: &[u8]) -> usize {
    length_before(bytes, |sixteen| sixteen.at_most(LAST_REFUSED) | sixteen.equal_to(0x7f))
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

    fn look<const LAST_REFUSED: u8>(bytes: &[u8]) {
        let token = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
        assert_eq!(token_length(bytes), token, "{bytes:?}");
        let expected = bytes.iter().position(|&byte| byte <= LAST_REFUSED || byte == 0x7f).unwrap_or(bytes.len());
        assert_eq!(printable_length::<LAST_REFUSED>(bytes), expected, "{bytes:?}");
    }

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..36 {
                for neighbour in [b' ', b'!', b'~', b'a', b'Z', b'-', b'9', 0x80, 0xff] {
                    let mut bytes = [neighbour; 36];
                    bytes[place] = byte;
                    look::<0x1f>(&bytes);
                    look::<0x20>(&bytes);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..70), common in proptest::collection::vec(0x1eu8..0x82, 0..70)) {
            for bytes in [bytes, common] {
                look::<0x1f>(&bytes);
                look::<0x20>(&bytes);
            }
        }
    }
}
