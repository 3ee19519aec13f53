//! Configuration: what an administrator writes, and what the program may rely on.
//!
//! There are two forms. `keys` says which keys a table has and `form` how each is written in TOML, read
//! value by value with serde, so that one run reports every mistake of a file; the types here are the
//! *checked* form, which cannot be wrong: every duration is in range, every name is a name, every
//! address parses. Each part of the program builds itself from its part of [`Config`].
//!
//! A new key is a field here, its default in `defaults`, one line in `keys`, one in `dump`, and its paragraph in
//! `config/outrider.toml`; tests hold that these agree.

mod advice;
mod clients;
mod defaults;
mod document;
mod dump;
mod form;
mod keys;
mod load;
mod mistake;
mod order;
mod report;
mod sources;
mod table;
#[cfg(test)]
mod tests;

pub use clients::{client_address, client_host};
pub use defaults::own_pseudonym;
pub use load::{DEFAULT_PATH, EMBEDDED, Loaded, load, load_again, load_with_advice, parse};
pub use mistake::Mistake;
pub use report::Report;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

/// The whole checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub server: Server,
    pub listeners: Vec<Listener>,
    pub dns: Dns,
    pub addresses: Addresses,
    pub cluster: Cluster,
    pub tunnel: Tunnel,
    pub access_log: AccessLog,
    pub admin: Admin,
    pub policy: Policy,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// `None` is "auto": as many as the process may use.
    pub workers: Option<NonZeroUsize>,
    pub pin_workers: bool,
    /// How long running streams may take after a stop was asked for.
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique among listeners; names its statistics.
    pub name: String,
    pub addresses: Vec<SocketAddr>,
    /// Whether `[::]` leaves IPv4 clients to others.
    pub ipv6_only: bool,
    /// Downstream connections at once, over all workers; more are closed at accept.
    pub max_connections: usize,
    /// Wait for the first byte of a new connection.
    pub first_byte_timeout: Duration,
    /// Of one client's, to whichever listener; `None` is [`Listener::auto_per_client`].
    pub max_connections_per_client: Option<usize>,
    pub tcp: TcpOptions,
    /// `[http1]` with this listener's `[listener.http1]` laid over it.
    pub http1: Http1,
}

impl Listener {
    /// Connections of one client where nothing says how many: one client does not take all of a listener that is meant for
    /// many, and an office behind one address, or a machine's own programs, seldom need more.
    pub fn auto_per_client(max_connections: usize) -> usize {
        (max_connections / 4).max(256)
    }
}

