//! The PAC file: a program in JavaScript by which browsers choose their proxy. It sends them here for all that this
//! proxy would dial, and elsewhere directly.

use std::fmt::Write;
use std::net::SocketAddr;

use ipnet::Ipv4Net;

use crate::config::{Addresses, Config};

pub(super) const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";

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
    for net in config.addresses.through_proxy() {
        line(&format!("{IS_LITERAL} && {}", is_in(&net)), &through);
    }
    for net in Addresses::direct() {
        line(&format!("{IS_LITERAL} && {}", is_in(&net)), "DIRECT");
    }
    let _ = writeln!(text, "  return \"{through}\";\n}}");
    text
}

fn is_in(net: &Ipv4Net) -> String {
    format!("isInNet(host, \"{}\", \"{}\")", net.network(), net.netmask())
}
