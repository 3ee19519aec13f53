//! Every key of `[cluster]` in a `[[cluster.override]]`: it holds for the host that it names, and for no other.

use std::time::{Duration, Instant};

use crate::kit::{BlackHole, DnsServer, Proxy, Script, ScriptedOrigin};
use crate::{OK, fetch, get, send, shown};

struct Scene {
    proxy: Proxy,
    origin: ScriptedOrigin,
    _dns: DnsServer,
}

impl Scene {
    /// The keys hold for `special.test`; `plain.test` is the same origin.
    fn new(keys: &str, script: Script) -> Self {
        let dns = DnsServer::start();
        dns.resolve("special.test", &["127.0.0.1"]).resolve("plain.test", &["127.0.0.1"]);
        let proxy = Proxy::builder().dns(&dns).config(&format!("[[cluster.override]]\nhosts = [\"special.test\"]\n{keys}\n")).start();
        Scene { proxy, origin: ScriptedOrigin::start([script]), _dns: dns }
    }

    fn special(&self) -> String {
        format!("special.test:{}", self.origin.port())
    }

    fn plain(&self) -> String {
        format!("plain.test:{}", self.origin.port())
    }

    #[track_caller]
    fn statuses(&self) -> (u16, u16) {
        (fetch(&self.proxy, &self.special()).head.status(), fetch(&self.proxy, &self.plain()).head.status())
    }

    /// Connections that two requests in a row take, to the special name and to the plain one.
    #[track_caller]
    fn connections(&self, pause: Duration) -> (usize, usize) {
        let count = |name: &str| {
            let before = self.origin.connections();
            for _ in 0..2 {
                assert_eq!(fetch(&self.proxy, name).head.status(), 200);
                std::thread::sleep(pause);
            }
            self.origin.connections() - before
        };
        (count(&self.special()), count(&self.plain()))
    }
}

#[test]
fn limits() {
    for (key, field) in [
        ("max_connections = 7", "max_connections"),
        ("max_pending_requests = 7", "max_pending_requests"),
        ("max_requests = 7", "max_requests"),
        ("max_retries = 7", "max_retries"),
        ("retry_budget = { budget_percent = 10, min_retry_concurrency = 7 }", "max_retries"),
    ] {
        let scene = Scene::new(key, Script::always(OK));
        assert_eq!(scene.statuses(), (200, 200));
        let field = format!("default_priority::{field}");
        assert_eq!(shown(&scene.proxy, &scene.special(), &field), "7");
        assert_ne!(shown(&scene.proxy, &scene.plain(), &field), "7");
    }
}

#[test]
fn times() {
    let slow = || {
        Script::new()
            .request()
            .reply_with(|_| {
                std::thread::sleep(Duration::from_millis(600));
                OK.into()
            })
            .repeat()
    };
    for keys in [
        "request_timeout = \"200ms\"",
        "stream_idle_timeout = \"200ms\"",
        "max_stream_duration = \"200ms\"",
        "per_try_timeout = \"100ms\"\nnum_retries = 0",
    ] {
        assert_eq!(Scene::new(keys, slow()).statuses(), (504, 200), "{keys}");
    }
}

#[test]
fn pools() {
    let always = || Script::always(OK);
    let none = Duration::ZERO;
    assert_eq!(Scene::new("max_idle_connections = 0", always()).connections(none), (2, 1));
    assert_eq!(Scene::new("max_requests_per_connection = 1", always()).connections(none), (2, 1));
    let pause = Duration::from_millis(1500);
    assert_eq!(Scene::new("pool_idle_timeout = \"100ms\"", always()).connections(pause), (2, 1));
    let pause = Duration::from_millis(150);
    assert_eq!(Scene::new("max_connection_duration = \"100ms\"", always()).connections(pause), (2, 1));
    let scene = Scene::new("preconnect_ratio = 2.0", always());
    assert_eq!(scene.statuses(), (200, 200));
    scene.origin.wait_for_open_connections(3);
}

#[test]
fn retries() {
    let scene = Scene::new("retry_on = []", Script::new().request().reply(OK).request());
    let fetch_twice = |name: &str| {
        let mut client = scene.proxy.client();
        [0, 1].map(|_| client.send(get(name)).expect_response().head.status())
    };
    assert_eq!(fetch_twice(&scene.special()), [200, 502]);
    assert_eq!(fetch_twice(&scene.plain()), [200, 200]);
}

#[test]
fn dialling() {
    let scene = Scene::new("connect_timeout = \"200ms\"", Script::always(OK));
    let hole = BlackHole::start();
    let started = Instant::now();
    assert_eq!(fetch(&scene.proxy, &format!("special.test:{}", hole.address().port())).head.status(), 504);
    assert!((200..2000).contains(&started.elapsed().as_millis()));

    let scene = Scene::new("source_addresses = [\"127.0.0.55\"]", Script::new().request().stall());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for (name, source) in [("special.test", "127.0.0.55"), ("plain.test", "127.0.0.1")] {
        let _client = send(&scene.proxy, &format!("{name}:{port}"));
        assert_eq!(listener.accept().expect("called").1.ip().to_string(), source);
    }
    let scene = Scene::new("source_addresses = [\"::1\"]", Script::always(OK));
    assert_eq!(scene.statuses(), (502, 200));
    let scene = Scene::new("interface = \"nowhere0\"", Script::always(OK));
    assert_eq!(scene.statuses(), (502, 200));
    let entry = scene.proxy.log_entry("of the fault", |entry| entry.status() == Some(502));
    assert!(entry.text("detail").contains("through interface nowhere0"), "{entry:?}");
    let scene = Scene::new("interface = \"lo\"", Script::always(OK));
    assert_eq!(scene.statuses(), (200, 200));
}

/// As the kernel shows it: `ss` names timer and user timeout of a socket.
#[test]
fn keep_alive() {
    let scene = Scene::new("tcp_keepalive = { idle = \"77s\" }", Script::new().request().stall());
    let clients = [send(&scene.proxy, &scene.special()), send(&scene.proxy, &scene.plain())];
    scene.origin.wait_for_requests(2);
    let port = scene.origin.port();
    let Ok(output) = std::process::Command::new("ss").args(["-tno", "dst", &format!("127.0.0.1:{port}")]).output() else {
        panic!("ss is needed to look at sockets");
    };
    let sockets = String::from_utf8_lossy(&output.stdout);
    assert_eq!(sockets.matches("timer:(keepalive,1min1").count(), 1, "{sockets}");
    drop(clients);
}