/// Envoy's Http1ProtocolOptions and HttpProtocolOptions, as one table.
#[derive(Debug, Clone, PartialEq)]
pub struct Http1 {
    /// Pseudonym in Via, both ways (RFC 9110 section 7.6.3).
    pub via: String,
    /// Whether requests get a Via field; responses always do.
    pub via_in_requests: bool,
    pub accept_http_10: bool,
    /// Honour an HTTP/1.0 client's keep-alive; otherwise its connection closes after one answer (RFC 9112 section 9.3).
    pub keep_alive_http_10: bool,
    /// Host for HTTP/1.0 requests in origin-form without one.
    pub default_host_for_http_10: Option<String>,
    pub allow_absolute_url: bool,
    /// Refuse a request whose Host differs from its absolute target, instead of replacing Host.
    pub reject_host_mismatch: bool,
    pub header_key_format: HeaderKeyFormat,
    /// Send the origin's reason phrase on; otherwise the standard phrase of the status.
    pub forward_reason_phrase: bool,
    pub enable_trailers: bool,
    pub allow_chunked_length: bool,
    /// Take blanks after a chunk size in responses, which old servers write.
    pub allow_blanks_after_chunk_size: bool,
    pub override_stream_error_on_invalid_http_message: bool,
    pub send_fully_qualified_url: bool,
    pub ignore_http_11_upgrade: bool,
    pub headers_with_underscores_action: UnderscoresAction,
    pub max_headers_count: usize,
    /// Bytes of a request head, request line and all.
    pub max_request_headers: usize,
    /// Bytes of a response head.
    pub max_response_headers: usize,
    /// Bytes of a request target.
    pub max_target: usize,
    /// Interim (1xx) responses to one request.
    pub max_interim_responses: usize,
    /// Wait for the rest of a request head once its first byte came.
    pub request_headers_timeout: Duration,
    /// Wait for the next request on a kept-alive connection.
    pub idle_timeout: Duration,
    /// Requests on one downstream connection; `None` is no limit.
    pub max_requests_per_connection: Option<u64>,
    /// Age of a downstream connection, after which it closes at the next end of a response.
    pub max_connection_duration: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderKeyFormat {
    /// Names leave as they came; fields of our own are written in Proper-Case.
    PreserveCase,
    ProperCaseWords,
    LowerCase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnderscoresAction {
    Allow,
    RejectRequest,
    DropHeader,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Empty: the system's (`/etc/resolv.conf`).
    pub servers: Vec<DnsServer>,
    pub lookup_family: LookupFamily,
    /// Answers are kept at least and at most this long, whatever their TTL.
    pub min_refresh_rate: Duration,
    pub max_refresh_rate: Duration,
    /// How long a failure is remembered.
    pub failure_refresh_rate: Duration,
    pub query_timeout: Duration,
    /// A name that nobody asked for is forgotten after this.
    pub host_ttl: Duration,
    /// Names in the cache, and destinations known at once. One of both takes some 2 KiB, and each worker that
    /// has to do with it 1 KiB more.
    pub max_hosts: usize,
    /// Destinations known because of one client.
    pub max_hosts_per_client: usize,
    /// Streams that may wait for look-ups at once.
    pub max_pending_requests: usize,
    /// Of one client's.
    pub max_pending_requests_per_client: usize,
    /// While the resolver fails, an expired answer is served for this long.
    pub max_stale: Duration,
    /// Looked up at start and kept fresh.
    pub preresolve_hostnames: Vec<String>,
    /// Try the search domains of `/etc/resolv.conf` for single-label names.
    pub use_search_domains: bool,
    /// Read `/etc/hosts` before asking.
    pub use_hosts_file: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DnsServer {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    /// DNS over TLS (RFC 7858); the name is verified in the certificate.
    Tls {
        address: SocketAddr,
        name: String,
    },
    /// DNS over HTTPS (RFC 8484).
    Https {
        address: SocketAddr,
        name: String,
        path: String,
    },
}

/// Envoy's `dns_lookup_family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupFamily {
    /// Both, raced (RFC 8305).
    Auto,
    V4Only,
    V6Only,
    V4Preferred,
    All,
}

/// Exceptions to the built-in address rules; the longest matching prefix decides, `deny` wins a tie.
/// Metadata addresses need an entry of their own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Addresses {
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
}

/// What every cluster starts from, and what `[[cluster.override]]` changes for some.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    pub defaults: ClusterOptions,
    /// First match wins.
    pub overrides: Vec<ClusterOverride>,
    /// Idle connections that a worker keeps for all clusters together.
    pub max_idle_connections_per_worker: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterOverride {
    pub hosts: Vec<HostPattern>,
    pub options: ClusterOptions,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ClusterOptions {
    /// Until one address answered, over all addresses.
    pub connect_timeout: Duration,
    /// From the whole request sent to the first byte of the final response; `None` is no limit.
    pub request_timeout: Option<Duration>,
    /// From the first byte of a response head to its last.
    pub response_headers_timeout: Duration,
    /// No byte either way on a stream.
    pub stream_idle_timeout: Duration,
    pub max_stream_duration: Option<Duration>,
    pub max_connections: u64,
    pub max_pending_requests: u64,
    pub max_requests: u64,
    pub max_retries: u64,
    /// In place of `max_retries`, where there is one.
    pub retry_budget: Option<RetryBudget>,
    pub retry_on: RetryOn,
    /// Retries of one request.
    pub num_retries: u64,
    pub retry_back_off: BackOff,
    /// From a try's beginning to the first byte of its response.
    pub per_try_timeout: Option<Duration>,
    /// Idle connections kept per worker.
    pub max_idle_connections: usize,
    pub pool_idle_timeout: Duration,
    pub max_connection_duration: Option<Duration>,
    pub max_requests_per_connection: Option<u64>,
    /// RFC 8305 connection attempt delay.
    pub happy_eyeballs_delay: Duration,
    pub happy_eyeballs_first_family: FirstFamily,
    /// Connections to have for each request that runs or waits; Envoy's
    /// `per_upstream_preconnect_ratio`, at least 1.
    pub preconnect_ratio: f64,
    pub tcp: TcpOptions,
    pub egress: Egress,
}

/// Envoy's `retry_budget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Of the requests that run or wait.
    pub budget_percent: u64,
    /// Allowed whatever the percentage comes to.
    pub min_retry_concurrency: u64,
}

/// What is tried again, in Envoy's words. Whatever it says, nothing is sent twice that may not be
/// (RFC 9110 section 9.2.2) or cannot be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    pub connect_failure: bool,
    /// A kept connection turned out to be closed.
    pub reset_before_request: bool,
    /// Any connection that ended before the first byte of a response.
    pub reset: bool,
}

