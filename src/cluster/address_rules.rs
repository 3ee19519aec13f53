//! Which addresses may be dialled. The test comes after resolution and just before the connect, on the
//! address itself, so that no spelling of a host and no answer of a name server gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use tokio::net::TcpStream;

use super::local_route::is_local;
use crate::config::Addresses;

/// The built-in rules, the exceptions of `[addresses]`, and the proxy's own listeners.
#[derive(Debug, Clone)]
pub struct AddressRules {
    /// Longest prefix first, and deny before allow: the first that contains an address decides.
    exceptions: Box<[(IpNet, Exception)]>,
    /// What this process listens on.
    own: Box<[SocketAddr]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exception {
    Deny,
    Allow,
}

/// Why an address may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// `[addresses] deny`.
    Denied,
    /// This machine, at a port of a listener or of the admin API: a loop, or a way to the API for whoever may use the proxy.
    OwnListener,
    /// "This network" (RFC 1122 section 3.2.1.3), which systems take for the machine itself.
    Unspecified,
    Loopback,
    Private,
    /// Shared between carriers and their customers (RFC 6598).
    Cgn,
    LinkLocal,
    /// Where clouds hand credentials to their machines.
    Metadata,
    UniqueLocal,
    Multicast,
    Broadcast,
    Benchmark,
    /// Assigned to nobody, or to a protocol.
    Reserved,
}

impl AddressRules {
    /// `own` are the listeners and the admin API's address, as bound: with their real ports.
    pub fn new(addresses: &Addresses, own: Vec<SocketAddr>) -> Self {
        let allow = addresses.allow.iter().map(|&network| (network, Exception::Allow));
        let deny = addresses.deny.iter().map(|&network| (network, Exception::Deny));
        let mut exceptions: Vec<_> = allow.chain(deny).collect();
        exceptions.sort_by_key(|(network, exception)| (std::cmp::Reverse(network.prefix_len()), *exception));
        let own = own.into_iter().map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())).collect();
        Self { exceptions: exceptions.into(), own }
    }

    /// Refused if any address is that this one may end up at: an IPv6 address that carries an IPv4
    /// address goes where a translator or a tunnel takes it.
    pub fn check(&self, address: SocketAddr) -> Result<(), Class> {
        for inner in carried_addresses(address.ip()) {
            self.check_one(IpAddr::V4(inner), address.port())?;
        }
        self.check_one(address.ip().to_canonical(), address.port())
    }

    fn check_one(&self, address: IpAddr, port: u16) -> Result<(), Class> {
        if self.is_own(address, port) {
            return Err(Class::OwnListener);
        }
        let class = Class::of(address);
        match self.exceptions.iter().find(|(network, _)| network.contains(&address)) {
            // Who allows a whole network does not think of the credentials in it: say the address itself.
            Some((network, Exception::Allow)) if class == Some(Class::Metadata) && network.prefix_len() < network.max_prefix_len() => {
                Err(Class::Metadata)
            }
            Some((_, Exception::Allow)) => Ok(()),
            Some((_, Exception::Deny)) => Err(Class::Denied),
            None => class.map_or(Ok(()), Err),
        }
    }

    /// Every address of this machine counts, whichever of them the listener has: what comes to one may be redirected to
    /// another. Where the kernel may not be asked, those that are known without it do, and
    /// [`AddressRules::leads_back`] is left.
    fn is_own(&self, address: IpAddr, port: u16) -> bool {
        let is_told = |own: &SocketAddr| own.port() == port && own.ip() == address;
        self.has_port(port)
            // Connecting to 0.0.0.0 or :: reaches loopback.
            && (address.is_unspecified() || address.is_loopback() || self.own.iter().any(is_told) || is_local(address).unwrap_or(false))
    }

    /// Whether a connection that stands has come back to this process. Its two ends have the same address then, unless it
    /// left from another of the machine's; asking costs a system call only where the port is one of ours.
    pub fn leads_back(&self, stream: &TcpStream, endpoint: SocketAddr) -> bool {
        self.has_port(endpoint.port()) && stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == endpoint.ip().to_canonical())
    }

    fn has_port(&self, port: u16) -> bool {
        self.own.iter().any(|own| own.port() == port)
    }
}

