//! What can end a stream before its time: whose fault it is, and what everybody is told of it.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::clients::Share;
use crate::cluster::{Breaker, Class, Unavailable};
use crate::codec::Refusal;
use crate::dns;
use crate::filter::policy::{DEFAULT, TUNNEL_PORTS};

/// Why a stream did not simply succeed.
#[derive(Debug)]
pub enum Fault {
    // The client's.
    Request(Refusal),
    /// Via names this proxy already.
    Loop,
    HeadTimeout,
    BodyTimeout,
    /// The client ended or reset the connection in the middle of a message.
    ClientGone,
    /// An origin-form target that names nothing served here.
    NotAProxyRequest,
    // The policy's.
    Denied,
    AddressDenied {
        address: IpAddr,
        class: Class,
    },
    // The upstream's.
    Dns(dns::Error),
    ConnectFailed {
        endpoint: SocketAddr,
        error: io::Error,
    },
    ConnectTimeout,
    /// Nothing came before the end of the connection.
    UpstreamClosed,
    UpstreamReset(io::Error),
    Response(Refusal),
    TooManyInterimResponses,
    /// A 101 that nobody asked for.
    UnexpectedUpgrade,
    ResponseTimeout,
    /// A head began and did not end.
    ResponseHeadTimeout,
    PerTryTimeout,
    // Either side's.
    StreamIdle,
    MaxDuration,
    // Ours.
    Overflow(Breaker),
    /// The client has as many as it may have.
    ClientOverflow(Share),
    DrainTimeout,
}

/// What a fault looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub status: u16,
    /// Envoy's response flag.
    pub flag: &'static str,
    /// Stable, for programs.
    pub reason: &'static str,
    /// Error type of Proxy-Status (RFC 9209 section 2.3).
    pub proxy_error: &'static str,
    /// Whether the client's connection must end, since nobody knows where its next request starts.
    pub closes: bool,
}

