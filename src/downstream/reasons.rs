//! Every response flag and reason that the access log may hold, in one list, from which the documents are made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use super::fault::Fault;
use crate::clients::Share;
use crate::cluster::{Breaker, Class};
use crate::codec::Refusal;
use crate::dns;

/// A way for a stream to end that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable, for programs.
    pub name: &'static str,
    /// Envoy's response flag; empty where nothing went wrong.
    pub flag: &'static str,
    /// Of the local reply, where the client had got nothing yet.
    pub status: Option<u16>,
    /// What the reply says, with an example of its particulars.
    pub meaning: String,
}

/// Flag, its name, and where to look.
pub const FLAGS: [(&str, &str, &str); 14] = [
    ("DC", "downstream connection terminated", "the client ended or reset its connection"),
    ("DF", "DNS failure", "the name or the resolver: `dig NAME`, and the servers of `[dns]`"),
    ("DPE", "downstream protocol error", "what the client sent; an option of `[http1]` may let it through"),
    ("DT", "duration timeout", "a limit of time was reached: `request_headers_timeout`, `max_stream_duration`, `tunnel.max_duration`"),
    ("LR", "local reset", "the proxy was stopping, and `server.drain_timeout` had passed"),
    ("NR", "no route", "the request was for the proxy itself, which serves no such page"),
    ("SI", "stream idle timeout", "nothing moved: `stream_idle_timeout`, `tunnel.idle_timeout`, or a client that stopped sending its body"),
    ("UAEX", "denied", "`[[policy.rule]]`, `[tunnel] ports`, or `[addresses]`; `rule` and `detail` of the line say which"),
    ("UC", "upstream connection terminated", "the origin closed before its answer was complete"),
    ("UF", "upstream connection failure", "no address of the origin took the connection: it, or the way there"),
    ("UO", "overflow", "a circuit breaker of `[cluster]` or a bound of `[dns]`; `/clusters` of the admin API shows them"),
    ("UPE", "upstream protocol error", "what the origin sent; the reasons are those of DPE, with the status 502"),
    ("UR", "upstream remote reset", "the origin, or something on the way to it, reset the connection"),
    (
        "UT",
        "upstream request timeout",
        "the origin did not answer within a limit of `[cluster]`: `request_timeout`, `response_headers_timeout`, `per_try_timeout`",
    ),
];

/// A name and flag that no fault has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub flag: &'static str,
    pub reason: &'static str,
    meaning: &'static str,
}

pub(super) const LOCAL_PAGE: Ending =
    Ending { flag: "", reason: "local_page", meaning: "Outrider answered itself: the PAC file, OPTIONS *, or Max-Forwards: 0." };
pub(super) const TUNNEL_IDLE: Ending =
    Ending { flag: "SI", reason: "tunnel_idle", meaning: "No byte passed the tunnel for `tunnel.idle_timeout`." };
pub(super) const TUNNEL_MAX_DURATION: Ending =
    Ending { flag: "DT", reason: "tunnel_max_duration", meaning: "The tunnel was as old as `tunnel.max_duration` lets it be." };
pub(super) const POLICY_REVOKED: Ending =
    Ending { flag: "UAEX", reason: "policy_revoked", meaning: "A reload put a policy in force that denies this tunnel (`policy.revoke`)." };

/// The list, sorted by name.
pub static REASONS: LazyLock<Vec<Reason>> = LazyLock::new(|| {
    let faults = faults().into_iter().map(|fault| {
        let shape = fault.shape();
        // Nobody is there to get a reply.
        let status = Some(shape.status).filter(|_| !matches!(fault, Fault::ClientGone));
        Reason { name: shape.reason, flag: shape.flag, status, meaning: fault.explanation().into_owned() }
    });
    let endings = [LOCAL_PAGE, TUNNEL_IDLE, TUNNEL_MAX_DURATION, POLICY_REVOKED];
    let endings = endings.map(|Ending { flag, reason, meaning }| Reason { name: reason, flag, status: None, meaning: meaning.to_owned() });
    let mut all: Vec<Reason> = faults.chain(endings).collect();
    // Some causes share a name: the first one tells enough.
    all.sort_by_key(|reason| reason.name);
    all.dedup_by_key(|reason| reason.name);
    all
});

