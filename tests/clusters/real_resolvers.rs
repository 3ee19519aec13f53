//! Name servers that others wrote, unbound and dnsmasq, as Debian packages them. Where they are not
//! installed these tests say so and pass; in CI, which installs them, they fail.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::kit::{DEADLINE, Proxy, ProxyBuilder, Script, ScriptedOrigin};
use crate::{OK, fetch, get, reason_of};

/// Over each transport: a name, one that does not exist, and one whose answer is too long for UDP.
#[test]
fn unbound_over_each_transport() {
    let Some(program) = find("unbound") else { return };
    let unbound = Unbound::start(&program);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let urls = [
        ("udp", format!("udp://127.0.0.1:{}", unbound.plain)),
        ("tcp", format!("tcp://127.0.0.1:{}", unbound.plain)),
        ("tls", format!("tls://127.0.0.1:{}#resolver.test", unbound.tls)),
        ("https", format!("https://127.0.0.1:{}/dns-query#resolver.test", unbound.https)),
    ];
    for (transport, url) in urls {
        let proxy = unbound.trusted_by(asking(&url)).start();
        let before = unbound.counted();
        assert_eq!(fetch(&proxy, &format!("origin.test:{}", origin.port())).head.status(), 200, "{transport}");
        let of_one_name = unbound.counted() - before;
        let expected = match transport {
            "udp" => Counted { all: 2, ..Counted::default() },
            "tcp" => Counted { all: 2, tcp: 2, ..Counted::default() },
            "tls" => Counted { all: 2, tcp: 2, tls: 2, ..Counted::default() },
            _ => Counted { all: 2, tcp: 2, tls: 2, https: 2 },
        };
        assert_eq!(of_one_name, expected, "A and AAAA over {transport}");
        let before = unbound.counted();
        assert_eq!(fetch(&proxy, &format!("many.test:{}", origin.port())).head.status(), 200, "{transport}");
        assert!((unbound.counted() - before).tcp >= 1, "{transport}");
        assert_eq!(fetch(&proxy, "missing.test:80").head.status(), 502, "{transport}");
        assert_eq!(reason_of(&proxy, 502), "dns_name_not_found", "{transport}");
    }
    assert_eq!(origin.requests().len(), 8);
}

/// A server whose certificate has another name is told nothing.
#[test]
fn unbound_with_another_name() {
    let Some(program) = find("unbound") else { return };
    let unbound = Unbound::start(&program);
    for url in [format!("tls://127.0.0.1:{}#other.test", unbound.tls), format!("https://127.0.0.1:{}/dns-query#other.test", unbound.https)]
    {
        let proxy = unbound.trusted_by(asking(&url)).start();
        assert_eq!(proxy.client().send(get("origin.test")).expect_response().head.status(), 502, "{url}");
    }
    assert_eq!(unbound.counted(), Counted::default());
}

/// The connection to a resolver ends when the resolver is restarted; the next name has a new one.
#[test]
fn unbound_after_a_restart() {
    let Some(program) = find("unbound") else { return };
    let mut unbound = Unbound::start(&program);
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    let proxies = [
        format!("tcp://127.0.0.1:{}", unbound.plain),
        format!("tls://127.0.0.1:{}#resolver.test", unbound.tls),
        format!("https://127.0.0.1:{}/dns-query#resolver.test", unbound.https),
    ]
    .map(|url| unbound.trusted_by(asking(&url)).start());
    for proxy in &proxies {
        assert_eq!(fetch(proxy, &format!("origin.test:{}", origin.port())).head.status(), 200);
    }
    unbound.restart(&program);
    for proxy in &proxies {
        assert_eq!(fetch(proxy, &format!("second.test:{}", origin.port())).head.status(), 200);
    }
}

#[test]
fn dnsmasq_with_an_alias() {
    let Some(program) = find("dnsmasq") else { return };
    let (_dnsmasq, port) = started(|| {
        let port = free_port();
        let mut command = Command::new(&program);
        command.args(["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--local=/test/"]);
        command.args(["--listen-address=127.0.0.1", "--pid-file=", "--user=", "--group="]);
        command.args(["--address=/origin.test/127.0.0.1", "--host-record=target.test,127.0.0.1", "--cname=alias.test,target.test"]);
        command.arg(format!("--port={port}"));
        (command, "started, version", port)
    });
    let origin = ScriptedOrigin::start([Script::always(OK)]);
    for transport in ["udp", "tcp"] {
        let proxy = asking(&format!("{transport}://127.0.0.1:{port}")).start();
        for name in ["origin.test", "alias.test"] {
            assert_eq!(fetch(&proxy, &format!("{name}:{}", origin.port())).head.status(), 200, "{name} over {transport}");
        }
        assert_eq!(fetch(&proxy, "missing.test:80").head.status(), 502);
        assert_eq!(reason_of(&proxy, 502), "dns_name_not_found", "{transport}");
    }
}

fn asking(url: &str) -> ProxyBuilder {
    Proxy::builder().with("dns", &format!("servers = [\"{url}\"]\nuse_hosts_file = false"))
}

