//! The directory against a scripted server: real sockets, a clock that only the test moves.

mod answers;
mod bounds;
mod server;
mod times;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use self::server::Server;
use super::resolver::Paths;
use super::{Answer, Directory, Driver, Error, Host};
use crate::codec::authority::Name;
use crate::config::{self, DnsServer, LookupFamily};

struct Scene {
    directory: Arc<Directory>,
    server: Server,
    settings: config::Dns,
    driver: JoinHandle<()>,
    _frozen: std::sync::mpsc::Sender<()>,
}

impl Scene {
    async fn new() -> Scene {
        Scene::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Dns)) -> Scene {
        let no_file = || PathBuf::from("/nonexistent/outrider");
        Scene::with_paths(Paths { resolv_conf: no_file(), hosts: no_file() }, change).await
    }

    async fn with_paths(paths: Paths, change: impl FnOnce(&mut config::Dns)) -> Scene {
        let server = Server::start().await;
        let mut settings = settings();
        settings.servers = vec![DnsServer::Udp(server.address)];
        change(&mut settings);
        let (directory, driver) = Driver::with_paths(&settings, paths);
        Scene { directory, server, settings, driver: tokio::spawn(driver.run()), _frozen: freeze() }
    }

    fn host(&self, text: &str) -> Arc<Host> {
        self.directory.host(&name(text)).unwrap()
    }

    async fn resolve(&self, text: &str) -> Result<Vec<IpAddr>, Error> {
        self.host(text).resolve(None).await.map(|answer| answer.addresses.clone())
    }

    /// Polls sockets and tasks until `condition`, without letting the clock move.
    async fn until(&self, condition: impl Fn(&Scene) -> bool) {
        let start = std::time::Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "it never came to that");
            tokio::task::yield_now().await;
        }
    }

    /// Moves the clock, and lets everybody do what was due.
    async fn after(&self, time: Duration) {
        tokio::time::advance(time).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    fn attempts(&self) -> u64 {
        self.directory.stats().query_attempt.get()
    }
}

/// A paused clock runs on by itself when all tasks wait, be it for a socket; not while a blocking task runs. A test that waits for
/// what never comes gets its clock back after a minute, and fails instead of hanging.
fn freeze() -> std::sync::mpsc::Sender<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || receiver.recv_timeout(seconds(60)));
    sender
}

fn settings() -> config::Dns {
    config::Dns {
        servers: Vec::new(),
        lookup_family: LookupFamily::Auto,
        min_refresh_rate: Duration::from_secs(5),
        max_refresh_rate: Duration::from_secs(3600),
        failure_refresh_rate: Duration::from_secs(2),
        query_timeout: Duration::from_secs(5),
        host_ttl: Duration::from_secs(300),
        max_hosts: 1024,
        max_hosts_per_client: 256,
        max_pending_requests: 1024,
        max_pending_requests_per_client: 256,
        max_stale: Duration::from_secs(600),
        preresolve_hostnames: Vec::new(),
        use_search_domains: false,
        use_hosts_file: false,
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn addresses(answer: Option<Arc<Answer>>) -> Option<Vec<IpAddr>> {
    answer.map(|answer| answer.addresses.clone())
}
