//! Addresses, networks, ports, hosts and name servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::quantity::{Scalar, quoted};
use super::{Form, Wrong};
use crate::config::{DnsServer, HostPattern, PortRange};

/// An address and a port to listen on.
pub(in crate::config) enum Endpoint {}

impl Form for Endpoint {
    type Written = String;
    type Checked = SocketAddr;

    fn check(written: String) -> Result<SocketAddr, Wrong> {
        // An IPv4 address spelled as IPv6 becomes IPv4, as the kernel has it.
        let canonical = |address: SocketAddr| match address.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
            IpAddr::V6(_) => address,
        };
        written.parse().map(canonical).map_err(|_| {
            let wrong = Wrong::new(format!("{} is not an address with a port", quoted(&written)));
            let port = written.strip_prefix(':').or_else(|| written.strip_prefix("*:")).unwrap_or(&written);
            match (written.parse(), port.parse::<u16>()) {
                (Ok(address), _) => wrong.help(format!("add the port: \"{}\"", SocketAddr::new(address, 3128))),
                (_, Ok(port)) => wrong.help(format!("say which address: \"127.0.0.1:{port}\" for this machine, \"[::]:{port}\" for all")),
                _ => wrong,
            }
        })
    }

    fn remedy() -> String {
        "write address and port, an IPv6 address in brackets: \"127.0.0.1:3128\", \"[::1]:3128\"".to_owned()
    }

    fn example() -> &'static str {
        "\"127.0.0.1:3128\""
    }
}

/// The admin API's address, which must not be reachable from elsewhere; `""` is none.
pub(in crate::config) enum LoopbackEndpoint {}

impl Form for LoopbackEndpoint {
    type Written = String;
    type Checked = Option<SocketAddr>;

    fn check(written: String) -> Result<Option<SocketAddr>, Wrong> {
        if written.is_empty() {
            return Ok(None);
        }
        let address = Endpoint::check(written)?;
        if !address.ip().to_canonical().is_loopback() {
            let help = format!("write \"127.0.0.1:{}\", and reach it from elsewhere through ssh", address.port());
            return Err(Wrong::new("the admin API asks for no login and must stay on this machine").help(help));
        }
        Ok(Some(address))
    }

    fn remedy() -> String {
        "write a loopback address and port, such as \"127.0.0.1:9901\", or \"\" for none".to_owned()
    }
}

/// A network or one address. An IPv4 network spelled as IPv6 (`::ffff:10.0.0.0/104`) becomes IPv4.
pub(in crate::config) enum Network {}

impl Form for Network {
    type Written = String;
    type Checked = IpNet;

    fn check(written: String) -> Result<IpNet, Wrong> {
        let network = match written.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => written.parse::<IpNet>().map_err(|_| Wrong::new(format!("{} is not an address or a network", quoted(&written))))?,
        };
        if network.addr() != network.network() {
            let message = format!("{} has bits set beyond its prefix", quoted(&written));
            return Err(Wrong::new(message).help(format!(
                "for the network write \"{}\", for the address \"{}\"",
                network.trunc(),
                network.addr()
            )));
        }
        Ok(canonical_network(network))
    }

    fn remedy() -> String {
        "write an address or a network: \"192.0.2.7\", \"10.0.0.0/8\", \"2001:db8::/32\"".to_owned()
    }

    fn example() -> &'static str {
        "\"10.0.0.0/8\""
    }
}

fn canonical_network(network: IpNet) -> IpNet {
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(mapped), IpAddr::V4(address)) if mapped.prefix_len() >= 96 => {
            IpNet::V4(Ipv4Net::new(address, mapped.prefix_len() - 96).expect("a prefix of 96 to 128 less 96 is 0 to 32"))
        }
        _ => network,
    }
}

/// An address of this machine to connect from.
pub(in crate::config) enum SourceAddress {}

impl Form for SourceAddress {
    type Written = String;
    type Checked = IpAddr;

    fn check(written: String) -> Result<IpAddr, Wrong> {
        let address = written.parse::<IpAddr>().map_err(|_| Wrong::new(format!("{} is not an address", quoted(&written))))?;
        let address = address.to_canonical();
        if address.is_unspecified() || address.is_multicast() {
            return Err(Wrong::new(format!("nothing can be sent from {address}")));
        }
        Ok(address)
    }

