//! The order in which addresses are tried.

use std::net::IpAddr;

use crate::config::LookupFamily;

/// The addresses of both families in the order to try, each family's in that of its server, which may balance load by it.
pub(super) fn interleave(family: LookupFamily, v4: &[IpAddr], v6: &[IpAddr]) -> Vec<IpAddr> {
    match family {
        LookupFamily::V4Only | LookupFamily::V4Preferred => in_turn(v4, v6),
        LookupFamily::Auto | LookupFamily::V6Only | LookupFamily::All => in_turn(v6, v4),
    }
}

/// Two families taken in turn, beginning with the first (RFC 8305 section 4).
pub fn in_turn<T: Copy>(first: &[T], second: &[T]) -> Vec<T> {
    let mut both = Vec::with_capacity(first.len() + second.len());
    for index in 0..first.len().max(second.len()) {
        both.extend(first.get(index));
        both.extend(second.get(index));
    }
    both
}

/// Whether two answers name the same addresses. Servers turn the order with every answer, and that moves nobody.
pub(super) fn same_set(left: &[IpAddr], right: &[IpAddr]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let sorted = |addresses: &[IpAddr]| {
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        addresses
    };
    left == right || sorted(left) == sorted(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let (v4, v6) = (addresses("10.0.0.2 10.0.0.1"), addresses("::2 ::1 ::3"));
        assert_eq!(interleave(LookupFamily::Auto, &v4, &v6), addresses("::2 10.0.0.2 ::1 10.0.0.1 ::3"));
        assert_eq!(interleave(LookupFamily::All, &v4, &[]), v4);
        assert_eq!(interleave(LookupFamily::V4Preferred, &v4, &v6), addresses("10.0.0.2 ::2 10.0.0.1 ::1 ::3"));
        assert_eq!(interleave(LookupFamily::V6Only, &[], &v6), v6);
    }

    #[test]
    fn a_set_has_no_order() {
        assert!(same_set(&addresses("10.0.0.1 ::1"), &addresses("::1 10.0.0.1")));
        assert!(!same_set(&addresses("10.0.0.1 ::1"), &addresses("10.0.0.1 ::2")));
        assert!(!same_set(&addresses("10.0.0.1"), &[]));
    }
}