impl Fault {
    /// The one place where faults become statuses, flags and reasons.
    pub fn shape(&self) -> Shape {
        let shape = |status, flag, reason, proxy_error| Shape { status, flag, reason, proxy_error, closes: false };
        let closing = |status, flag, reason, proxy_error| Shape { status, flag, reason, proxy_error, closes: true };
        match self {
            Fault::Request(refusal) => closing(refusal.request_status(), "DPE", refusal.reason(), "http_request_error"),
            Fault::Loop => closing(508, "DPE", "via_loop", "proxy_loop_detected"),
            Fault::HeadTimeout => closing(408, "DT", "request_head_timeout", "http_request_error"),
            Fault::BodyTimeout => closing(408, "SI", "request_body_timeout", "http_request_error"),
            Fault::ClientGone => closing(400, "DC", "client_gone", "http_request_error"),
            Fault::NotAProxyRequest => shape(400, "NR", "not_a_proxy_request", "destination_not_found"),
            Fault::Denied => shape(403, "UAEX", "policy_denied", "http_request_denied"),
            Fault::AddressDenied { .. } => shape(403, "UAEX", "address_denied", "destination_ip_prohibited"),
            Fault::Dns(error) if error.is_timeout() => shape(504, "DF", error.reason(), "dns_timeout"),
            Fault::Dns(dns::Error::Overflow | dns::Error::PendingOverflow) => shape(503, "UO", "dns_overflow", "proxy_internal_response"),
            Fault::Dns(error @ dns::Error::ClientOverflow) => shape(503, "UO", error.reason(), "proxy_internal_response"),
            Fault::Dns(error) => shape(502, "DF", error.reason(), "dns_error"),
            Fault::ConnectFailed { error, .. } => match error.kind() {
                io::ErrorKind::ConnectionRefused => shape(502, "UF", "connection_refused", "connection_refused"),
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    shape(502, "UF", "destination_unreachable", "destination_ip_unroutable")
                }
                io::ErrorKind::TimedOut => shape(504, "UF", "connect_timeout", "connection_timeout"),
                _ => shape(502, "UF", "connect_failed", "destination_unavailable"),
            },
            Fault::ConnectTimeout => shape(504, "UF", "connect_timeout", "connection_timeout"),
            Fault::UpstreamClosed => shape(502, "UC", "upstream_closed", "connection_terminated"),
            Fault::UpstreamReset(_) => shape(502, "UR", "upstream_reset", "connection_terminated"),
            Fault::Response(Refusal::HeadTooLarge | Refusal::TooManyFields) => {
                shape(502, "UPE", "response_head_too_large", "http_response_header_section_size")
            }
            Fault::Response(refusal) => shape(502, "UPE", refusal.reason(), "http_protocol_error"),
            Fault::TooManyInterimResponses => shape(502, "UPE", "too_many_interim_responses", "http_protocol_error"),
            Fault::UnexpectedUpgrade => shape(502, "UPE", "unexpected_upgrade", "http_upgrade_failed"),
            Fault::ResponseTimeout => shape(504, "UT", "response_timeout", "http_response_timeout"),
            Fault::ResponseHeadTimeout => shape(504, "UT", "response_head_timeout", "http_response_timeout"),
            Fault::PerTryTimeout => shape(504, "UT", "per_try_timeout", "http_response_timeout"),
            Fault::StreamIdle => closing(504, "SI", "stream_idle", "http_response_timeout"),
            Fault::MaxDuration => closing(504, "DT", "max_stream_duration", "http_response_timeout"),
            Fault::Overflow(breaker) => {
                let reason = match breaker {
                    Breaker::Connections => "connections_overflow",
                    Breaker::PendingRequests => "pending_requests_overflow",
                    Breaker::Requests => "requests_overflow",
                    Breaker::Retries => "retries_overflow",
                };
                shape(503, "UO", reason, "proxy_internal_response")
            }
            Fault::ClientOverflow(share) => {
                let reason = match share {
                    Share::Tunnels => "client_tunnels_overflow",
                    Share::Destinations => "client_destinations_overflow",
                    Share::LookUps => dns::Error::ClientOverflow.reason(),
                };
                shape(503, "UO", reason, "proxy_internal_response")
            }
            Fault::DrainTimeout => closing(503, "LR", "drain_timeout", "proxy_internal_response"),
        }
    }

    /// For people: what happened, and what they can do.
    pub fn explanation(&self) -> Cow<'static, str> {
        match self {
            Fault::Request(refusal) => refusal.explanation().into(),
            Fault::Loop => "This request has passed this proxy before: it goes round in circles.".into(),
            Fault::HeadTimeout => "The request head did not arrive in time.".into(),
            Fault::BodyTimeout => "The request body did not arrive in time.".into(),
            Fault::ClientGone => "The client ended the connection.".into(),
            Fault::NotAProxyRequest => {
                "This is a forward proxy, not a web server. Set it as http_proxy and https_proxy, or ask it for absolute targets such as http://example.org/.".into()
            }
            Fault::Denied => "The policy of this proxy does not allow this request.".into(),
            Fault::AddressDenied { address, class: Class::OwnListener } => format!("{address} is own_listener: this proxy itself.").into(),
            Fault::AddressDenied { address, class } => {
                format!("{address} is {} and may not be reached through this proxy.", class.name()).into()
            }
            Fault::Dns(error) => format!("The host name could not be resolved: {error}.").into(),
            Fault::ConnectFailed { endpoint, error } => format!("Connecting to {endpoint} failed: {error}.").into(),
            Fault::ConnectTimeout => "No address of the host answered in time.".into(),
            Fault::UpstreamClosed => "The origin closed the connection before its answer was complete.".into(),
            Fault::UpstreamReset(error) => format!("The connection to the origin broke: {error}.").into(),
            Fault::Response(refusal) => format!("The origin's response is malformed: {}", refusal.explanation()).into(),
            Fault::TooManyInterimResponses => "The origin sent too many interim responses.".into(),
            Fault::UnexpectedUpgrade => "The origin switched protocols without being asked.".into(),
            Fault::ResponseHeadTimeout => "The head of the origin's response was not complete within response_headers_timeout.".into(),
            Fault::ResponseTimeout | Fault::PerTryTimeout => "The origin did not answer in time.".into(),
            Fault::StreamIdle => "Nothing moved for too long.".into(),
            Fault::MaxDuration => "The stream took longer than it may.".into(),
            Fault::Overflow(_) => "This destination has as much work as it may have; try again later.".into(),
            Fault::ClientOverflow(share) => {
                let what = match share {
                    Share::Tunnels => "tunnels open",
                    Share::Destinations => "destinations in use",
                    Share::LookUps => "streams waiting for DNS",
                };
                format!("Your address has as many {what} through this proxy as it may have; try again when there are fewer.").into()
            }
            Fault::DrainTimeout => "The proxy is stopping.".into(),
        }
    }

    /// What would let the request through, for whoever runs the proxy. `rule` is what the policy said no by.
    pub fn remedy(&self, rule: &str) -> Option<Cow<'static, str>> {
        let remedy = match self {
            Fault::Denied if rule == TUNNEL_PORTS => {
                "add the port to tunnel.ports: CONNECT reaches no others, whatever the policy says.".into()
            }
            Fault::Denied if rule == DEFAULT => "add a rule to the policy that allows it: none matches, so policy.default decided.".into(),
            Fault::Denied => format!("put a rule that allows it before the policy's rule \"{rule}\", which denies it.").into(),
            Fault::AddressDenied { class: Class::OwnListener, .. } => {
                "nothing: a request to a listener or to the admin API of the proxy itself is never let through.".into()
            }
            Fault::AddressDenied { class: Class::Denied, .. } => {
                "take the address out of [addresses] deny, or list a longer prefix of it in [addresses] allow.".into()
            }
            Fault::AddressDenied { class: Class::Metadata, .. } => {
                "list this address in [addresses] allow by itself: a network that contains it does not open it.".into()
            }
            Fault::AddressDenied { address: IpAddr::V4(_), .. } => "list the address in [addresses] allow.".into(),
            Fault::AddressDenied { address: IpAddr::V6(_), .. } => {
                "list the address in [addresses] allow, and the IPv4 address in it if it carries one.".into()
            }
            _ => return None,
        };
        Some(remedy)
    }

    /// Whether the same request may be sent again on a fresh connection, given that it can be had
    /// again and is idempotent (RFC 9110 section 9.2.2).
    pub fn is_safe_to_retry(&self) -> bool {
        matches!(self, Fault::UpstreamClosed | Fault::UpstreamReset(_))
    }
}

impl From<Unavailable> for Fault {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Dns(error) => Fault::Dns(error),
            Unavailable::AddressDenied { address, class } => Fault::AddressDenied { address, class },
            Unavailable::PolicyDenied { .. } => Fault::Denied,
            Unavailable::ConnectFailed { endpoint, error } => Fault::ConnectFailed { endpoint, error },
            Unavailable::ConnectTimeout => Fault::ConnectTimeout,
            Unavailable::Overflow(breaker) => Fault::Overflow(breaker),
            Unavailable::ClientOverflow(share) => Fault::ClientOverflow(share),
        }
    }
}
