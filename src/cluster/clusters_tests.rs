use super::*;
use crate::clients::{Client, ClientKey, Clients};
use crate::cluster::Want;

struct Process {
    config: Config,
    directory: Arc<Directory>,
    dns: Arc<dns::Directory>,
    /// So many destinations that only a test of clients meets their limit.
    client: Client,
    clients: Arc<Clients>,
}

impl Process {
    fn new(workers: usize, max_hosts: usize) -> Self {
        let mut config = Config::default();
        config.dns.max_hosts = max_hosts;
        config.dns.max_hosts_per_client = usize::MAX;
        let (dns, _driver) = dns::Driver::new(&config.dns);
        let clients = Clients::new();
        let client = clients.connect(ClientKey::V4([192, 0, 2, 1].into()), 1).unwrap();
        Process { directory: Directory::new(workers, &config), dns, config, client, clients }
    }

    fn worker(&self, worker: usize) -> Clusters {
        Clusters::new(&self.config, self.directory.clone(), worker, self.dns.clone(), Arc::default())
    }
}

fn authority(host: usize) -> Authority {
    Authority::parse(format!("host{host}.example").as_bytes(), Some(80)).unwrap()
}

fn known(clusters: &Clusters) -> usize {
    clusters.table.borrow().len()
}

#[test]
fn workers_find_each_other() {
    let process = Process::new(2, 1024);
    let (left, right) = (process.worker(0), process.worker(1));
    let mut config = process.config.clone();
    config.cluster.defaults.max_requests = 3;
    for worker in [&left, &right] {
        worker.reconfigure(&config);
    }
    let (here, there) =
        (left.get(&authority(1), process.client.account()).unwrap(), right.get(&authority(1), process.client.account()).unwrap());
    let permits = [here.admit_request().unwrap(), there.admit_request().unwrap(), there.admit_request().unwrap()];
    assert!(here.admit_request().is_err() && there.admit_request().is_err());
    assert!(left.get(&authority(2), process.client.account()).unwrap().admit_request().is_ok());
    drop(permits);
    assert!(here.admit_request().is_ok());
    assert_eq!(here.shared.totals().get("upstream_rq_pending_overflow"), 2);
    assert_eq!(process.directory.len(), 2);
    drop((here, there, left));
    assert_eq!(process.directory.len(), 1);
    drop(right);
    assert_eq!(process.directory.len(), 0);
}

#[test]
fn a_new_name_in_every_request_leaves_the_ones_in_use() {
    let process = Process::new(1, 64);
    let clusters = process.worker(0);
    let held = clusters.get(&authority(0), process.client.account()).unwrap();
    for host in 1..10_000 {
        clusters.get(&authority(host), process.client.account()).unwrap();
        // In every other request.
        clusters.get(&authority(1), process.client.account()).unwrap();
        assert!(known(&clusters) <= 64 && process.directory.len() <= 64);
    }
    assert!(Rc::ptr_eq(&held, &clusters.get(&authority(0), process.client.account()).unwrap()));
    assert_eq!(clusters.table.borrow().iter().filter(|cluster| cluster.authority == authority(1)).count(), 1);
    assert_eq!(process.directory.overflow(), 0);
}

#[test]
fn all_in_use_is_full() {
    let process = Process::new(1, 8);
    let clusters = process.worker(0);
    let mut held: Vec<_> = (0..8).map(|host| clusters.get(&authority(host), process.client.account()).unwrap()).collect();
    let refused = clusters.get(&authority(8), process.client.account());
    assert!(matches!(refused, Err(Unavailable::Dns(dns::Error::Overflow))));
    assert_eq!(process.directory.overflow(), 1);
    held.pop();
    assert!(clusters.get(&authority(8), process.client.account()).is_ok());
}