    fn remedy() -> String {
        "write an address of this machine: \"192.0.2.7\"; to let the system choose, leave the key out".to_owned()
    }

    fn example() -> &'static str {
        "\"192.0.2.7\""
    }
}

/// A network interface; `""` is none.
pub(in crate::config) enum Interface {}

impl Form for Interface {
    type Written = String;
    type Checked = Option<String>;

    fn check(written: String) -> Result<Option<String>, Wrong> {
        // What the kernel takes (IFNAMSIZ, dev_valid_name).
        let right = written.len() <= 15 && written.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        match written.is_empty() {
            true => Ok(None),
            false if right => Ok(Some(written)),
            false => Err(Wrong::new(format!("{} is not the name of an interface", quoted(&written)))),
        }
    }

    fn remedy() -> String {
        "write a name as `ip link` shows it, such as \"eth0\"; \"\" is none".to_owned()
    }
}

/// A port or a range of ports.
pub(in crate::config) enum Ports {}

impl Form for Ports {
    type Written = Scalar;
    type Checked = PortRange;

    fn check(written: Scalar) -> Result<PortRange, Wrong> {
        let shown = match written {
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text,
        };
        let wrong = || Wrong::new(format!("{} is not a port or a range of ports", quoted(&shown)));
        let port = |text: &str| {
            let digits = text.trim();
            let port = digits.parse().ok().filter(|_| digits.starts_with(|c: char| c.is_ascii_digit()));
            port.filter(|&port: &u16| port > 0).ok_or_else(wrong)
        };
        let (first, last) = shown.split_once('-').unwrap_or((&shown, &shown));
        let range = PortRange { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            let help = format!("write the lower port first: \"{}-{}\"", range.last, range.first);
            return Err(Wrong::new(format!("the range {} is empty", quoted(&shown))).help(help));
        }
        Ok(range)
    }

    fn remedy() -> String {
        "write a port from 1 to 65535, or a range in quotes: 443, \"1024-65535\"".to_owned()
    }

    fn example() -> &'static str {
        "443"
    }
}

/// An entry of a `hosts` list.
pub(in crate::config) enum Hosts {}

impl Form for Hosts {
    type Written = String;
    type Checked = HostPattern;

    fn check(written: String) -> Result<HostPattern, Wrong> {
        let wrong = || Wrong::new(format!("{} is not a host", quoted(&written)));
        if written == "*" {
            return Err(wrong().help("to match every host, leave `hosts` out"));
        }
        if let Some(below) = written.strip_prefix('.') {
            return Err(wrong().help(format!("write \"*.{below}\" for all below it, and \"{below}\" for the name itself")));
        }
        if written.contains("://") {
            return Err(wrong().help("write the name alone, without scheme and path"));
        }
        if let Some(suffix) = written.strip_prefix("*.") {
            return host_name(suffix).map(HostPattern::Suffix).ok_or_else(wrong);
        }
        let bare = written.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(&written);
        if bare.parse::<IpAddr>().is_ok() || bare.contains('/') {
            return Network::check(bare.to_owned()).map(HostPattern::Net);
        }
        if let Some((name, port)) = bare.rsplit_once(':')
            && host_name(name).is_some()
        {
            return Err(wrong().help(format!("write \"{name}\" here, and {port} into `ports`")));
        }
        host_name(bare).map(HostPattern::Exact).ok_or_else(wrong)
    }

    fn remedy() -> String {
        "write a name, all names below one, an address or a network: \"example.org\", \"*.example.org\", \"192.0.2.0/24\"; \
         names beyond ASCII in their xn-- form"
            .to_owned()
    }

    fn example() -> &'static str {
        "\"*.example.org\""
    }
}

/// A name to look up.
pub(in crate::config) enum HostName {}

impl Form for HostName {
    type Written = String;
    type Checked = String;

    fn check(written: String) -> Result<String, Wrong> {
        host_name(&written).ok_or_else(|| Wrong::new(format!("{} is not a host name", quoted(&written))))
    }

