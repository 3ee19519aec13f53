//! Clusters: one upstream destination each, made by the first stream that needs it and dropped when
//! nobody does. A cluster resolves its name, picks an address that the address rules allow, and
//! lends connections.

mod address_rules;
mod directory;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use address_rules::{AddressRules, Class};
pub use directory::Clusters;

use crate::codec::authority::{Authority, Host};
use crate::config::ClusterOptions;
use crate::dns;
use crate::stats::WorkerStats;
use crate::upstream::{self, ConnectError, Counts, Pool, UpstreamConnection};

/// One destination, as one worker knows it.
pub struct Cluster {
    authority: Authority,
    /// `host:port`, for logs and statistics.
    label: Box<str>,
    /// Absent where the authority is an address.
    host: Option<Arc<dns::Host>>,
    /// Generation of the answer that the pool was last checked against.
    generation: Cell<u64>,
    options: RefCell<Rc<ClusterOptions>>,
    pool: RefCell<Pool>,
    counts: Rc<Counts>,
    last_used: Cell<Instant>,
}

/// Why no connection could be had.
#[derive(Debug)]
pub enum Unavailable {
    Dns(dns::Error),
    /// Every address of the host is of a class that may not be dialled; the first is told.
    AddressDenied {
        address: IpAddr,
        class: Class,
    },
    ConnectFailed {
        endpoint: SocketAddr,
        error: std::io::Error,
    },
    ConnectTimeout,
    /// A circuit breaker is open.
    Overflow(Breaker),
}

/// Envoy's circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breaker {
    Connections,
    PendingRequests,
    Requests,
    Retries,
}

/// A new connection and how long its parts took.
pub struct Connected {
    pub connection: UpstreamConnection,
    pub dns: Option<Duration>,
    pub connect: Duration,
}

impl Cluster {
    fn new(authority: Authority, host: Option<Arc<dns::Host>>, options: Rc<ClusterOptions>, stats: &Arc<WorkerStats>) -> Self {
        stats.clusters_active.increment();
        Cluster {
            authority,
            label: authority.to_string().into(),
            generation: Cell::new(host.as_ref().map_or(0, |host| host.generation())),
            host,
            options: RefCell::new(options),
            pool: RefCell::default(),
            counts: Counts::new(stats.clone()),
            last_used: Cell::new(Instant::now()),
        }
    }

    pub fn label(&self) -> &str {
        &self.label
    }

    pub fn options(&self) -> Rc<ClusterOptions> {
        self.options.borrow().clone()
    }

    /// Takes a place among the requests of this cluster, for as long as the permit lives.
    pub fn admit_request(&self) -> Result<RequestPermit, Unavailable> {
        let requests = self.counts.requests.get();
        if requests >= self.options.borrow().max_requests {
            self.counts.stats.upstream_rq_pending_overflow.increment();
            return Err(Unavailable::Overflow(Breaker::Requests));
        }
        self.counts.requests.set(requests + 1);
        Ok(RequestPermit(self.counts.clone()))
    }

    /// An idle connection to an address that the name still has, without waiting.
    pub fn check_out(&self) -> Option<UpstreamConnection> {
        if let Some(host) = &self.host {
            host.touch();
            let generation = host.generation();
            if self.generation.replace(generation) != generation
                && let Some(answer) = host.answer()
            {
                self.pool.borrow_mut().keep_addresses(&answer.addresses);
            }
        }
        self.pool.borrow_mut().check_out(&self.counts.stats)
    }

    /// Takes back a connection whose last exchange ended exactly where its framing said.
    pub fn check_in(&self, connection: UpstreamConnection, now: Instant) {
        self.last_used.set(now);
        let limits = self.limits();
        self.pool.borrow_mut().check_in(connection, now, &limits, &self.counts.stats);
    }

