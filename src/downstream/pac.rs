//! The PAC file: a program in JavaScript by which browsers choose their proxy. It sends them here for all that this
//! proxy would dial, and elsewhere directly.

use std::fmt::Write;
use std::net::SocketAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::config::Config;

pub(super) const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";

/// Address literals that the address rules refuse unless they are told otherwise, and that clients may reach themselves.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// `proxy` is the address at which the client that asks has just reached us.
pub(super) fn script(config: &Config, proxy: SocketAddr) -> String {
    let proxy = SocketAddr::new(proxy.ip().to_canonical(), proxy.port());
    let mut text = String::from("function FindProxyForURL(url, host) {\n");
    let mut line = |condition: &str, result: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  if ({condition}) return \"{result}\";");
    };
    let through = format!("PROXY {proxy}");
    line("host == \"localhost\" || /\\.localhost$/.test(host) || /^127\\./.test(host) || /^\\[?::1\\]?$/.test(host)", "DIRECT");
    if !config.dns.use_search_domains {
        line("isPlainHostName(host) && host.indexOf(\":\") < 0", "DIRECT");
    }
    // isInNet would look names up, which stops the browser meanwhile: it is asked about literals alone.
    const IS_LITERAL: &str = "/^\\d+\\.\\d+\\.\\d+\\.\\d+$/.test(host)";
    for net in config.addresses.allow.iter().filter_map(as_v4).filter(is_private) {
        line(&format!("{IS_LITERAL} && {}", is_in(&net)), &through);
    }
    for net in PRIVATE.iter().filter_map(|net| net.parse().ok()) {
        line(&format!("{IS_LITERAL} && {}", is_in(&net)), "DIRECT");
    }
    let _ = writeln!(text, "  return \"{through}\";\n}}");
    text
}

fn as_v4(net: &IpNet) -> Option<Ipv4Net> {
    if let IpNet::V4(net) = net { Some(*net) } else { None }
}

fn is_private(net: &Ipv4Net) -> bool {
    PRIVATE.iter().filter_map(|private| private.parse::<Ipv4Net>().ok()).any(|private| private.contains(net) || net.contains(&private))
}

fn is_in(net: &Ipv4Net) -> String {
    format!("isInNet(host, \"{}\", \"{}\")", net.network(), net.netmask())
}
