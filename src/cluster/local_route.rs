//! Whether an address is one of this machine's. Only the kernel knows: addresses come and go while a process runs, and a
//! route of type `local` makes addresses this machine's that no interface has.

use std::io::{self, Read};
use std::net::IpAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// Where the kernel would send a packet to this address (rtnetlink(7), RTM_GETROUTE): to itself?
///
/// Takes four system calls and waits for nothing, since the kernel answers within the request. It is asked about
/// addresses with a port that this process listens on, and those are few.
///
/// # Errors
/// When this process may not ask, which a sandbox may forbid.
pub fn is_local(address: IpAddr) -> io::Result<bool> {
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW.nonblocking(), Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    socket.send(&request(address))?;
    let mut answer = [0; 1024];
    let length = socket.read(&mut answer)?;
    Ok(tells_local(&answer[..length]))
}

/// `struct nlmsghdr`, of which `struct rtmsg` comes after.
const HEADER: usize = 16;
/// `rtm_type` in `struct rtmsg`.
const ROUTE_TYPE: usize = 7;

/// A `struct nlmsghdr`, a `struct rtmsg` and one `struct rtattr` with the address, in the machine's byte order.
fn request(address: IpAddr) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let attribute_length = 4 + octets.len();
    let length = HEADER + 12 + attribute_length;
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&libc::RTM_GETROUTE.to_ne_bytes());
    message.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    // Sequence number and sender: the socket is for this one question.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[family as u8, octets.len() as u8 * 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(attribute_length as u16).to_ne_bytes());
    message.extend_from_slice(&libc::RTA_DST.to_ne_bytes());
    message.extend_from_slice(&octets);
    message
}

/// Anything but a route is an error: there is no way to the address, so it is not here.
fn tells_local(answer: &[u8]) -> bool {
    let is_route = answer.get(4..6) == Some(&libc::RTM_NEWROUTE.to_ne_bytes()[..]);
    let kind = answer.get(HEADER + ROUTE_TYPE);
    is_route && matches!(kind, Some(&(libc::RTN_LOCAL | libc::RTN_ANYCAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        for (address, local) in [("127.0.0.1", true), ("127.9.8.7", true), ("192.0.2.1", false), ("255.255.255.255", false)] {
            assert_eq!(is_local(address.parse().expect("an address")).expect("may ask"), local, "{address}");
        }
        // Whether there is an IPv6 route is the machine's matter, but this is nobody's address.
        assert!(!is_local("2001:db8::1".parse().expect("an address")).expect("may ask"));
    }

    #[test]
    fn what_is_no_route_is_not_local() {
        assert!(!tells_local(&[]));
        assert!(!tells_local(&[libc::RTN_LOCAL; 23]));
    }
}
