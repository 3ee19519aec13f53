//! The admin API's page of clusters, in Envoy's form: `name::field::value`.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;

use crate::cluster::{ClusterView, OutlierView};
use crate::codec::authority::{Host, Name};
use crate::dns::HostView;
use crate::json;

type Hosts<'a> = HashMap<Name, &'a HostView>;

pub(super) fn text(clusters: &[ClusterView], hosts: &[HostView]) -> String {
    let hosts = by_name(hosts);
    let mut text = String::new();
    for cluster in clusters {
        write_text(&mut text, cluster, &hosts).expect("a String takes everything");
    }
    text
}

fn write_text(text: &mut String, cluster: &ClusterView, hosts: &Hosts<'_>) -> std::fmt::Result {
    let label = &cluster.label;
    for view in &cluster.breakers {
        let (key, name) = (view.breaker.key(), view.breaker.name());
        writeln!(text, "{label}::default_priority::{key}::{}", view.limit)?;
        writeln!(text, "{label}::circuit_breakers::{name}_open::{}", u8::from(view.open))?;
        writeln!(text, "{label}::circuit_breakers::remaining_{name}::{}", view.remaining)?;
    }
    for ((name, ..), value) in cluster.totals.iter() {
        writeln!(text, "{label}::{name}::{value}")?;
    }
    if let Some(host) = host_of(cluster, hosts) {
        writeln!(text, "{label}::dns::waiting::{}", host.waiters)?;
        if let Some(time_to_live) = host.time_to_live {
            writeln!(text, "{label}::dns::time_to_live_ms::{}", time_to_live.as_millis())?;
        }
        if let Some(error) = host.last_error {
            writeln!(text, "{label}::dns::last_error::{}", error.reason())?;
        }
    }
    for (address, outlier) in endpoints(cluster, hosts) {
        let endpoint = std::net::SocketAddr::new(address, cluster.authority.port);
        writeln!(text, "{label}::{endpoint}::health_flags::{}", health(outlier))?;
        if let Some(outlier) = outlier {
            writeln!(text, "{label}::{endpoint}::consecutive_failures::{}", outlier.failures)?;
            writeln!(text, "{label}::{endpoint}::tried_last_for_ms::{}", outlier.remaining.as_millis())?;
        }
    }
    Ok(())
}

pub(super) fn json(clusters: &[ClusterView], hosts: &[HostView]) -> String {
    let hosts = by_name(hosts);
    let entries: Vec<String> = clusters.iter().map(|cluster| cluster_json(cluster, &hosts)).collect();
    format!("{{\"cluster_statuses\":[{}]}}\n", entries.join(","))
}

fn cluster_json(cluster: &ClusterView, hosts: &Hosts<'_>) -> String {
    let breakers: Vec<String> = cluster
        .breakers
        .iter()
        .map(|view| {
            let (key, limit, remaining, open) = (view.breaker.key(), view.limit, view.remaining, view.open);
            format!("\"{key}\":{{\"limit\":{limit},\"remaining\":{remaining},\"open\":{open}}}")
        })
        .collect();
    let stats: Vec<String> = cluster.totals.iter().map(|((name, ..), value)| format!("\"{name}\":{value}")).collect();
    let endpoints: Vec<String> = endpoints(cluster, hosts)
        .map(|(address, outlier)| {
            let (failures, remaining) = outlier.map_or((0, 0), |outlier| (outlier.failures, outlier.remaining.as_millis()));
            format!(
                "{{\"address\":\"{address}\",\"health\":\"{}\",\"consecutive_failures\":{failures},\"tried_last_for_ms\":{remaining}}}",
                health(outlier)
            )
        })
        .collect();
    let dns = host_of(cluster, hosts).map(|host| {
        let time_to_live = host.time_to_live.map_or("null".to_owned(), |time| time.as_millis().to_string());
        let error = host.last_error.map_or("null".to_owned(), |error| json::string(error.reason()));
        format!(",\"dns\":{{\"waiting\":{},\"time_to_live_ms\":{time_to_live},\"last_error\":{error}}}", host.waiters)
    });
    format!(
        "{{\"name\":{},\"circuit_breakers\":{{{}}},\"stats\":{{{}}},\"endpoints\":[{}]{}}}",
        json::string(&cluster.label),
        breakers.join(","),
        stats.join(","),
        endpoints.join(","),
        dns.unwrap_or_default()
    )
}

fn by_name(hosts: &[HostView]) -> Hosts<'_> {
    hosts.iter().map(|host| (host.name, host)).collect()
}

fn host_of<'a>(cluster: &ClusterView, hosts: &Hosts<'a>) -> Option<&'a HostView> {
    match &cluster.authority.host {
        Host::Name(name) => hosts.get(name).copied(),
        Host::Address(_) => None,
    }
}

/// The addresses of a cluster, and what is held against them.
fn endpoints<'a>(cluster: &'a ClusterView, hosts: &Hosts<'_>) -> impl Iterator<Item = (IpAddr, Option<&'a OutlierView>)> {
    let addresses = match &cluster.authority.host {
        Host::Address(address) => vec![*address],
        Host::Name(_) => host_of(cluster, hosts).map_or(Vec::new(), |host| host.addresses.clone()),
    };
    let outlier = |address| cluster.outliers.iter().find(|outlier| outlier.address == address);
    addresses.into_iter().map(move |address| (address, outlier(address)))
}

fn health(outlier: Option<&OutlierView>) -> &'static str {
    if outlier.is_some() { "/failed_outlier_check" } else { "healthy" }
}
