//! What holds where a file says nothing: Envoy's defaults, but for the places where its own users
//! are hurt by them (see `config/outrider.toml`, which spells these out and is tested against them).

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            listeners: vec![Listener::default()],
            dns: Dns::default(),
            addresses: Addresses::default(),
            cluster: Cluster::default(),
            tunnel: Tunnel::default(),
            access_log: AccessLog::default(),
            admin: Admin::default(),
            policy: Policy::default(),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { workers: None, pin_workers: false, drain_timeout: 30 * SECOND }
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 3128)), SocketAddr::from((Ipv6Addr::LOCALHOST, 3128))],
            ipv6_only: false,
            max_connections: 100_000,
            first_byte_timeout: 30 * SECOND,
            max_connections_per_client: None,
            tcp: TcpOptions::default(),
            http1: Http1::default(),
        }
    }
}

impl Default for Http1 {
    fn default() -> Self {
        Self {
            via: own_pseudonym().to_owned(),
            via_in_requests: true,
            accept_http_10: true,
            keep_alive_http_10: false,
            default_host_for_http_10: None,
            allow_absolute_url: true,
            reject_host_mismatch: false,
            header_key_format: HeaderKeyFormat::PreserveCase,
            forward_reason_phrase: true,
            enable_trailers: true,
            allow_chunked_length: false,
            allow_blanks_after_chunk_size: false,
            override_stream_error_on_invalid_http_message: false,
            send_fully_qualified_url: false,
            ignore_http_11_upgrade: false,
            headers_with_underscores_action: UnderscoresAction::Allow,
            max_headers_count: 100,
            max_request_headers: 60 << 10,
            max_response_headers: 60 << 10,
            max_target: 16 << 10,
            max_interim_responses: 32,
            request_headers_timeout: 10 * SECOND,
            idle_timeout: HOUR,
            max_requests_per_connection: None,
            max_connection_duration: None,
        }
    }
}

/// `outrider-` and eight digits, drawn once in a process: two proxies behind one another must not take each other for
/// themselves, nor tell the world the name of a machine.
pub fn own_pseudonym() -> &'static str {
    static PSEUDONYM: LazyLock<String> = LazyLock::new(|| format!("outrider-{:08x}", RandomState::new().hash_one(0) as u32));
    &PSEUDONYM
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            lookup_family: LookupFamily::Auto,
            min_refresh_rate: 5 * SECOND,
            max_refresh_rate: HOUR,
            failure_refresh_rate: 5 * SECOND,
            query_timeout: 5 * SECOND,
            host_ttl: 5 * MINUTE,
            max_hosts: 25_000,
            max_hosts_per_client: 6_250,
            max_pending_requests: 4096,
            max_pending_requests_per_client: 1024,
            max_stale: HOUR,
            preresolve_hostnames: Vec::new(),
            use_search_domains: false,
            use_hosts_file: true,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self { defaults: ClusterOptions::default(), overrides: Vec::new(), max_idle_connections_per_worker: 4096 }
    }
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            connect_timeout: 5 * SECOND,
            request_timeout: None,
            response_headers_timeout: 30 * SECOND,
            stream_idle_timeout: 5 * MINUTE,
            max_stream_duration: None,
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            retry_on: RetryOn { connect_failure: false, reset_before_request: true, reset: false },
            num_retries: 1,
            retry_back_off: BackOff { base: Duration::from_millis(25), max: Duration::from_millis(250) },
            per_try_timeout: None,
            max_idle_connections: 1024,
            pool_idle_timeout: MINUTE,
            max_connection_duration: None,
            max_requests_per_connection: None,
            happy_eyeballs_delay: Duration::from_millis(250),
            happy_eyeballs_first_family: FirstFamily::Auto,
            preconnect_ratio: 1.0,
            tcp: TcpOptions::default(),
            egress: Egress::default(),
        }
    }
}

impl Default for Tunnel {
    fn default() -> Self {
        let ports = [(80, 80), (443, 443), (8443, 8443), (563, 563), (1024, 65535)];
        Self { idle_timeout: HOUR, max_duration: None, max_per_client: 25_000, ports: ports.map(PortRange::from).to_vec() }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { sink: AccessLogSink::Stdout, format: AccessLogFormat::Json }
    }
}

impl Default for Admin {
    /// Off: its usual socket is in /run, which only the packaged service may write to.
    fn default() -> Self {
        Self { socket: None, address: None }
    }
}

impl Default for Policy {
    /// What holds without a `[policy]` table: this machine's own clients may go to the web.
    fn default() -> Self {
        let local = Rule {
            name: "local clients to the web".to_owned(),
            clients: vec![
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
            ],
            hosts: Vec::new(),
            addresses: Vec::new(),
            ports: [(80, 80), (443, 443), (1024, 65535)].map(PortRange::from).to_vec(),
            methods: Vec::new(),
            action: Action::Allow,
        };
        Self { default: Action::Deny, revoke: false, rules: vec![local] }
    }
}

impl From<(u16, u16)> for PortRange {
    fn from((first, last): (u16, u16)) -> Self {
        Self { first, last }
    }
}
