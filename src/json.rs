//! JSON text, written by hand: the access log writes it for every stream and may not allocate for it.

use crate::simd::{Sixteen, length_before};

/// Appends `bytes` as a JSON string, quotes and all; the result is valid JSON and valid UTF-8 whatever comes in.
///
/// Valid UTF-8 is kept. A byte that is not part of any becomes `\u00XX`, as if it were Latin-1, so that it can still be
/// told from its neighbours. DEL and the C1 controls are escaped too: a terminal that shows the log must not obey them.
pub fn write_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    write_escaped(out, bytes);
    out.push(b'"');
}

/// A JSON string of its own, where an allocation does not matter.
pub fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(&mut out, text.as_bytes());
    String::from_utf8(out).expect("what is written is UTF-8, whatever comes in")
}

/// What comes between the quotes.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    // Nearly every string is plain: one look at each byte, one copy.
    if !has_special(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => write_code(out, character as u8),
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for &byte in chunk.invalid() {
            write_code(out, byte);
        }
    }
}

fn write_code(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\u00");
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

pub(crate) const HEX: &[u8; 16] = b"0123456789abcdef";

/// Whether a string may not hold `bytes` as they are, or not without a closer look.
fn has_special(bytes: &[u8]) -> bool {
    let special = |sixteen: Sixteen| {
        sixteen.at_most(0x1f) | sixteen.equal_to(b'"') | sixteen.equal_to(b'\\') | sixteen.equal_to(0x7f) | sixteen.high()
    };
    length_before(bytes, special) < bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, bytes);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn what_is_special_is_seen_at_every_place() {
        for byte in 0..=255 {
            for place in 0..19 {
                for neighbour in [b' ', b'!', b'#', b'[', b']', b'~'] {
                    let mut bytes = [neighbour; 19];
                    bytes[place] = byte;
                    let is_special = !(b' '..0x7f).contains(&byte) || matches!(byte, b'"' | b'\\');
                    assert_eq!(has_special(&bytes), is_special, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn escapes_what_must_be() {
        assert_eq!(escaped(b"plain /path?x=1"), "\"plain /path?x=1\"");
        assert_eq!(escaped(b"a\"b\\c\n\r\t\x01\x7f"), r#""a\"b\\c\n\r\t\u0001\u007f""#);
        assert_eq!(escaped("grün".as_bytes()), "\"grün\"");
        assert_eq!(escaped(b"gr\xfcn"), r#""gr\u00fcn""#);
        assert_eq!(escaped("csi \u{9b}31m".as_bytes()), r#""csi \u009b31m""#);
        assert_eq!(escaped(b"\xe2\x82"), r#""\u00e2\u0082""#);
    }

    #[test]
    fn text_comes_back_as_it_went_in() {
        let text: String = (0..=0x2100).filter_map(char::from_u32).collect();
        assert_eq!(serde_json::from_str::<String>(&escaped(text.as_bytes())).expect("valid JSON"), text);
    }
}
