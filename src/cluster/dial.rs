//! The way of a cluster to a new connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permits::{Room, Want};
use super::{AddressRules, Class, Cluster, Gate, Unavailable};
use crate::clients::Account;
use crate::codec::authority::{Host, Name};
use crate::config::{ClusterOptions, FirstFamily};
use crate::dns;
use crate::event_loop::{Deadline, Deadlines};
use crate::upstream::{self, ConnectError, Lost, UpstreamConnection, can_leave, count};

/// A connection and how long its parts took.
pub struct Connected {
    pub connection: UpstreamConnection,
    pub dns: Option<Duration>,
    /// Absent where it is one that another stream has given back.
    pub connect: Option<Duration>,
}

impl Cluster {
    /// Makes a connection, or waits for one where there are as many as there may be.
    /// `deadline` is the caller's, who waits for nothing else meanwhile. A wait for a look-up counts against `client`.
    pub async fn connect(&self, gate: Gate<'_>, want: Want, deadline: &Deadline, client: &Arc<Account>) -> Result<Connected, Unavailable> {
        let _pending = self.admit_pending()?;
        let _place = match self.admit_connection() {
            Some(place) => place,
            None => match Box::pin(self.wait_for_room(gate.judge, want, deadline)).await? {
                Room::Kept(connection) => return Ok(Connected { connection, dns: None, connect: None }),
                Room::New(place) => place,
            },
        };
        self.resolve_and_dial(gate, deadline, Some(client)).await
    }

    /// The address that was checked is the address that is dialled.
    async fn resolve_and_dial(&self, gate: Gate<'_>, deadline: &Deadline, client: Option<&Arc<Account>>) -> Result<Connected, Unavailable> {
        let (options, terms) = (self.options(), self.terms.get());
        let asked = self.host.as_ref().map(|_| Instant::now());
        let (endpoints, full_name) = self.resolve(client).await?;
        let dialled = Instant::now();
        let dns = asked.map(|asked| dialled - asked);
        let mut endpoints = self.allowed(endpoints, full_name, gate)?;
        put_family_first(&mut endpoints, options.happy_eyeballs_first_family);
        self.shared.outliers.put_last(&mut endpoints, dialled);
        let mut result = self.race(&endpoints, &options, deadline).await;
        if let Err(ConnectError::Failed { error, .. }) = &result
            && is_shortage(error)
        {
            // Connections that nobody uses hold descriptors that this stream needs.
            self.household.directory.tell_shortage();
            tokio::time::sleep(SHORTAGE_PAUSE).await;
            result = self.race(&endpoints, &options, deadline).await;
        }
        match result {
            Ok((stream, endpoint)) if gate.rules.leads_back(&stream, endpoint) => {
                self.counts.worker.address_denied.increment();
                Err(Unavailable::AddressDenied { address: endpoint.ip(), class: Class::OwnListener })
            }
            Ok((stream, endpoint)) => {
                let took = dialled.elapsed();
                self.counts.worker.upstream_cx_connect_ms.record_duration(took);
                self.shared.outliers.succeeded(endpoint.ip());
                let connection = UpstreamConnection::new(stream, endpoint, terms, self.counts.clone());
                Ok(Connected { connection, dns, connect: Some(took) })
            }
            Err(ConnectError::Failed { endpoint, error }) => Err(Unavailable::ConnectFailed { endpoint, error }),
            Err(ConnectError::Timeout) => {
                count!(self.counts, upstream_cx_connect_timeout);
                Err(Unavailable::ConnectTimeout)
            }
        }
    }

