//! Judging addresses: what becomes of a request whose rules look at what its host's name has become.

use std::net::IpAddr;
use std::sync::Arc;

use super::fault::Fault;
use super::stream::Exchange;
use crate::cluster::{Cluster, Gate, Judge, Unavailable, Want};
use crate::codec::authority::{Authority, Name};
use crate::filter::policy::{Ask, DEFAULT, Resolved, Verdict};
use crate::upstream::UpstreamConnection;

impl Exchange<'_> {
    /// A kept connection, to an address that this client may reach.
    pub(super) fn check_out(&mut self, cluster: &Cluster, may_repeat: bool) -> Option<UpstreamConnection> {
        if !self.judges_addresses {
            return cluster.check_out(may_repeat, None);
        }
        let judge = |full_name: Option<&Name>, address| self.judge(cluster, full_name, address).allowed;
        let upstream = cluster.check_out(may_repeat, Some(&judge))?;
        self.note_rule(cluster, cluster.full_name(), upstream.endpoint.ip());
        Some(upstream)
    }

    /// Makes a connection, or waits for one, to an address that the address rules and the policy allow.
    pub(super) async fn dial(&self, cluster: &Cluster, want: Want) -> Result<crate::cluster::Connected, Unavailable> {
        let judge = |full_name: Option<&Name>, address| self.judge(cluster, full_name, address).allowed;
        let judge = self.judges_addresses.then_some(&judge as &Judge<'_>);
        let gate = Gate { rules: &self.snapshot.address_rules, judge };
        cluster.connect(gate, want, &self.connection.deadline, self.connection.account.account()).await
    }

    /// Why there is no connection; where the policy denies all addresses, by which rule.
    pub(super) fn fault_of(&mut self, cluster: &Cluster, unavailable: Unavailable) -> Fault {
        if let Unavailable::PolicyDenied { address, full_name } = unavailable {
            self.context.stats.policy_denied.increment();
            self.note_rule(cluster, full_name, address);
            return Fault::Denied;
        }
        unavailable.into()
    }

    /// Names the rule by which an address was judged.
    pub(super) fn note_rule(&mut self, cluster: &Cluster, full_name: Option<Arc<Name>>, address: IpAddr) {
        let snapshot = self.snapshot.clone();
        let Authority { host, port } = cluster.authority();
        let ask = Ask { client: self.connection.client.ip(), host, port: *port, method: self.record.method() };
        let verdict = snapshot.policy.judge(&ask, Resolved { full_name: full_name.as_deref(), address });
        self.record.set_rule(verdict.rule.unwrap_or(DEFAULT));
    }

    fn judge(&self, cluster: &Cluster, full_name: Option<&Name>, address: IpAddr) -> Verdict<'_> {
        let Authority { host, port } = cluster.authority();
        let ask = Ask { client: self.connection.client.ip(), host, port: *port, method: self.record.method() };
        self.snapshot.policy.judge(&ask, Resolved { full_name, address })
    }
}