/// Where Debian puts a program that need not be in a user's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = directories.map(|directory| directory.join(program)).find(|path| path.is_file());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is not installed, and CI has to test with it");
        println!("NOT TESTED: {program} is not installed");
    }
    found
}

/// An unbound that knows a few names, and goes with the value.
struct Unbound {
    plain: u16,
    tls: u16,
    https: u16,
    directory: tempfile::TempDir,
    process: Process,
}

/// Questions that unbound was asked; those over TLS are among those over TCP, and HTTPS among TLS.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counted {
    all: u64,
    tcp: u64,
    tls: u64,
    https: u64,
}

impl Unbound {
    fn start(program: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a place for temporary files");
        let made = rcgen::generate_simple_self_signed(["resolver.test".to_owned()]).expect("a valid name");
        std::fs::write(directory.path().join("certificate.pem"), made.cert.pem()).expect("writable");
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).expect("writable");
        let (process, [plain, tls, https]) = started(|| {
            let ports = [free_port(), free_port(), free_port()];
            std::fs::write(directory.path().join("unbound.conf"), configuration(directory.path(), ports)).expect("writable");
            (command(program, directory.path()), "start of service", ports)
        });
        Unbound { plain, tls, https, directory, process }
    }

    /// On the same ports, which nobody else is given meanwhile: connections of the old one linger on them.
    fn restart(&mut self, program: &Path) {
        self.process.stop();
        let directory = self.directory.path();
        self.process = started(|| (command(program, directory), "start of service", ())).0;
    }

    fn trusted_by(&self, proxy: ProxyBuilder) -> ProxyBuilder {
        proxy.environment("SSL_CERT_FILE", self.file("certificate.pem").display().to_string())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn counted(&self) -> Counted {
        let control = find("unbound-control").expect("comes with unbound");
        let output = Command::new(control).arg("-c").arg(self.file("unbound.conf")).arg("stats_noreset").output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {output:?}"))
        };
        Counted {
            all: count("total.num.queries"),
            tcp: count("num.query.tcp"),
            tls: count("num.query.tls"),
            https: count("num.query.https"),
        }
    }
}

impl std::ops::Sub for Counted {
    type Output = Counted;

    fn sub(self, before: Counted) -> Counted {
        Counted { all: self.all - before.all, tcp: self.tcp - before.tcp, tls: self.tls - before.tls, https: self.https - before.https }
    }
}

fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("-d").arg("-c").arg(directory.join("unbound.conf"));
    command
}

fn configuration(directory: &Path, [plain, tls, https]: [u16; 3]) -> String {
    let directory = directory.display();
    let mut text = format!(
        "server:
    verbosity: 1
    use-syslog: no
    logfile: \"\"
    do-daemonize: no
    username: \"\"
    chroot: \"\"
    directory: \"{directory}\"
    pidfile: \"\"
    so-reuseport: no
    num-threads: 1
    extended-statistics: yes
    module-config: \"iterator\"
    interface: 127.0.0.1@{plain}
    interface: 127.0.0.1@{tls}
    interface: 127.0.0.1@{https}
    tls-port: {tls}
    https-port: {https}
    http-endpoint: \"/dns-query\"
    tls-service-key: \"{directory}/key.pem\"
    tls-service-pem: \"{directory}/certificate.pem\"
    local-zone: \"test.\" static
    local-data: \"origin.test. A 127.0.0.1\"
    local-data: \"second.test. A 127.0.0.1\"
"
    );
    // More than the 1232 bytes that fit a datagram; all of them this machine.
    for number in 1..=100 {
        let _ = writeln!(text, "    local-data: \"many.test. A 127.0.0.{number}\"");
    }
    let _ = write!(
        text,
        "remote-control:
    control-enable: yes
    control-interface: \"{directory}/control\"
    control-use-cert: no
"
    );
    text
}

/// A child that ends with the value.
struct Process(Child);

impl Process {
    fn stop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free for UDP and TCP a moment ago.
fn free_port() -> u16 {
    let try_one = |_| {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
        TcpListener::bind(udp.local_addr().ok()?).ok()?.local_addr().ok()
    };
    (0..100).find_map(try_one).expect("a port that is free for both").port()
}

/// Runs what `prepare` makes until it says that it is ready. Somebody may have taken its ports
/// before it could; then it ends, and another try has others.
#[track_caller]
fn started<T>(mut prepare: impl FnMut() -> (Command, &'static str, T)) -> (Process, T) {
    let mut printed = String::new();
    for _ in 0..10 {
        let (mut command, ready, value) = prepare();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be run");
        let output = BufReader::new(child.stderr.take().expect("piped"));
        let process = Process(child);
        let (sender, lines) = mpsc::channel();
        // Reads on, lest the program wait for somebody to read.
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        while let Ok(line) = lines.recv_timeout(DEADLINE) {
            if line.contains(ready) {
                return (process, value);
            }
            printed.push_str(&line);
            printed.push('\n');
        }
    }
    panic!("it does not start:\n{printed}");
}