/// Whether the documents know it.
pub(super) fn is_listed(reason: &str) -> bool {
    REASONS.binary_search_by_key(&reason, |listed| listed.name).is_ok()
}

/// One of each.
fn faults() -> Vec<Fault> {
    let endpoint = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 443);
    let failed = |error: rustix::io::Errno| Fault::ConnectFailed { endpoint, error: error.into() };
    let mut all = vec![
        Fault::Loop,
        Fault::HeadTimeout,
        Fault::BodyTimeout,
        Fault::ClientGone,
        Fault::NotAProxyRequest,
        Fault::Denied,
        Fault::AddressDenied { address: IpAddr::from([192, 168, 0, 1]), class: Class::Private },
        failed(rustix::io::Errno::CONNREFUSED),
        failed(rustix::io::Errno::HOSTUNREACH),
        Fault::ConnectTimeout,
        failed(rustix::io::Errno::NOBUFS),
        Fault::UpstreamClosed,
        Fault::UpstreamReset(io::Error::from(rustix::io::Errno::CONNRESET)),
        Fault::Response(Refusal::HeadTooLarge),
        Fault::TooManyInterimResponses,
        Fault::UnexpectedUpgrade,
        Fault::ResponseTimeout,
        Fault::ResponseHeadTimeout,
        Fault::PerTryTimeout,
        Fault::StreamIdle,
        Fault::MaxDuration,
        Fault::DrainTimeout,
    ];
    all.extend(Refusal::ALL.iter().copied().map(Fault::Request));
    all.extend(dns::Error::ALL.map(Fault::Dns));
    all.extend(Breaker::ALL.map(Fault::Overflow));
    all.extend([Share::Tunnels, Share::Destinations, Share::LookUps].map(Fault::ClientOverflow));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_flag_that_is_explained() {
        let flags: HashSet<&str> = FLAGS.iter().map(|(flag, ..)| *flag).collect();
        for reason in REASONS.iter() {
            assert!(reason.flag.is_empty() || reason.flag.split(',').all(|flag| flags.contains(flag)), "{reason:?}");
            assert!(reason.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{reason:?}");
            assert!(reason.meaning.ends_with('.'), "{reason:?}");
        }
        let used: HashSet<&str> = REASONS.iter().map(|reason| reason.flag).chain(["UPE"]).collect();
        assert!(FLAGS.iter().all(|(flag, ..)| used.contains(flag)), "a flag that nothing has");
    }

    /// A new variant does not compile until it stands here; then it has to be put into `faults`, too.
    #[test]
    fn every_fault_is_in_the_list() {
        let listed: HashSet<_> = faults().iter().map(std::mem::discriminant).collect();
        const VARIANTS: usize = 24;
        let count = |fault: &Fault| match fault {
            Fault::Request(_) | Fault::Loop | Fault::HeadTimeout | Fault::BodyTimeout | Fault::ClientGone | Fault::NotAProxyRequest => {
                VARIANTS
            }
            Fault::Denied | Fault::AddressDenied { .. } | Fault::Dns(_) | Fault::ConnectFailed { .. } | Fault::ConnectTimeout => VARIANTS,
            Fault::UpstreamClosed | Fault::UpstreamReset(_) | Fault::Response(_) | Fault::TooManyInterimResponses => VARIANTS,
            Fault::UnexpectedUpgrade | Fault::ResponseTimeout | Fault::PerTryTimeout | Fault::StreamIdle | Fault::MaxDuration => VARIANTS,
            Fault::Overflow(_) | Fault::ClientOverflow(_) | Fault::DrainTimeout | Fault::ResponseHeadTimeout => VARIANTS,
        };
        assert_eq!(listed.len(), count(&Fault::Loop));
    }
}
