//! CONNECT, and what an Upgrade becomes: a tunnel, run apart from the exchange that opened it.

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use super::connection::{Connection, Next};
use super::fault::Fault;
use super::io::write_all;
use super::reasons::{self, Ending};
use super::record::StreamRecord;
use super::stream::Exchange;
use super::tunnel::{self, TunnelEnd, Ways};
use super::{Context, Held};
use crate::cluster::{Cluster, RequestPermit, Want};
use crate::codec::authority::Authority;
use crate::drain::Phase;
use crate::event_loop::Buffer;
use crate::filter::policy::{Ask, DEFAULT, Resolved};
use crate::probes;
use crate::upstream::UpstreamConnection;

impl Exchange<'_> {
    /// CONNECT: the answer comes once the upstream connection stands (RFC 9110 section 9.3.6).
    pub(super) async fn connect(&mut self, cluster: Rc<Cluster>) -> Next {
        match self.open_tunnel(&cluster).await {
            Ok(upstream) => Next::Tunnel(self.tunnel(upstream, None, None)),
            Err(fault @ Fault::ClientGone) => self.cut(fault),
            Err(fault) => {
                // Whoever hears of it may try the next one at once.
                self.connection.account.end_tunnel();
                self.refuse(fault).await
            }
        }
    }

    async fn open_tunnel(&mut self, cluster: &Rc<Cluster>) -> Result<UpstreamConnection, Fault> {
        let idle_timeout = cluster.options().stream_idle_timeout;
        let upstream = self.connect_upstream(cluster, Want::New).await?;
        self.record.upstream_is_ready(upstream.stream.as_raw_fd());
        const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
        self.connection.deadline.set(idle_timeout);
        let mut slices = [std::io::IoSlice::new(ESTABLISHED)];
        match self.connection.deadline.limit(write_all(&self.connection.stream, &mut slices)).await {
            Some(Ok(())) => {
                self.record.status = Some(200);
                Ok(upstream)
            }
            _ => Err(Fault::ClientGone),
        }
    }

    /// What is left of the client's bytes is the tunnel's, and so is `early` of the upstream's.
    pub(super) fn tunnel(&mut self, upstream: UpstreamConnection, early: Option<Buffer>, permit: Option<RequestPermit>) -> Box<Tunnel> {
        let ways = Ways::new(self.buffer.take(), early);
        self.record.compact();
        let record = std::mem::replace(&mut self.record, StreamRecord::begin(0, self.context.event_loop.scratch.lend()));
        Box::new(Tunnel { record, snapshot: self.snapshot.clone(), upstream, ways, _permit: permit })
    }
}

/// A tunnel that is to run, apart from the exchange that opened it, whose memory is not needed any more.
pub(super) struct Tunnel {
    record: StreamRecord,
    snapshot: Rc<Held>,
    upstream: UpstreamConnection,
    ways: Ways,
    _permit: Option<RequestPermit>,
}

impl Tunnel {
    pub async fn run(mut self: Box<Self>, connection: &mut Connection) {
        let context = connection.context.clone();
        context.stats.tunnels_total.increment();
        context.stats.tunnels_active.increment();
        probes::tunnel_begin(self.record.request_id);
        let options = &self.snapshot.config.tunnel;
        let limits = tunnel::Limits { idle_timeout: options.idle_timeout, max_duration: options.max_duration };
        let Tunnel { record, snapshot, upstream, ways, .. } = &mut *self;
        let (stream, deadline, client) = (&connection.stream, &connection.deadline, &connection.client);
        let revoked = || revoked(&context, snapshot, record, client.ip());
        let end = tunnel::relay(stream, &upstream.stream, ways, &context.event_loop, deadline, limits, revoked).await;
        context.stats.tunnels_active.decrement();
        self.record.received.set(self.ways.received.get());
        self.record.sent.set(self.record.sent.get() + self.ways.sent.get());
        let named = |ending: Ending| (ending.flag, ending.reason);
        let shape = |fault: Fault| (fault.shape().flag, fault.shape().reason);
        let ((flag, reason), detail) = match &end {
            TunnelEnd::Finished => (("", ""), None),
            TunnelEnd::Idle if context.drain.phase() == Phase::Expired => (shape(Fault::DrainTimeout), None),
            TunnelEnd::Idle => (named(reasons::TUNNEL_IDLE), None),
            TunnelEnd::MaxDuration => (named(reasons::TUNNEL_MAX_DURATION), None),
            TunnelEnd::Revoked(reason) => {
                context.stats.tunnels_revoked.increment();
                (named(reasons::POLICY_REVOKED), Some(reason.clone()))
            }
            TunnelEnd::ClientFailed(error) => (shape(Fault::ClientGone), Some(error.to_string())),
            TunnelEnd::UpstreamFailed(error) => (shape(Fault::UpstreamReset(error.kind().into())), Some(error.to_string())),
        };
        (self.record.flag, self.record.reason) = (flag, reason);
        self.record.detail = detail.map(String::into_boxed_str);
        if !matches!(end, TunnelEnd::Finished) {
            // Whoever is still there must not take this for an orderly end.
            connection.reset();
            let _ = socket2::SockRef::from(&self.upstream.stream).set_linger(Some(std::time::Duration::ZERO));
        }
        self.record.finish(connection);
    }
}

/// Why a tunnel may not go on under the snapshot in force, if that is another than it was judged by, and revokes. From
/// then on `judged` is that one, so that being asked again costs a comparison, and no old snapshot stays for a tunnel.
fn revoked(context: &Context, judged: &mut Rc<Held>, record: &StreamRecord, client: IpAddr) -> Option<String> {
    if context.is_in_force(judged) {
        return None;
    }
    *judged = context.snapshot();
    let cluster = record.cluster.as_ref().filter(|_| judged.config.policy.revoke)?;
    let Authority { host, port } = cluster.authority();
    let ask = Ask { client, host, port: *port, method: record.method() };
    let verdict = match (judged.policy.decide(&ask), record.endpoint) {
        (Some(verdict), _) => verdict,
        (None, Some(endpoint)) => {
            let full_name = cluster.full_name();
            judged.policy.judge(&ask, Resolved { full_name: full_name.as_deref(), address: endpoint.ip() })
        }
        // Nothing was dialled, so there is nothing to end.
        (None, None) => return None,
    };
    if !verdict.allowed {
        return Some(format!("denied by {}", verdict.rule.unwrap_or(DEFAULT)));
    }
    let endpoint = record.endpoint?;
    let class = judged.address_rules.check(endpoint).err()?;
    Some(format!("{} is {}", endpoint.ip(), class.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library's blocks are multiples of 16 with 8 to spare: a byte more takes the next one.
    #[test]
    fn a_tunnel_is_small() {
        assert!(size_of::<Tunnel>() <= 440, "{}", size_of::<Tunnel>());
    }
}