    /// Has a connection made ahead of need, where `preconnect_ratio` asks for more than there are.
    pub fn preconnect<R: AsRef<AddressRules> + 'static>(self: &Rc<Self>, rules: &Rc<R>, deadlines: &Deadlines) {
        let ratio = self.options.borrow().preconnect_ratio;
        let slot = &self.counts.cluster;
        // And the one that the caller is about to make.
        let there = (slot.upstream_cx_active.get() + slot.upstream_cx_connecting.get() + 1) as f64;
        if ratio <= 1.0 || there >= (slot.upstream_rq_active.get() as f64 * ratio).ceil() || self.preconnecting.replace(true) {
            return;
        }
        let (cluster, rules, terms, deadline) = (self.clone(), rules.clone(), self.terms.get(), deadlines.register());
        tokio::task::spawn_local(async move {
            // A reload may have come first, and changed the rules.
            let connected = if cluster.terms.get() == terms { cluster.connect_ahead((*rules).as_ref(), &deadline).await } else { None };
            cluster.preconnecting.set(false);
            // Nobody waits for it: whoever needs the next one is told what is wrong.
            if let Some(Ok(connected)) = connected {
                cluster.check_in(connected.connection, Instant::now());
            }
        });
    }

    /// Nothing waits for it, and it waits for nothing.
    async fn connect_ahead(&self, rules: &AddressRules, deadline: &Deadline) -> Option<Result<Connected, Unavailable>> {
        let _pending = self.admit_pending().ok()?;
        let _place = self.admit_connection()?;
        Some(self.resolve_and_dial(Gate { rules, judge: None }, deadline, None).await)
    }

    /// The addresses, and the full name that they were found by, where that is another.
    async fn resolve(&self, client: Option<&Arc<Account>>) -> Result<(Vec<SocketAddr>, Option<Arc<Name>>), Unavailable> {
        let port = self.authority.port;
        match (&self.authority.host, &self.host) {
            (Host::Address(address), _) => Ok((vec![SocketAddr::new(*address, port)], None)),
            (Host::Name(_), Some(host)) => {
                let answer = host.resolve(client).await.map_err(Unavailable::Dns)?;
                let endpoints = answer.addresses.iter().map(|&address| SocketAddr::new(address, port)).collect();
                Ok((endpoints, answer.full_name.clone()))
            }
            (Host::Name(_), None) => Err(Unavailable::Dns(dns::Error::Overflow)),
        }
    }

    async fn race(
        &self,
        endpoints: &[SocketAddr],
        options: &ClusterOptions,
        deadline: &Deadline,
    ) -> Result<(tokio::net::TcpStream, SocketAddr), ConnectError> {
        upstream::connect(endpoints, options, deadline, |endpoint, lost| {
            if matches!(lost, Lost::Failed(_)) {
                count!(self.counts, upstream_cx_connect_fail);
            }
            if lost.is_of_the_address() {
                self.shared.outliers.failed(endpoint.ip(), Instant::now());
            }
        })
        .await
    }

    /// Those of the addresses that may be dialled from where we have to dial.
    fn allowed(
        &self,
        mut endpoints: Vec<SocketAddr>,
        full_name: Option<Arc<Name>>,
        gate: Gate<'_>,
    ) -> Result<Vec<SocketAddr>, Unavailable> {
        let mut denied = None;
        endpoints.retain(|endpoint| {
            let address = endpoint.ip();
            let refusal = match gate.rules.check(*endpoint) {
                Err(class) => Unavailable::AddressDenied { address, class },
                Ok(()) if gate.judge.is_none_or(|judge| judge(full_name.as_deref(), address)) => return true,
                Ok(()) => Unavailable::PolicyDenied { address, full_name: full_name.clone() },
            };
            denied.get_or_insert(refusal);
            false
        });
        let permitted = endpoints.first().copied();
        let options = self.options.borrow();
        endpoints.retain(|endpoint| can_leave(endpoint.ip(), &options.egress));
        match (endpoints.is_empty(), permitted, denied) {
            (false, ..) => Ok(endpoints),
            (true, Some(endpoint), _) => {
                let error = std::io::Error::new(
                    std::io::ErrorKind::AddrNotAvailable,
                    "source_addresses has none of the family of the host's addresses",
                );
                Err(Unavailable::ConnectFailed { endpoint, error })
            }
            (true, None, Some(denied)) => {
                if matches!(denied, Unavailable::AddressDenied { .. }) {
                    self.counts.worker.address_denied.increment();
                }
                Err(denied)
            }
            (true, None, None) => Err(Unavailable::Dns(dns::Error::NoAddresses)),
        }
    }
}

/// For the other workers to close what they do not use.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(20);

/// Too many open files, of the process or of the system.
fn is_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Takes the families in turn, `first` before the other (RFC 8305 section 4).
fn put_family_first(endpoints: &mut Vec<SocketAddr>, first: FirstFamily) {
    let is_first = |endpoint: &SocketAddr| match first {
        FirstFamily::Auto => true,
        FirstFamily::V4 => endpoint.is_ipv4(),
        FirstFamily::V6 => endpoint.is_ipv6(),
    };
    if first == FirstFamily::Auto || endpoints.len() < 2 {
        return;
    }
    let (preferred, others): (Vec<SocketAddr>, Vec<SocketAddr>) = endpoints.iter().partition(|endpoint| is_first(endpoint));
    *endpoints = dns::in_turn(&preferred, &others);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_that_is_asked_for_begins() {
        let endpoint = |text: &str| format!("{text}:80").parse::<SocketAddr>().unwrap();
        let given = ["[::1]", "127.0.0.1", "[::2]", "127.0.0.2", "[::3]"].map(endpoint).to_vec();
        for (first, expected) in [
            (FirstFamily::Auto, ["[::1]", "127.0.0.1", "[::2]", "127.0.0.2", "[::3]"]),
            (FirstFamily::V4, ["127.0.0.1", "[::1]", "127.0.0.2", "[::2]", "[::3]"]),
            (FirstFamily::V6, ["[::1]", "127.0.0.1", "[::2]", "127.0.0.2", "[::3]"]),
        ] {
            let mut endpoints = given.clone();
            put_family_first(&mut endpoints, first);
            assert_eq!(endpoints, expected.map(endpoint));
        }
    }
}
