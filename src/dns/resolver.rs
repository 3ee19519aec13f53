//! One look-up from beginning to end: names that need no server, then the servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::Name as WireName;
use hickory_resolver::system_conf::parse_resolv_conf;
use tracing::warn;

use super::Error;
use super::changed::Watched;
use super::entry::{Records, Replies, Reply};
use super::host::{Common, Host};
use super::hosts_file::HostsFile;
use super::progress::Progress;
use super::servers::Servers;
use crate::codec::authority::Name;
use crate::config::{self, DnsServer, LookupFamily};
use crate::probes;

pub(super) struct Resolver {
    common: Arc<Common>,
    sources: Mutex<Sources>,
}

/// Where answers come from, made when the first look-up wants them.
struct Sources {
    hosts_file: HostsFile,
    resolv_conf: Watched,
    built: Option<(Arc<config::Dns>, Arc<Servers>)>,
}

/// Where the system keeps what it knows of names; tests have their own.
pub(super) struct Paths {
    pub(super) resolv_conf: PathBuf,
    pub(super) hosts: PathBuf,
}

impl Resolver {
    pub(super) fn new(common: Arc<Common>, paths: Paths) -> Resolver {
        let sources = Sources { hosts_file: HostsFile::new(paths.hosts), resolv_conf: Watched::new(paths.resolv_conf), built: None };
        Resolver { common, sources: Mutex::new(sources) }
    }

    /// Looks up what this machine knows by itself.
    pub(super) fn local(&self, name: &Name) -> Option<Replies> {
        let settings = self.common.settings.load();
        let text = name.as_str();
        if text == "localhost" || text.ends_with(".localhost") {
            // RFC 6761 section 6.3: whatever a server says of these, they are here.
            return records_of(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], settings.lookup_family);
        }
        if !settings.use_hosts_file {
            return None;
        }
        records_of(self.sources().hosts_file.addresses(name), settings.lookup_family)
    }

    /// Asks the servers, and settles the host.
    pub(super) async fn look_up(&self, host: &Host) {
        let settings = self.common.settings.load_full();
        let stats = &self.common.stats;
        let (name, began) = (host.name().as_str(), Instant::now());
        probes::dns_begin(name);
        let replies = match self.servers(&settings) {
            Ok(servers) => {
                stats.query_attempt.increment();
                let replies = ask(host, &servers, &settings).await;
                match replies.outcome() {
                    Ok(()) => stats.query_success.increment(),
                    Err(error) => {
                        stats.query_failure.increment();
                        if error.is_timeout() {
                            stats.query_timeout.increment();
                        }
                    }
                }
                replies
            }
            Err(error) => Replies::failed(error),
        };
        probes::dns_end(name, replies.outcome().is_ok(), began.elapsed());
        host.settle(replies);
    }

    /// The servers in force: those configured, or the system's, which may change under us (DHCP, VPN).
    fn servers(&self, settings: &Arc<config::Dns>) -> Result<Arc<Servers>, Error> {
        let mut sources = self.sources();
        let needs_system = settings.servers.is_empty() || settings.use_search_domains;
        let is_stale = needs_system && sources.resolv_conf.has_changed();
        match &sources.built {
            Some((built_for, servers)) if !is_stale && Arc::ptr_eq(built_for, settings) => return servers_or_error(servers),
            _ => {}
        }
        let system = if needs_system { read_system(&sources.resolv_conf) } else { System::default() };
        let servers = if settings.servers.is_empty() { &system.servers } else { &settings.servers };
        let search = if settings.use_search_domains { system.search } else { Vec::new() };
        let servers = Arc::new(Servers::new(servers, search, settings));
        sources.built = Some((settings.clone(), servers.clone()));
        servers_or_error(&servers)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

async fn ask(host: &Host, servers: &Servers, settings: &config::Dns) -> Replies {
    let Ok(absolute) = WireName::from_ascii(format!("{}.", host.name())) else { return Replies::failed(Error::NotFound) };
    let is_single_label = !host.name().as_str().contains('.');
    let search = if is_single_label { servers.search.as_slice() } else { &[] };
    let searched = search.iter().filter_map(|domain| {
        let mut name = WireName::from_ascii(host.name().as_str()).ok()?.append_domain(domain).ok()?;
        // A name in a message is absolute, and hickory does not take it for equal to one that is not.
        name.set_fqdn(true);
        // What the policy cannot be asked about is not asked for.
        let full_name = Name::parse(name.to_ascii().as_bytes()).ok()?;
        Some((name, Some(Arc::new(full_name))))
    });
    let names: Vec<_> = searched.chain([(absolute, None)]).collect();

    let mut replies = Replies::failed(Error::NotFound);
    let deadline = tokio::time::Instant::now() + settings.query_timeout;
    for (name, full_name) in &names {
        let named = |replies| Replies { name: full_name.clone(), ..replies };
        let progress = Progress::new(settings.lookup_family, name);
        let asked = tokio::time::timeout_at(deadline, servers.ask(&progress));
        tokio::pin!(asked);
        tokio::select! {
            _ = &mut asked => {}
            () = progress.early() => {
                host.publish(named(progress.replies()));
                let _ = asked.await;
            }
        }
        replies = named(progress.finish());
        if replies.outcome() != Err(Error::NotFound) {
            break;
        }
    }
    replies
}

/// What resolv.conf(5) has for us.
#[derive(Default)]
struct System {
    servers: Vec<DnsServer>,
    search: Vec<WireName>,
}

fn read_system(file: &Watched) -> System {
    let path = file.path().display();
    let text = match file.read() {
        Ok(text) => text,
        Err(error) => {
            warn!(%error, "cannot read {path}; names cannot be looked up until it is there or [dns] servers is set");
            return System::default();
        }
    };
    match parse_resolv_conf(text) {
        Ok((config, _)) => {
            let servers = config.name_servers().iter().map(|server| DnsServer::Udp(SocketAddr::new(server.ip, 53)));
            System { servers: servers.collect(), search: config.search().to_vec() }
        }
        Err(error) => {
            warn!(%error, "cannot use {path}; names cannot be looked up until it names a server or [dns] servers is set");
            System::default()
        }
    }
}

fn servers_or_error(servers: &Arc<Servers>) -> Result<Arc<Servers>, Error> {
    if servers.is_empty() { Err(Error::NotConfigured) } else { Ok(servers.clone()) }
}

/// Local addresses of the families wanted; where there are none, the servers are asked, as the system's own resolver does.
fn records_of(addresses: &[IpAddr], lookup_family: LookupFamily) -> Option<Replies> {
    let reply = |is_wanted: bool, is_family: fn(&IpAddr) -> bool| {
        let addresses: Vec<IpAddr> = addresses.iter().copied().filter(is_family).collect();
        match (is_wanted, addresses.is_empty()) {
            (false, _) => Reply::NotAsked,
            (true, true) => Reply::Ended(Err(Error::NoAddresses)),
            // Looked at again after `min_refresh_rate`: an edit shows soon, and looking costs nothing.
            (true, false) => Reply::Ended(Ok(Records { addresses, time_to_live: Duration::ZERO })),
        }
    };
    let v4 = reply(lookup_family != LookupFamily::V6Only, IpAddr::is_ipv4);
    let v6 = reply(lookup_family != LookupFamily::V4Only, IpAddr::is_ipv6);
    let replies = Replies { v4, v6, name: None };
    replies.outcome().is_ok().then_some(replies)
}
