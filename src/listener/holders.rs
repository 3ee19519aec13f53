//! Who listens: the kernel's own list of listening sockets.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use super::binding::Binding;

/// The number that the kernel's lists know a socket by.
///
/// # Errors
/// When it is no open descriptor.
pub fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

/// A socket that is not among `own` and listens where `wanted` would, and is `user`'s, if one is named. `None` also where
/// there is no /proc.
pub(super) fn holder(wanted: Binding, own: &HashSet<u64>, user: Option<u32>) -> Option<SocketAddr> {
    let is_in_the_way =
        |entry: &Entry| overlaps(wanted, entry.address) && !own.contains(&entry.inode) && user.is_none_or(|user| entry.user == user);
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|path| {
        let lines = BufReader::new(File::open(path).ok()?).lines().skip(1).map_while(Result::ok);
        // Listening sockets come first, before however many connections there are.
        let mut entries = lines.map_while(|line| Entry::parse(&line));
        entries.find(is_in_the_way).map(|entry| entry.address)
    })
}

/// Whether one of the two takes connections of the other. The list does not tell whether `[::]` takes IPv4; it is presumed.
fn overlaps(wanted: Binding, other: SocketAddr) -> bool {
    let same_port = wanted.address.port() == other.port();
    same_port
        && match (wanted.address.ip(), other.ip()) {
            (IpAddr::V4(wanted), IpAddr::V4(other)) => wanted == other || wanted.is_unspecified() || other.is_unspecified(),
            (IpAddr::V6(wanted), IpAddr::V6(other)) => wanted == other || wanted.is_unspecified() || other.is_unspecified(),
            (IpAddr::V6(_), IpAddr::V4(_)) => wanted.is_dual,
            (IpAddr::V4(_), IpAddr::V6(other)) => other.is_unspecified(),
        }
}

/// A line of the list.
#[derive(Debug, PartialEq)]
struct Entry {
    address: SocketAddr,
    user: u32,
    inode: u64,
}

impl Entry {
    /// `None` where the line is no listening socket's.
    fn parse(line: &str) -> Option<Entry> {
        const LISTEN: &str = "0A";
        let mut fields = line.split_ascii_whitespace();
        let address = fields.nth(1)?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        Some(Entry { address: parse_address(address)?, user: fields.nth(3)?.parse().ok()?, inode: fields.nth(1)?.parse().ok()? })
    }
}

/// Words of 32 bits in the machine's own order, in hexadecimal, and the port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<[u8; 4]> = address
        .as_bytes()
        .chunks(8)
        .map(|word| Some(u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes()))
        .collect::<Option<_>>()?;
    let address = match words.as_slice() {
        &[word] => IpAddr::V4(Ipv4Addr::from(word)),
        words => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)),
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn listening_sockets_are_found() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let socket = TcpListener::bind(address).expect("bound");
            let address = socket.local_addr().expect("an address");
            let own = HashSet::from([inode(&socket).expect("a socket")]);
            let wanted = Binding::new(address, false);
            assert_eq!(holder(wanted, &HashSet::new(), None), Some(address));
            assert_eq!(holder(wanted, &HashSet::new(), Some(rustix::process::geteuid().as_raw())), Some(address));
            assert_eq!(holder(wanted, &HashSet::new(), Some(54_321)), None);
            assert_eq!(holder(wanted, &own, None), None);
        }
    }

    #[test]
    fn a_wider_address_is_in_the_way_of_a_narrower_one() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("127.0.0.1:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
            ("[::1]:1", "[::]:1", true),
        ];
        for (wanted, other, expected) in table {
            let wanted = Binding::new(wanted.parse().expect("an address"), false);
            assert_eq!(overlaps(wanted, other.parse().expect("an address")), expected, "{wanted:?} {other}");
        }
        assert!(!overlaps(Binding::new("[::]:1".parse().expect("an address"), true), "127.0.0.1:1".parse().expect("an address")));
    }
}
