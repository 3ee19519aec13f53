//! A set of networks, as sorted ranges of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// Says whether an address is in any of its networks. An IPv4-mapped IPv6 address is the IPv4
/// address that it carries, in a network as in a question.
#[derive(Debug, Clone, Default)]
pub struct NetworkSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl NetworkSet {
    pub fn new<'a>(networks: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => match (network.network().to_ipv4_mapped(), network.broadcast().to_ipv4_mapped()) {
                    (Some(first), Some(last)) => v4.push((first.to_bits(), last.to_bits())),
                    _ => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
                },
            }
        }
        Self { v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.0.is_empty() && self.v6.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }
}

/// Inclusive ranges, sorted and apart from each other.
#[derive(Debug, Clone, Default)]
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    fn contains(&self, value: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= value);
        after > 0 && value <= self.0[after - 1].1
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn set(networks: &[&str]) -> NetworkSet {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().expect("a network")).collect();
        NetworkSet::new(&networks)
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let both = set(&["10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::/32"]);
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("192.168.255.255", true),
            ("192.169.0.0", false),
            ("2001:db8::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(both.contains(address.parse().expect("an address")), expected, "{address}");
        }
        let all_v6 = set(&["::/0"]);
        assert!(all_v6.contains(Ipv6Addr::LOCALHOST.into()));
        assert!(!all_v6.contains(Ipv4Addr::LOCALHOST.into()));
        assert!(!all_v6.contains(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()));
        // Ends in ::ffff:255.255.255.255 and is wider than what is mapped.
        assert!(set(&["::/80"]).contains(Ipv6Addr::LOCALHOST.into()));
        assert!(set(&[]).is_empty() && !all_v6.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_asking_every_network(
            networks in prop::collection::vec((any::<[bool; 1]>(), 0..64u32, 0..=32u8), 0..20),
            addresses in prop::collection::vec((any::<bool>(), 0..256u32), 1..40),
        ) {
            // Few bits, at the top, so that networks touch, nest and are hit.
            let v4 = |bits: u32| Ipv4Addr::from(bits << 24);
            let v6 = |bits: u32| Ipv6Addr::from(u128::from(bits) << 120);
            let networks: Vec<IpNet> = networks.iter().map(|&([six], bits, prefix)| {
                let address: IpAddr = if six { v6(bits).into() } else { v4(bits).into() };
                IpNet::new(address, prefix).expect("up to 32 suits both").trunc()
            }).collect();
            let set = NetworkSet::new(&networks);
            for (six, bits) in addresses {
                let address: IpAddr = if six { v6(bits).into() } else { v4(bits).into() };
                prop_assert_eq!(set.contains(address), networks.iter().any(|network| network.contains(&address)));
            }
        }
    }
}