/// One word of a `retry_on` list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryCause {
    ConnectFailure,
    ResetBeforeRequest,
    Reset,
}

/// Waits between tries: anything up to `base`, doubled with every try up to `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    pub base: Duration,
    pub max: Duration,
}

/// The family whose addresses are tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstFamily {
    /// As `dns_lookup_family` has it.
    Auto,
    V4,
    V6,
}

/// How a socket notices that its other end is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpOptions {
    pub keepalive: Option<TcpKeepalive>,
    /// TCP_USER_TIMEOUT: how long sent bytes may go without acknowledgement.
    pub user_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    pub idle: Duration,
    pub interval: Duration,
    pub probes: u32,
}

/// How connections leave the machine. Two connections with different ones are not interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Egress {
    /// With any source address given, only families that have one are dialled.
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    /// SO_BINDTODEVICE.
    pub interface: Option<String>,
    /// SO_MARK.
    pub mark: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tunnel {
    pub idle_timeout: Duration,
    pub max_duration: Option<Duration>,
    /// Tunnels of one client at once, those being opened included.
    pub max_per_client: usize,
    /// Ports that CONNECT may reach; the policy decides within them.
    pub ports: Vec<PortRange>,
}

/// Inclusive at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub format: AccessLogFormat,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AccessLogSink {
    Off,
    Stdout,
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    Json,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    pub socket: Option<PathBuf>,
    /// Loopback only.
    pub address: Option<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub default: Action,
    /// Tunnels that are open end when a reload puts a policy in force that denies them.
    pub revoke: bool,
    /// The first rule that matches decides.
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Allow,
    Deny,
}

/// An empty list matches everything.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    pub clients: Vec<IpNet>,
    pub hosts: Vec<HostPattern>,
    /// What the host is found to be at, tested after it is resolved.
    pub addresses: Vec<IpNet>,
    pub ports: Vec<PortRange>,
    pub methods: Vec<String>,
    pub action: Action,
}

/// One entry of a `hosts` list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// A name, lower case, without a trailing dot.
    Exact(String),
    /// `*.example.org`: every name below `example.org`, but not it; held without the `*.`.
    Suffix(String),
    /// An address or a range, matching IP-literal hosts only.
    Net(IpNet),
}

impl From<IpAddr> for HostPattern {
    fn from(address: IpAddr) -> Self {
        HostPattern::Net(address.into())
    }
}
