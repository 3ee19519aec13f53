//! Looking at sixteen bytes at once.

/// How many bytes lie before the first one that `stops` has a bit for, which NUL must have.
#[inline]
pub fn length_before(bytes: &[u8], stops: impl Fn(Sixteen) -> u16) -> usize {
    let (whole, rest) = bytes.as_chunks();
    for (index, sixteen) in whole.iter().enumerate() {
        let stop = stops(Sixteen::new(sixteen));
        if stop != 0 {
            return index * 16 + stop.trailing_zeros() as usize;
        }
    }
    let mut padded = [0; 16];
    padded[..rest.len()].copy_from_slice(rest);
    whole.len() * 16 + (stops(Sixteen::new(&padded)).trailing_zeros() as usize).min(rest.len())
}

/// Sixteen bytes that are compared at once; what is told of each is a bit, the first in the lowest place.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Sixteen(std::arch::x86_64::__m128i);

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;

    use super::Sixteen;

    // SAFETY of all: they ask for nothing but SSE2, which is part of x86-64.
    impl Sixteen {
        #[inline]
        pub fn new(bytes: &[u8; 16]) -> Self {
            // SAFETY: see above; sixteen bytes are there to be read, and need not be aligned.
            Sixteen(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }

        #[inline]
        pub fn equal_to(self, byte: u8) -> u16 {
            // SAFETY: see above.
            unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(self.0, all(byte))) as u16 }
        }

        #[inline]
        pub fn at_most(self, byte: u8) -> u16 {
            // SAFETY: see above.
            unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(self.0, all(byte)), self.0)) as u16 }
        }

        /// Not ASCII.
        #[inline]
        pub fn high(self) -> u16 {
            // SAFETY: see above.
            unsafe { _mm_movemask_epi8(self.0) as u16 }
        }

        #[inline]
        pub fn letters_and_hyphens(self) -> u16 {
            // SAFETY: see above.
            unsafe {
                let small = _mm_or_si128(self.0, all(0x20));
                let clamped = _mm_max_epu8(_mm_min_epu8(small, all(b'z')), all(b'a'));
                let letters = _mm_cmpeq_epi8(clamped, small);
                _mm_movemask_epi8(_mm_or_si128(letters, _mm_cmpeq_epi8(self.0, all(b'-')))) as u16
            }
        }
    }

    #[inline]
    fn all(byte: u8) -> __m128i {
        // SAFETY: see above.
        unsafe { _mm_set1_epi8(byte as i8) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use portable::Sixteen;

/// The same without intrinsics, for other processors. Tests on x86-64 compare the two.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    #[derive(Clone, Copy)]
    pub struct Sixteen([u8; 16]);

    impl Sixteen {
        pub fn new(bytes: &[u8; 16]) -> Self {
            Sixteen(*bytes)
        }

        pub fn equal_to(self, byte: u8) -> u16 {
            self.bits(|each| each == byte)
        }

        pub fn at_most(self, byte: u8) -> u16 {
            self.bits(|each| each <= byte)
        }

        pub fn high(self) -> u16 {
            self.bits(|each| each >= 0x80)
        }

        pub fn letters_and_hyphens(self) -> u16 {
            self.bits(|each| each.is_ascii_alphabetic() || each == b'-')
        }

        fn bits(self, of: impl Fn(u8) -> bool) -> u16 {
            self.0.iter().rev().fold(0, |bits, &byte| bits << 1 | u16::from(of(byte)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_told_the_same_by_both() {
        for byte in 0..=u8::MAX {
            let mut bytes = [0; 16];
            bytes[9] = byte;
            let (vector, portable) = (Sixteen::new(&bytes), portable::Sixteen::new(&bytes));
            assert_eq!(vector.high(), portable.high(), "{byte:#04x}");
            assert_eq!(vector.letters_and_hyphens(), portable.letters_and_hyphens(), "{byte:#04x}");
            for other in 0..=u8::MAX {
                assert_eq!(vector.equal_to(other), portable.equal_to(other), "{byte:#04x} and {other:#04x}");
                assert_eq!(vector.at_most(other), portable.at_most(other), "{byte:#04x} and {other:#04x}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_sixteen_bytes_are_told_the_same_by_both(bytes: [u8; 16], byte: u8) {
            let (vector, portable) = (Sixteen::new(&bytes), portable::Sixteen::new(&bytes));
            prop_assert_eq!(vector.equal_to(byte), portable.equal_to(byte));
            prop_assert_eq!(vector.at_most(byte), portable.at_most(byte));
            prop_assert_eq!(vector.high(), portable.high());
            prop_assert_eq!(vector.letters_and_hyphens(), portable.letters_and_hyphens());
        }

        #[test]
        fn the_first_stop_is_found_at_any_length(bytes in prop::collection::vec(any::<u8>(), 0..70), stop: u8) {
            let found = length_before(&bytes, |sixteen| sixteen.equal_to(stop) | sixteen.equal_to(0));
            let expected = bytes.iter().position(|byte| [stop, 0].contains(byte)).unwrap_or(bytes.len());
            prop_assert_eq!(found, expected);
        }
    }
}
