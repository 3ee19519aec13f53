//! What clients are told: where the proxy is, and what they had better reach themselves.

use std::net::SocketAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{Addresses, Config};

/// Networks of addresses that the built-in rules refuse, and that a client may reach without a proxy.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// The address to name where one has to do: the first of IPv4, which every client can reach, else the first.
///
/// `None` where every listener takes whatever port is free.
pub fn client_address(config: &Config) -> Option<SocketAddr> {
    let addresses =
        || config.listeners.iter().flat_map(|listener| listener.addresses.iter().copied()).filter(|address| address.port() != 0);
    addresses().find(SocketAddr::is_ipv4).or_else(|| addresses().next())
}

/// The host by which clients reach a listener, as a URL has it: IPv6 in brackets, and this machine's name for a listener on
/// all addresses.
pub fn client_host(address: SocketAddr) -> String {
    let ip = address.ip().to_canonical();
    if ip.is_unspecified() {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

impl Addresses {
    /// The private networks, which clients reach directly, but for those of [`Addresses::through_proxy`].
    pub fn direct() -> impl Iterator<Item = Ipv4Net> {
        PRIVATE.iter().filter_map(|net| net.parse().ok())
    }

    /// What `allow` opens of the private networks: clients ask the proxy for it.
    pub fn through_proxy(&self) -> impl Iterator<Item = Ipv4Net> {
        let allowed = self.allow.iter().filter_map(|net| if let IpNet::V4(net) = net { Some(*net) } else { None });
        allowed.filter(|net| Self::direct().any(|private| private.contains(net) || net.contains(&private)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn hosts_are_what_clients_can_reach() {
        assert_eq!(client_host(address("127.0.0.1:1")), "127.0.0.1");
        assert_eq!(client_host(address("[::1]:1")), "[::1]");
        for all in ["0.0.0.0:1", "[::]:1"] {
            let host = client_host(address(all));
            assert!(!host.is_empty() && !host.contains("0.0.0.0") && !host.contains("::"), "{host}");
        }
    }

    #[test]
    fn ipv4_is_named_first_and_a_free_port_never() {
        let mut config = Config::default();
        config.listeners[0].addresses = vec![address("[::1]:1"), address("127.0.0.1:0"), address("192.0.2.1:2")];
        assert_eq!(client_address(&config), Some(address("192.0.2.1:2")));
        config.listeners[0].addresses.pop();
        assert_eq!(client_address(&config), Some(address("[::1]:1")));
        config.listeners[0].addresses.remove(0);
        assert_eq!(client_address(&config), None);
    }

    #[test]
    fn what_allow_opens_goes_through_the_proxy() {
        let net = |text: &str| text.parse().expect("a network");
        let addresses = Addresses { allow: vec![net("10.1.0.0/16"), net("192.0.2.0/24"), net("fd00::/8"), net("0.0.0.0/0")], deny: vec![] };
        let through: Vec<String> = addresses.through_proxy().map(|net| net.to_string()).collect();
        assert_eq!(through, ["10.1.0.0/16", "0.0.0.0/0"]);
    }
}