    /// Resolves and dials. The address that was checked is the address that is dialled.
    pub async fn connect(&self, rules: &AddressRules) -> Result<Connected, Unavailable> {
        let _pending = self.admit_connection()?;
        let options = self.options();
        let start = Instant::now();
        let (endpoints, dns) = match (&self.authority.host, &self.host) {
            (Host::Address(address), _) => (vec![SocketAddr::new(*address, self.authority.port)], None),
            (Host::Name(_), Some(host)) => {
                let answer = host.resolve().await.map_err(Unavailable::Dns)?;
                let endpoints = answer.addresses.iter().map(|&address| SocketAddr::new(address, self.authority.port)).collect();
                (endpoints, Some(start.elapsed()))
            }
            (Host::Name(_), None) => return Err(Unavailable::Dns(dns::Error::Overflow)),
        };
        let endpoints = self.allowed(endpoints, rules)?;
        let dialled = Instant::now();
        let stats = &self.counts.stats;
        let connected = upstream::connect(&endpoints, options.happy_eyeballs_delay, options.connect_timeout, |_, _| {
            stats.upstream_cx_connect_fail.increment();
        })
        .await;
        match connected {
            Ok((stream, endpoint)) => Ok(Connected {
                connection: UpstreamConnection::new(stream, endpoint, self.counts.clone()),
                dns,
                connect: dialled.elapsed(),
            }),
            Err(ConnectError::Failed { endpoint, error }) => Err(Unavailable::ConnectFailed { endpoint, error }),
            Err(ConnectError::Timeout) => {
                stats.upstream_cx_connect_timeout.increment();
                Err(Unavailable::ConnectTimeout)
            }
        }
    }

    /// Asks for a place among the retries.
    pub fn admit_retry(&self) -> Result<(), Unavailable> {
        if self.counts.retries.get() >= self.options.borrow().max_retries {
            self.counts.stats.upstream_rq_retry_overflow.increment();
            return Err(Unavailable::Overflow(Breaker::Retries));
        }
        self.counts.stats.upstream_rq_retry.increment();
        Ok(())
    }

    fn admit_connection(&self) -> Result<PendingPermit, Unavailable> {
        let options = self.options.borrow();
        if self.counts.connections.get() + self.counts.pending.get() >= options.max_connections {
            self.counts.stats.upstream_cx_overflow.increment();
            return Err(Unavailable::Overflow(Breaker::Connections));
        }
        if self.counts.pending.get() >= options.max_pending_requests {
            self.counts.stats.upstream_rq_pending_overflow.increment();
            return Err(Unavailable::Overflow(Breaker::PendingRequests));
        }
        self.counts.pending.set(self.counts.pending.get() + 1);
        Ok(PendingPermit(self.counts.clone()))
    }

    fn allowed(&self, mut endpoints: Vec<SocketAddr>, rules: &AddressRules) -> Result<Vec<SocketAddr>, Unavailable> {
        let mut denied = None;
        endpoints.retain(|endpoint| match rules.check(*endpoint) {
            Ok(()) => true,
            Err(class) => {
                denied.get_or_insert(Unavailable::AddressDenied { address: endpoint.ip(), class });
                false
            }
        });
        if !endpoints.is_empty() {
            return Ok(endpoints);
        }
        match denied {
            Some(denied) => {
                self.counts.stats.address_denied.increment();
                Err(denied)
            }
            None => Err(Unavailable::Dns(dns::Error::NoAddresses)),
        }
    }

    fn limits(&self) -> upstream::Limits {
        let options = self.options.borrow();
        upstream::Limits {
            max_idle_connections: options.max_idle_connections,
            idle_timeout: options.pool_idle_timeout,
            max_connection_duration: options.max_connection_duration,
            max_requests_per_connection: options.max_requests_per_connection,
        }
    }

    fn sweep(&self, now: Instant) {
        let limits = self.limits();
        self.pool.borrow_mut().sweep(now, &limits, &self.counts.stats);
    }

    /// Whether nobody used it for `ttl` and nothing of it is open.
    fn is_idle(&self, now: Instant, ttl: Duration) -> bool {
        self.pool.borrow().is_empty() && self.counts.connections.get() == 0 && now.duration_since(self.last_used.get()) >= ttl
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.counts.stats.clusters_active.decrement();
    }
}

/// A place among a cluster's requests.
pub struct RequestPermit(Rc<Counts>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
    }
}

/// A place among a cluster's streams that wait for a connection.
struct PendingPermit(Rc<Counts>);

impl Drop for PendingPermit {
    fn drop(&mut self) {
        self.0.pending.set(self.0.pending.get() - 1);
    }
}
