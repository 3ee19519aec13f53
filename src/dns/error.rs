//! Why a name has no address, in words that stay the same from release to release.

use std::fmt;

/// A look-up that ended without an address, or that could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// The name does not exist (NXDOMAIN).
    NotFound,
    /// The name exists, but has no address of a family that was asked for (NODATA).
    NoAddresses,
    /// SERVFAIL, or an answer that makes no sense.
    ServerFailure,
    /// REFUSED: the server does not serve us.
    Refused,
    /// No server could be reached.
    Unreachable,
    /// Nothing usable came within `query_timeout`.
    Timeout,
    /// No server is configured, and `/etc/resolv.conf` names none.
    NotConfigured,
    /// `max_hosts` names are all in use.
    Overflow,
    /// `max_pending_requests` streams are waiting already.
    PendingOverflow,
    /// `max_pending_requests_per_client` streams of this client are waiting already.
    ClientOverflow,
    /// The resolver has stopped, because the process is stopping.
    Stopped,
}

impl Error {
    /// For the documents.
    pub const ALL: [Error; 11] = [
        Error::NotFound,
        Error::NoAddresses,
        Error::ServerFailure,
        Error::Refused,
        Error::Unreachable,
        Error::Timeout,
        Error::NotConfigured,
        Error::Overflow,
        Error::PendingOverflow,
        Error::ClientOverflow,
        Error::Stopped,
    ];

    pub fn reason(self) -> &'static str {
        match self {
            Error::NotFound => "dns_name_not_found",
            Error::NoAddresses => "dns_no_addresses",
            Error::ServerFailure => "dns_server_failure",
            Error::Refused => "dns_refused",
            Error::Unreachable => "dns_server_unreachable",
            Error::Timeout => "dns_timeout",
            Error::NotConfigured => "dns_not_configured",
            Error::Overflow => "dns_cache_overflow",
            Error::PendingOverflow => "dns_pending_overflow",
            Error::ClientOverflow => "client_lookups_overflow",
            Error::Stopped => "dns_stopped",
        }
    }

    /// Whether 504 tells the client more than 502.
    pub fn is_timeout(self) -> bool {
        matches!(self, Error::Timeout)
    }

    /// Whether this is what the zone says, as against a resolver that cannot tell. What the zone says ends an older answer at once.
    pub(super) fn is_authoritative(self) -> bool {
        matches!(self, Error::NotFound | Error::NoAddresses)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::NotFound => "the name does not exist",
            Error::NoAddresses => "the name has no address",
            Error::ServerFailure => "the DNS server failed",
            Error::Refused => "the DNS server refused the question",
            Error::Unreachable => "no DNS server could be reached",
            Error::Timeout => "no DNS server answered in time",
            Error::NotConfigured => "no DNS server is configured",
            Error::Overflow => "too many names are in use",
            Error::PendingOverflow => "too many streams wait for DNS",
            Error::ClientOverflow => "too many of this client's streams wait for DNS",
            Error::Stopped => "the resolver has stopped",
        })
    }
}

impl std::error::Error for Error {}