    fn remedy() -> String {
        "write a name such as \"www.example.org\", beyond ASCII in its xn-- form".to_owned()
    }

    fn example() -> &'static str {
        "\"www.example.org\""
    }
}

/// What may stand in Host; `""` is none.
pub(in crate::config) enum HostField {}

impl Form for HostField {
    type Written = String;
    type Checked = Option<String>;

    fn check(written: String) -> Result<Option<String>, Wrong> {
        if written.is_empty() {
            return Ok(None);
        }
        let (host, port) = match written.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (written.as_str(), None),
        };
        let literal = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let host_right = match literal {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<Ipv4Addr>().is_ok() || host_name(host).is_some(),
        };
        let port_right = port.is_none_or(|port| Ports::check(Scalar::Text(port.to_owned())).is_ok_and(|range| range.first == range.last));
        if host_right && port_right { Ok(Some(written)) } else { Err(Wrong::new(format!("{} cannot stand in Host", quoted(&written)))) }
    }

    fn remedy() -> String {
        "write a host with or without a port: \"www.example.org\", \"www.example.org:8080\"; \"\" is none".to_owned()
    }
}

/// A name as `codec::authority` makes them canonical: lower case, without the root's dot, and not
/// something that a resolver could take for an address.
fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let numeric = match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    let right = name.len() <= 253 && name.split('.').all(label) && !numeric;
    right.then_some(name)
}

/// `"192.0.2.1"`, `"udp://192.0.2.1:53"`, `"tcp://..."`, `"tls://192.0.2.1#dns.example"`,
/// `"https://192.0.2.1/dns-query#dns.example"`. The name after `#` is verified in the certificate;
/// without one, the address is.
pub(in crate::config) enum NameServer {}

impl Form for NameServer {
    type Written = String;
    type Checked = DnsServer;

    fn check(written: String) -> Result<DnsServer, Wrong> {
        let wrong = || Wrong::new(format!("{} is not a DNS server", quoted(&written)));
        let (scheme, rest) = written.split_once("://").unwrap_or(("udp", &written));
        let (rest, name) = match rest.split_once('#') {
            Some((rest, name)) => (rest, Some(host_name(name).ok_or_else(wrong)?)),
            None => (rest, None),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let default_port = match scheme {
            "udp" | "tcp" => 53,
            "tls" => 853,
            "https" => 443,
            _ => return Err(wrong()),
        };
        let address = server_address(authority, default_port).ok_or_else(|| {
            let host = authority.split(':').next().unwrap_or_default();
            match host_name(host) {
                // Nobody could resolve it but the server that it names.
                Some(host) if default_port != 53 => {
                    wrong().help(format!("write its address, and the name after #: \"{scheme}://192.0.2.1#{host}\""))
                }
                Some(_) => wrong().help("write its address: nothing is there yet to look its name up"),
                None => wrong(),
            }
        })?;
        let surplus = (default_port == 53 && name.is_some()) || (scheme != "https" && !path.is_empty());
        if surplus {
            return Err(wrong());
        }
        let name = name.unwrap_or_else(|| address.ip().to_string());
        match scheme {
            "udp" => Ok(DnsServer::Udp(address)),
            "tcp" => Ok(DnsServer::Tcp(address)),
            "tls" => Ok(DnsServer::Tls { address, name }),
            _ => {
                let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
                let path = if path.is_empty() { "/dns-query".to_owned() } else { path.to_owned() };
                if visible { Ok(DnsServer::Https { address, name, path }) } else { Err(wrong()) }
            }
        }
    }

    fn remedy() -> String {
        "write \"192.0.2.1\", \"udp://192.0.2.1:53\", \"tcp://192.0.2.1\", \"tls://192.0.2.1#dns.example\" or \
         \"https://192.0.2.1/dns-query#dns.example\"; an IPv6 address with a port in brackets"
            .to_owned()
    }

    fn example() -> &'static str {
        "\"192.0.2.1\""
    }
}

fn server_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().map(|address: IpAddr| SocketAddr::new(address, default_port));
    address.or_else(|_| text.parse()).ok().filter(|address| address.port() != 0)
}
