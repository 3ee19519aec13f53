//! What comes out of what servers, files and names say.

use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;

use super::server::{Rule, answer, texts};
use super::*;

#[tokio::test(start_paused = true)]
async fn both_families_in_the_order_to_try() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["2001:db8::1", "192.0.2.1", "192.0.2.2"])));
    assert_eq!((scene.attempts(), scene.server.asked_in_all()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn one_family_only_is_asked_for_if_so_configured() {
    let scene = Scene::with(|settings| settings.lookup_family = LookupFamily::V4Only).await;
    scene.server.answer("www.example", 60, &["192.0.2.1", "2001:db8::1"]);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.server.asked_in_all(), 1);
}

#[tokio::test(start_paused = true)]
async fn each_failure_has_its_name() {
    let scene = Scene::new().await;
    scene.server.answer("nodata.example", 60, &[]);
    scene.server.both("servfail.example", Rule::Code(ResponseCode::ServFail));
    scene.server.both("refused.example", Rule::Code(ResponseCode::Refused));
    assert_eq!(scene.resolve("nxdomain.example").await, Err(Error::NotFound));
    assert_eq!(scene.resolve("nodata.example").await, Err(Error::NoAddresses));
    assert_eq!(scene.resolve("servfail.example").await, Err(Error::ServerFailure));
    assert_eq!(scene.resolve("refused.example").await, Err(Error::Refused));
    assert_eq!(scene.directory.stats().query_failure.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_family_is_enough() {
    let scene = Scene::new().await;
    scene.server.rule("www.example", RecordType::A, answer(60, &["192.0.2.1"]));
    scene.server.rule("www.example", RecordType::AAAA, Rule::Code(ResponseCode::ServFail));
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_aliases() {
    let scene = Scene::new().await;
    scene.server.answer("www.example", 60, &["a.example", "b.example", "192.0.2.1"]);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.server.asked("b.example"), 1, "no SOA said that it has no AAAA");
}

#[tokio::test(start_paused = true)]
async fn aliases_that_the_server_leaves_to_us() {
    let scene = Scene::with(|settings| settings.lookup_family = LookupFamily::V4Only).await;
    scene.server.answer("www.example", 60, &["a.example"]);
    scene.server.answer("a.example", 60, &["b.example"]);
    scene.server.answer("b.example", 60, &["192.0.2.1"]);
    scene.server.answer("loop.example", 60, &["pool.example"]);
    scene.server.answer("pool.example", 60, &["loop.example"]);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.resolve("loop.example").await, Err(Error::ServerFailure));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let scene = Scene::with(|settings| settings.lookup_family = LookupFamily::V4Only).await;
    let all: Vec<String> = (1..=100).map(|last| format!("192.0.2.{last}")).collect();
    scene.server.both("big.example", Rule::Truncated(all.clone()));
    scene.server.both("big2.example", Rule::Truncated(texts(&["192.0.2.1"])));
    let addresses = scene.resolve("big.example").await.unwrap();
    assert_eq!(addresses.iter().map(|address| address.to_string()).collect::<Vec<_>>(), all);
    assert_eq!(scene.resolve("big2.example").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.server.asked_over_tcp(), 2);
}

#[tokio::test(start_paused = true)]
async fn servers_by_tcp_only_and_servers_from_before_edns() {
    let scene = Scene::new().await;
    scene.server.both("old.example", Rule::NoEdns(texts(&["192.0.2.1"])));
    assert_eq!(scene.resolve("old.example").await, Ok(ips(&["192.0.2.1"])));

    let mut settings = scene.settings.clone();
    settings.servers = vec![DnsServer::Tcp(scene.server.address)];
    scene.directory.reconfigure(&settings);
    scene.server.answer("tcp.example", 60, &["192.0.2.2", "2001:db8::2"]);
    assert_eq!(scene.resolve("tcp.example").await, Ok(ips(&["2001:db8::2", "192.0.2.2"])));
    assert_eq!(scene.server.asked_over_tcp(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_passed_over_and_left() {
    // A port that nobody listens on: its socket is gone when the look-up starts.
    let dead = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let scene = Scene::with(|settings| settings.servers.insert(0, DnsServer::Udp(dead))).await;
    scene.server.answer("*", 60, &["192.0.2.1"]);
    assert_eq!(scene.resolve("www.example").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.resolve("www2.example").await, Ok(ips(&["192.0.2.1"])));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_gets_a_share_of_the_time() {
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let scene = Scene::with(|settings| settings.servers.insert(0, DnsServer::Udp(address))).await;
    scene.server.answer("*", 60, &["192.0.2.1"]);
    let host = scene.host("www.example");
    let waiting = tokio::spawn(async move { host.resolve(None).await.map(|answer| answer.addresses.clone()) });
    let mut buffer = [0; 512];
    silent.recv(&mut buffer).await.unwrap();
    scene.after(Duration::from_millis(1700)).await;
    assert_eq!(waiting.await.unwrap(), Ok(ips(&["192.0.2.1"])));
    // The next name goes to the server that answers, without waiting.
    assert_eq!(scene.resolve("www2.example").await, Ok(ips(&["192.0.2.1"])));
}

#[tokio::test(start_paused = true)]
async fn localhost_is_here() {
    let scene = Scene::with(|settings| settings.servers.clear()).await;
    assert_eq!(scene.resolve("localhost").await, Ok(ips(&["::1", "127.0.0.1"])));
    assert_eq!(scene.resolve("app.localhost.").await, Ok(ips(&["::1", "127.0.0.1"])));
    assert_eq!(scene.resolve("www.example").await, Err(Error::NotConfigured));
    assert_eq!(scene.attempts(), 0);
}

struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let directory = std::env::temp_dir().join(format!("outrider-dns-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Files(directory)
    }

    fn write(&self, file: &str, text: &str) {
        // Renamed into place, as editors and resolvconf do.
        std::fs::write(self.0.join("new"), text).unwrap();
        std::fs::rename(self.0.join("new"), self.0.join(file)).unwrap();
    }

    fn paths(&self) -> Paths {
        Paths { resolv_conf: self.0.join("resolv.conf"), hosts: self.0.join("hosts") }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_hosts_file_comes_first_and_is_read_again() {
    let files = Files::new("hosts");
    files.write("hosts", "192.0.2.7 printer printer.example\n");
    let scene = Scene::with_paths(files.paths(), |settings| settings.use_hosts_file = true).await;
    assert_eq!(scene.resolve("printer").await, Ok(ips(&["192.0.2.7"])));
    files.write("hosts", "192.0.2.8 printer\n");
    scene.after(seconds(6)).await;
    assert_eq!(scene.resolve("printer").await, Ok(ips(&["192.0.2.8"])));
    assert_eq!(scene.server.asked_in_all(), 0);
    assert_eq!(scene.resolve("printer.example").await, Err(Error::NotFound));
}

#[tokio::test(start_paused = true)]
async fn search_domains_only_if_asked_for() {
    let files = Files::new("search");
    files.write("resolv.conf", "nameserver 127.0.0.1\nsearch corp.example example\n");
    let scene = Scene::with_paths(files.paths(), |_| {}).await;
    scene.server.answer("wiki.example", 60, &["192.0.2.1"]);
    scene.server.answer("intra", 60, &["192.0.2.2"]);
    assert_eq!(scene.resolve("wiki").await, Err(Error::NotFound));

    let scene = Scene::with_paths(files.paths(), |settings| settings.use_search_domains = true).await;
    scene.server.answer("wiki.example", 60, &["192.0.2.1"]);
    scene.server.answer("intra", 60, &["192.0.2.2"]);
    assert_eq!(scene.resolve("wiki").await, Ok(ips(&["192.0.2.1"])));
    assert_eq!(scene.resolve("intra").await, Ok(ips(&["192.0.2.2"])));
    assert_eq!(scene.resolve("not.there").await, Err(Error::NotFound));
    assert_eq!(scene.server.asked("not.there.example"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_system_configuration_may_come_later() {
    let files = Files::new("resolv");
    let scene = Scene::with_paths(files.paths(), |settings| {
        settings.servers.clear();
        settings.failure_refresh_rate = seconds(1);
    })
    .await;
    assert_eq!(scene.resolve("www.example").await, Err(Error::NotConfigured));
    // Nobody answers on port 53 there; that it is asked is what counts.
    files.write("resolv.conf", "nameserver 127.255.255.1\n");
    scene.after(seconds(2)).await;
    assert_eq!(scene.resolve("www.example").await, Err(Error::Unreachable));
}