impl Class {
    pub const ALL: [Class; 13] = [
        Class::Denied,
        Class::OwnListener,
        Class::Unspecified,
        Class::Loopback,
        Class::Private,
        Class::Cgn,
        Class::LinkLocal,
        Class::Metadata,
        Class::UniqueLocal,
        Class::Multicast,
        Class::Broadcast,
        Class::Benchmark,
        Class::Reserved,
    ];

    /// Stable: logs, local replies and statistics use it.
    pub fn name(self) -> &'static str {
        match self {
            Class::Denied => "denied",
            Class::OwnListener => "own_listener",
            Class::Unspecified => "unspecified",
            Class::Loopback => "loopback",
            Class::Private => "private",
            Class::Cgn => "cgn",
            Class::LinkLocal => "link_local",
            Class::Metadata => "metadata",
            Class::UniqueLocal => "unique_local",
            Class::Multicast => "multicast",
            Class::Broadcast => "broadcast",
            Class::Benchmark => "benchmark",
            Class::Reserved => "reserved",
        }
    }

    /// The class that the built-in rules refuse an address for; `None` for the public ones. After the
    /// IANA special-purpose address registries (RFC 6890).
    fn of(address: IpAddr) -> Option<Class> {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Option<Class> {
        match address.octets() {
            // AWS, GCP, Azure, OpenStack and most others; ECS tasks; EKS pods.
            [169, 254, 169, 254] | [169, 254, 170, 2 | 23] => Some(Class::Metadata),
            // Alibaba; Oracle; Azure's wire server, which looks like a public address.
            [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => Some(Class::Metadata),
            [0, ..] => Some(Class::Unspecified),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Class::Private),
            [100, 64..=127, ..] => Some(Class::Cgn),
            [127, ..] => Some(Class::Loopback),
            [169, 254, ..] => Some(Class::LinkLocal),
            [198, 18 | 19, ..] => Some(Class::Benchmark),
            // IETF protocol assignments; the withdrawn 6to4 relay anycast.
            [192, 0, 0, _] | [192, 88, 99, _] => Some(Class::Reserved),
            [224..=239, ..] => Some(Class::Multicast),
            [255, 255, 255, 255] => Some(Class::Broadcast),
            [240..=255, ..] => Some(Class::Reserved),
            _ => None,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Option<Class> {
        match address.segments() {
            // AWS; EKS pods; GCP.
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254 | 0x23] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Some(Class::Metadata),
            [0, 0, 0, 0, 0, 0, 0, 0] => Some(Class::Unspecified),
            [0, 0, 0, 0, 0, 0, 0, 1] => Some(Class::Loopback),
            [0xfe80..=0xfebf, ..] => Some(Class::LinkLocal),
            // Site-local, deprecated and still routed inside some sites (RFC 3879).
            [0xfec0..=0xfeff, ..] => Some(Class::Private),
            [0xfc00..=0xfdff, ..] => Some(Class::UniqueLocal),
            [0xff00..=0xffff, ..] => Some(Class::Multicast),
            [0x2001, 2, 0, ..] => Some(Class::Benchmark),
            // A translator inside the network (RFC 8215).
            [0x64, 0xff9b, 1, ..] => Some(Class::Private),
            // The well-known translator: its IPv4 address has been tested.
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => None,
            // Global unicast is all that IANA has given out.
            [0x2000..=0x3fff, ..] => None,
            _ => Some(Class::Reserved),
        }
    }
}

/// The IPv4 addresses that an address carries in any form of IPv6 that leads to them, an IPv4-mapped one apart, which is
/// that address itself.
pub fn carried_addresses(address: IpAddr) -> impl Iterator<Item = Ipv4Addr> {
    let outer = match address.to_canonical() {
        IpAddr::V6(outer) => Some(outer),
        IpAddr::V4(_) => None,
    };
    outer.into_iter().flat_map(Carried::of)
}

/// The IPv4 addresses that an IPv6 address carries, in every reading that something on the way may give it.
struct Carried {
    found: [Option<Ipv4Addr>; 5],
}

impl Carried {
    /// `address` is not IPv4-mapped.
    fn of(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
        let octets = address.octets();
        let at = |places: [usize; 4]| Some(Ipv4Addr::from(places.map(|place| octets[place])));
        let last = at([12, 13, 14, 15]);
        // ISATAP (RFC 5214 section 6.1) is an interface identifier, behind any prefix.
        let isatap = match address.segments() {
            [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => last,
            _ => None,
        };
        let [first, second, third, fourth] = match address.segments() {
            // :: and ::1 are themselves; other IPv4-compatible addresses (RFC 4291 section 2.5.5.1) are
            // not. Nor are IPv4-translated ones (RFC 2765).
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None; 4],
            [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => [last, None, None, None],
            // NAT64 (RFC 6052).
            [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [last, None, None, None],
            // Local-use NAT64 (RFC 8215) may have a prefix of 48, 56, 64 or 96 bits. A reading that ends
            // up in 0.0.0.0/8 is a wrong one.
            [0x64, 0xff9b, 1, ..] => [last, at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12])]
                .map(|reading| reading.filter(|address| address.octets()[0] != 0)),
            // 6to4 (RFC 3056).
            [0x2002, ..] => [at([2, 3, 4, 5]), None, None, None],
            // Teredo (RFC 4380 section 4): the server, and the client with its bits turned over.
            [0x2001, 0, ..] => [at([4, 5, 6, 7]), last.map(|client| Ipv4Addr::from(!client.to_bits())), None, None],
            _ => [None; 4],
        };
        Self { found: [first, second, third, fourth, isatap] }.found.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(allow: &[&str], deny: &[&str], own: &[&str]) -> AddressRules {
        let networks = |list: &[&str]| list.iter().map(|network| network.parse().expect("a network")).collect();
        let addresses = Addresses { allow: networks(allow), deny: networks(deny) };
        AddressRules::new(&addresses, own.iter().map(|own| own.parse().expect("a socket address")).collect())
    }

    fn check(rules: &AddressRules, address: &str) -> Option<&'static str> {
        let address = address.parse().map(|address: IpAddr| SocketAddr::new(address, 80)).or_else(|_| address.parse()).expect("an address");
        rules.check(address).err().map(Class::name)
    }

    #[test]
    fn every_class_at_both_ends() {
        let rules = rules(&[], &[], &[]);
        for (addresses, class) in [
            ("0.0.0.0 0.255.255.255 ::", "unspecified"),
            ("127.0.0.1 127.255.255.255 ::1", "loopback"),
            ("10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 fec0::1 feff::1", "private"),
            ("100.64.0.0 100.127.255.255", "cgn"),
            ("169.254.0.0 169.254.255.255 fe80::1 febf:ffff::1", "link_local"),
            ("169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254", "metadata"),
            ("fc00:: fdff:ffff::1", "unique_local"),
            ("224.0.0.1 239.255.255.255 ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("198.18.0.0 198.19.255.255 2001:2::1", "benchmark"),
            ("192.0.0.1 192.88.99.1 240.0.0.1 255.255.255.254 100::1 5f00::1 4000::1 ::ffff:0:0:1:1", "reserved"),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(check(&rules, address), Some(class), "{address}");
            }
        }
        for public in "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.0.1.1 192.167.0.1 \
                       198.17.0.1 198.20.0.1 223.255.255.255 2606:4700:4700::1111 2001:4860:4860::8888 3ffe:ffff::1"
            .split_whitespace()
        {
            assert_eq!(check(&rules, public), None, "{public}");
        }
    }

    #[test]
    fn carried_addresses_count() {
        let rules = rules(&[], &[], &[]);
        for (address, class) in [
            ("::ffff:127.0.0.1", Some("loopback")),
            ("::ffff:169.254.169.254", Some("metadata")),
            ("::ffff:1.1.1.1", None),
            ("::127.0.0.1", Some("loopback")),
            ("::10.0.0.1", Some("private")),
            // Public inside, but nothing routes the form itself.
            ("::1.1.1.1", Some("reserved")),
            ("::ffff:0:10.0.0.1", Some("private")),
            ("64:ff9b::10.0.0.1", Some("private")),
            ("64:ff9b::169.254.169.254", Some("metadata")),
            ("64:ff9b::1.1.1.1", None),
            ("64:ff9b:1::1.1.1.1", Some("private")),
            ("64:ff9b:1::169.254.169.254", Some("metadata")),
            ("2002:7f00:1::1", Some("loopback")),
            ("2002:a9fe:a9fe::", Some("metadata")),
            ("2002:101:101::1", None),
            // Teredo: server 10.0.0.1, then client 192.168.0.1.
            ("2001:0:a00:1::", Some("private")),
            ("2001:0:101:101:0:0:3f57:fffe", Some("private")),
            ("2001:0:101:101:0:0:fefe:fefe", None),
            // ISATAP, behind a public prefix, and behind one that carries an address itself.
            ("2001:db8::5efe:127.0.0.1", Some("loopback")),
            ("2606:4700::5efe:10.0.0.1", Some("private")),
            ("2606:4700::200:5efe:169.254.169.254", Some("metadata")),
            ("2606:4700::200:5efe:1.1.1.1", None),
            ("2606:4700::300:5efe:10.0.0.1", None),
            ("2606:4700::5eff:10.0.0.1", None),
            ("2002:101:101:0:0:5efe:a00:1", Some("private")),
            ("2002:a00:1:0:0:5efe:101:101", Some("private")),
            ("fe80::5efe:1.1.1.1", Some("link_local")),
        ] {
            assert_eq!(check(&rules, address), class, "{address}");
        }
    }

    #[test]
    fn local_nat64_is_read_with_every_prefix_length() {
        let rules = rules(&["64:ff9b:1::/48"], &[], &[]);
        for (address, class) in [
            ("64:ff9b:1::1.1.1.1", None),
            ("64:ff9b:1::10.0.0.1", Some("private")),
            // 10.1.2.3 after 48, 56 and 64 bits (RFC 6052 section 2.2).
            ("64:ff9b:1:a01:2:300::", Some("private")),
            ("64:ff9b:1:a:1:203::", Some("private")),
            ("64:ff9b:1:0:a:102:300:0", Some("private")),
            ("64:ff9b:1:101:1:100::", None),
        ] {
            assert_eq!(check(&rules, address), class, "{address}");
        }
    }

    #[test]
    fn the_longest_prefix_decides_and_deny_wins_a_tie() {
        let rules = rules(
            &["10.0.0.0/8", "10.1.2.0/24", "10.9.0.0/16", "::1/128", "1.2.0.0/16", "64:ff9b::/96"],
            &["10.1.0.0/16", "10.9.0.0/16", "1.0.0.0/8", "2606:4700::/32"],
            &[],
        );
        for (address, class) in [
            ("10.2.0.1", None),
            ("10.1.0.1", Some("denied")),
            ("10.1.2.1", None),
            ("10.9.0.1", Some("denied")),
            ("::1", None),
            ("127.0.0.1", Some("loopback")),
            ("1.1.1.1", Some("denied")),
            ("1.2.1.1", None),
            ("::ffff:1.1.1.1", Some("denied")),
            ("2606:4700:4700::1111", Some("denied")),
            // Allowing a translator does not allow what is behind it.
            ("64:ff9b::192.168.0.1", Some("private")),
            ("64:ff9b::10.2.0.1", None),
            ("64:ff9b::1.1.1.1", Some("denied")),
        ] {
            assert_eq!(check(&rules, address), class, "{address}");
        }
    }

    #[test]
    fn metadata_opens_only_by_its_own_address() {
        let network = rules(&["169.254.0.0/16", "0.0.0.0/0", "fd00::/8"], &[], &[]);
        assert_eq!(check(&network, "169.254.1.1"), None);
        assert_eq!(check(&network, "169.254.169.254"), Some("metadata"));
        assert_eq!(check(&network, "fd00:ec2::254"), Some("metadata"));
        assert_eq!(check(&rules(&["169.254.169.254/32"], &[], &[]), "169.254.169.254"), None);
    }

    #[test]
    fn own_listeners_are_refused_whatever_is_allowed() {
        let everything = ["0.0.0.0/0", "::/0"];
        let some = rules(&everything, &[], &["127.0.0.1:3128", "[::1]:3128", "192.0.2.1:8080"]);
        for (address, class) in [
            ("127.0.0.1:3128", Some("own_listener")),
            ("[::1]:3128", Some("own_listener")),
            ("[::ffff:127.0.0.1]:3128", Some("own_listener")),
            ("[64:ff9b::192.0.2.1]:8080", Some("own_listener")),
            ("0.0.0.0:3128", Some("own_listener")),
            ("[::]:8080", Some("own_listener")),
            ("[64:ff9b::127.0.0.1]:8080", Some("own_listener")),
            ("[2606:4700::5efe:127.0.0.1]:8080", Some("own_listener")),
            // Every address of this machine, whichever of them the listener has.
            ("127.0.0.2:3128", Some("own_listener")),
            ("127.0.0.1:8080", Some("own_listener")),
            ("127.0.0.1:3129", None),
            ("192.0.2.1:3128", None),
        ] {
            assert_eq!(check(&some, address), class, "{address}");
        }
        for own in ["0.0.0.0:3128", "[::]:3128", "[::ffff:0.0.0.0]:3128"] {
            let all = rules(&everything, &[], &[own]);
            for address in ["127.0.0.1:3128", "127.3.2.1:3128", "[::1]:3128", "0.0.0.0:3128", "[::]:3128"] {
                assert_eq!(check(&all, address), Some("own_listener"), "{address} while {own} listens");
            }
            assert_eq!(check(&all, "127.0.0.1:80"), None);
        }
    }

    #[tokio::test]
    async fn a_connection_that_came_back_is_known() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let here = TcpStream::connect(address).await.expect("listening");
        let elsewhere = tokio::net::TcpSocket::new_v4().expect("a socket");
        elsewhere.bind("127.0.0.9:0".parse().expect("an address")).expect("bound");
        let from_elsewhere = elsewhere.connect(address).await.expect("listening");
        let own = rules(&[], &[], &[&address.to_string()]);
        assert!(own.leads_back(&here, address));
        // Of this the kernel had to be asked before.
        assert!(!own.leads_back(&from_elsewhere, address));
        assert!(!rules(&[], &[], &["127.0.0.1:1"]).leads_back(&here, address));
    }

    #[test]
    fn names_are_unique() {
        let names: std::collections::HashSet<_> = Class::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names.len(), Class::ALL.len());
    }

    proptest! {
        #[test]
        fn no_spelling_opens_what_ipv4_refuses(bits in any::<u32>(), port in any::<u16>()) {
            let rules = rules(&[], &["8.0.0.0/8"], &["0.0.0.0:3128"]);
            let plain = Ipv4Addr::from(bits);
            let inside = u128::from(bits);
            if rules.check(SocketAddr::new(plain.into(), port)).is_err() {
                for spelling in [
                    Ipv6Addr::from(0xffff_0000_0000 | inside),
                    Ipv6Addr::from(0x64_ff9b << 96 | inside),
                    Ipv6Addr::from(0x2002 << 112 | inside << 80),
                    Ipv6Addr::from(0x2001_0000 << 96 | inside << 64),
                    Ipv6Addr::from(0x2001_0000_0101_0101 << 64 | u128::from(!bits)),
                    Ipv6Addr::from(inside),
                    Ipv6Addr::from(0x2606_4700 << 96 | 0x5efe << 32 | inside),
                    Ipv6Addr::from(0x2606_4700 << 96 | 0x0200_5efe << 32 | inside),
                ] {
                    prop_assert!(rules.check(SocketAddr::new(spelling.into(), port)).is_err(), "{} as {}", plain, spelling);
                }
            }
        }
    }
}