#[test]
fn what_one_worker_keeps_makes_room_for_another() {
    let process = Process::new(2, 64);
    let (left, right) = (process.worker(0), process.worker(1));
    (0..64).for_each(|host| drop(left.get(&authority(host), process.client.account()).unwrap()));
    assert!(process.directory.is_crowded() && known(&left) >= 48);
    for host in 100..200 {
        right.get(&authority(host), process.client.account()).unwrap();
        // What the call makes it do.
        left.heed_calls();
    }
    assert_eq!(process.directory.overflow(), 0);
    assert!((20..=36).contains(&known(&left)) && (20..=40).contains(&known(&right)), "{} and {}", known(&left), known(&right));
}

#[test]
fn a_client_has_its_own_limit() {
    let mut process = Process::new(2, 64);
    process.config.dns.max_hosts_per_client = 16;
    let (left, right) = (process.worker(0), process.worker(1));
    let (one, other) = (process.client.account(), process.clients.connect(ClientKey::V6(7), 1).unwrap());
    // What it does not use makes room for it.
    for host in 0..200 {
        left.get(&authority(host), one).unwrap();
        assert!(one.has(Share::Destinations) <= 16 && known(&left) <= 16);
    }
    let held: Vec<_> = (200..216).map(|host| left.get(&authority(host), one).unwrap()).collect();
    for host in 300..310 {
        for worker in [&left, &right] {
            let refused = worker.get(&authority(host), one);
            assert!(matches!(refused, Err(Unavailable::ClientOverflow(Share::Destinations))));
        }
    }
    assert_eq!((left.stats.clusters_client_overflow.get(), process.directory.overflow()), (10, 0));
    // What others have made, or it has made itself, it may use.
    let shared: Vec<_> = (400..410).map(|host| right.get(&authority(host), other.account()).unwrap()).collect();
    assert!(left.get(&authority(400), one).is_ok() && right.get(&authority(200), one).is_ok());
    assert_eq!(other.account().has(Share::Destinations), 10);
    drop(held);
    // One worker drops what is not in use for the sake of another; what both have, both drop.
    right.heed_calls();
    left.heed_calls();
    assert!(right.get(&authority(300), one).is_ok(), "{}", one.has(Share::Destinations));
    drop((shared, left, right));
    assert_eq!((one.has(Share::Destinations), other.account().has(Share::Destinations)), (0, 0));
}

#[tokio::test]
async fn idle_clusters_and_connections_go() {
    let mut process = Process::new(1, 1024);
    process.config.cluster.max_idle_connections_per_worker = 16;
    process.config.addresses.allow = vec!["127.0.0.0/8".parse().unwrap()];
    let clusters = process.worker(0);
    let rules = super::super::AddressRules::new(&process.config.addresses, Vec::new());
    let gate = super::super::Gate { rules: &rules, judge: None };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let destination = |last: usize| Authority::parse(format!("127.0.0.{last}:{port}").as_bytes(), None).unwrap();
    let deadline = crate::event_loop::Deadlines::default().register();
    // Listens on one address only; the others are of the same machine and refuse.
    let client = process.client.account();
    let cluster = clusters.get(&destination(1), client).unwrap();
    assert!(clusters.get(&destination(2), client).unwrap().connect(gate, Want::New, &deadline, client).await.is_err());
    let mut connections = Vec::new();
    for _ in 0..17 {
        connections.push(cluster.connect(gate, Want::New, &deadline, client).await.unwrap().connection);
    }
    let now = Instant::now();
    connections.into_iter().for_each(|connection| cluster.check_in(connection, now));
    assert_eq!(clusters.stats.upstream_cx_idle.get(), 17);
    clusters.shed_idle();
    assert_eq!(clusters.stats.upstream_cx_idle.get(), 14);
    // One turn closes no more than it may.
    let mut budget = 5;
    cluster.sweep(now + cluster.options().pool_idle_timeout, &mut budget);
    assert_eq!((clusters.stats.upstream_cx_idle.get(), budget), (9, 0));
    drop(cluster);
    let ttl = process.config.dns.host_ttl;
    clusters.sweep(now).await;
    assert_eq!(known(&clusters), 2);
    clusters.sweep(now + ttl).await;
    assert_eq!((known(&clusters), process.directory.len(), clusters.stats.upstream_cx_idle.get()), (0, 0, 0));
}
