//! Keeps web pages out of the admin API.
//!
//! Any page in a browser on this machine can send requests to a loopback port. A name of its own that it points at 127.0.0.1
//! (DNS rebinding) shows in Host; a plain form or `fetch` to the address shows in Origin.

use std::net::Ipv6Addr;
use std::net::{IpAddr, Ipv4Addr};

use hyper::Version;
use hyper::header::{HOST, ORIGIN};
use hyper::http::request::Parts;

/// Why a request on the loopback address is refused, if it is.
pub(super) fn refusal(request: &Parts) -> Option<&'static str> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if request.version == Version::HTTP_10 => None,
        (Some(host), None) => host.to_str().ok(),
        _ => return Some("exactly one Host is required"),
    };
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let names_loopback = host.into_iter().chain(authority).all(is_loopback);
    if !names_loopback || (host.is_none() && request.version != Version::HTTP_10) {
        return Some("Host must be localhost or a loopback address");
    }
    match request.headers.get(ORIGIN) {
        Some(origin) if !is_own_origin(origin.as_bytes(), host.unwrap_or_default()) => Some("requests from other origins are refused"),
        _ => None,
    }
}

fn is_own_origin(origin: &[u8], host: &str) -> bool {
    origin.strip_prefix(b"http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_bytes()))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    if authority.starts_with('[') {
        return host.parse::<Ipv6Addr>().is_ok_and(|ip| IpAddr::V6(ip).to_canonical().is_loopback());
    }
    host.eq_ignore_ascii_case("localhost") || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(fields: &[(&str, &str)]) -> bool {
        let builder = fields.iter().fold(hyper::Request::builder().uri("/"), |builder, (name, value)| builder.header(*name, *value));
        refusal(&builder.body(()).expect("a request").into_parts().0).is_some()
    }

    #[test]
    fn only_loopback_hosts_pass() {
        for host in ["localhost", "LocalHost:9901", "127.0.0.1:9901", "127.8.9.10", "[::1]:9901", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(!refused(&[("host", host)]), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org", "192.0.2.1:9901", "[2001:db8::1]", "::1", "127.0.0.1.nip.io:80", "0x7f.1"]
        {
            assert!(refused(&[("host", host)]), "{host}");
        }
        assert!(refused(&[]));
        assert!(refused(&[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn other_origins_are_refused() {
        assert!(!refused(&[("host", "localhost:9901"), ("origin", "http://localhost:9901")]));
        for origin in ["http://localhost:8080", "https://localhost:9901", "http://evil.example", "null", ""] {
            assert!(refused(&[("host", "localhost:9901"), ("origin", origin)]), "{origin}");
        }
    }
}
