//! The proxy as a process of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{DEADLINE, DnsServer, Peer};

pub use rustix::process::Signal;

/// A running proxy, killed when the value goes. What it printed is shown when a test fails.
pub struct Proxy {
    child: Child,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    standard_output: Arc<Captured>,
    standard_error: Arc<Captured>,
    directory: tempfile::TempDir,
}

/// A configuration in the making. What a test does not set is made for tests: one worker, port
/// zero, loopback may be dialled, everybody may do everything.
pub struct ProxyBuilder {
    tables: Vec<(&'static str, Vec<String>)>,
    more: String,
    log_level: Option<String>,
    environment: Vec<(&'static str, String)>,
}

/// Lines that a process printed.
#[derive(Default)]
struct Captured {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

/// One line of the access log.
#[derive(Debug, Clone)]
pub struct LogEntry(serde_json::Value);

impl Proxy {
    pub fn builder() -> ProxyBuilder {
        // A resolver that refuses at once, lest a forgotten name go out to the network.
        ProxyBuilder { tables: Vec::new(), more: String::new(), log_level: None, environment: Vec::new() }
            .with("server", "workers = 1\ndrain_timeout = \"5s\"")
            .with("http1", "via = \"outrider\"")
            .with("listener", "name = \"test\"\naddresses = [\"127.0.0.1:0\"]")
            .with("dns", "servers = [\"udp://127.0.0.1:1\"]")
            .with("addresses", "allow = [\"127.0.0.0/8\", \"::1/128\"]")
            .with("tunnel", "ports = [\"1-65535\"]")
            .with("admin", "address = \"127.0.0.1:0\"")
            .with("policy", "default = \"allow\"")
    }

    /// With the configuration for tests.
    pub fn start() -> Self {
        Self::builder().start()
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// A new connection to the proxy.
    #[track_caller]
    pub fn client(&self) -> Peer {
        Peer::connect("client", self.address())
    }

    /// A new connection from another address of 127.0.0.0/8.
    #[track_caller]
    pub fn client_from(&self, source: Ipv4Addr) -> Peer {
        Peer::connect_from("client", source.into(), self.address())
    }

    /// A new client that has a tunnel to `authority`.
    #[track_caller]
    pub fn tunnel(&self, authority: &str) -> Peer {
        let mut client = self.client();
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
        client.expect("HTTP/1.1 200 Connection established\r\n\r\n");
        client
    }

    /// The access log from its start; asks for the next line wait until it is there.
    pub fn access_log(&self) -> impl Iterator<Item = LogEntry> {
        (0..).map(|index| self.standard_output.line(index, "another line of the access log")).map(|line| LogEntry::parse(&line))
    }

    /// The first line of the access log that `matches`, waited for.
    #[track_caller]
    pub fn log_entry(&self, what: &str, matches: impl Fn(&LogEntry) -> bool) -> LogEntry {
        let find = |line: &String| Some(LogEntry::parse(line)).filter(&matches);
        let entry = self.standard_output.wait_for(find);
        entry.unwrap_or_else(|| panic!("no line of the access log {what}; there are:\n{}", self.standard_output.text()))
    }

    /// Lines of the access log so far.
    pub fn log_entries(&self) -> Vec<LogEntry> {
        self.standard_output.text().lines().map(LogEntry::parse).collect()
    }

    /// What the proxy printed for people.
    pub fn messages(&self) -> String {
        self.standard_error.text()
    }

    #[track_caller]
    pub fn wait_for_message(&self, part: &str) -> String {
        let line = self.standard_error.wait_for(|line| Some(line.clone()).filter(|line| line.contains(part)));
        line.unwrap_or_else(|| panic!("the proxy never printed {part:?}"))
    }

    /// A statistic by its name in Envoy's words, such as `http.downstream_rq_total`: the sum of its series, whatever their
    /// labels; for a histogram, how many values it holds. Panics where there is no such series.
    #[track_caller]
    pub fn stats(&self, name: &str) -> u64 {
        self.find_stats(name).unwrap_or_else(|| panic!("there is no series {name}"))
    }

    /// The same; `None` where there is no such series, as for a cluster's while no cluster is known.
    #[track_caller]
    pub fn find_stats(&self, name: &str) -> Option<u64> {
        let series = "outrider_".chars().chain(name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }));
        let series: String = series.collect();
        let text = self.admin_get("/stats/prometheus");
        let samples = text.lines().filter_map(|line| line.strip_prefix(series.as_str()));
        let samples = samples.filter_map(|rest| rest.strip_prefix("_count").unwrap_or(rest).strip_prefix([' ', '{']));
        let values = samples.filter_map(|rest| rest.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap_or_else(|_| panic!("{name} is {value:?}")) as u64).reduce(|sum, value| sum + value)
    }

    #[track_caller]
    pub fn wait_for_stat(&self, name: &str, reached: impl Fn(u64) -> bool) -> u64 {
        self.wait_for(name, || self.stats(name), reached)
    }

    /// The body of an answer of the admin API, whose status must be 200.
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> String {
        let (status, body) = self.admin(&format!("GET {path}"));
        assert_eq!(status, 200, "admin {path}: {body}");
        body
    }

    /// Asks the admin API, such as `GET /ready`; status and body.
    #[track_caller]
    pub fn admin(&self, request: &str) -> (u16, String) {
        let mut peer = Peer::connect("admin client", self.admin);
        peer.send(format!("{request} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", self.admin));
        let response = peer.expect_response();
        (response.head.status(), String::from_utf8(response.body).expect("text"))
    }

    /// How many descriptors the process holds, once that number stands still. Pipes are left out: a
    /// worker keeps a stock of them, whose size [`wait_for_descriptors`](Self::wait_for_descriptors) checks.
    pub fn open_descriptors(&self) -> usize {
        let count = || self.descriptors().iter().filter(|target| !target.starts_with("pipe:")).count();
        let until = Instant::now() + DEADLINE;
        let (mut last, mut same) = (count(), 0);
        while same < 5 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            let now = count();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// For how many descriptors the kernel has room in the process's table, and how many it may hold.
    pub fn descriptor_table(&self) -> (u64, u64) {
        (self.proc_number("status", "FDSize:"), self.proc_number("limits", "Max open files"))
    }

    /// Waits until the process holds no more than that many descriptors.
    #[track_caller]
    pub fn wait_for_descriptors(&self, most: usize) {
        let until = Instant::now() + DEADLINE;
        while self.open_descriptors() > most {
            assert!(Instant::now() < until, "more than {most} descriptors stay open: {:#?}", self.descriptors());
        }
        let pipes = self.descriptors().iter().filter(|target| target.starts_with("pipe:")).count();
        assert!(pipes <= 80, "{pipes} ends of pipes are open");
    }

    /// What the open descriptors are.
    pub fn descriptors(&self) -> Vec<String> {
        let directory = std::fs::read_dir(self.proc("fd")).expect("the process is there");
        let targets = directory.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.map(|target| target.to_string_lossy().into_owned()).collect()
    }

    /// Bytes of memory that the process has resident.
    pub fn resident_memory(&self) -> u64 {
        self.proc_number("status", "VmRSS:") * 1024
    }

    /// Waits until the process has no more than so many bytes resident.
    #[track_caller]
    pub fn wait_for_memory(&self, most: u64) {
        self.wait_for("resident memory", || self.resident_memory(), |resident| resident <= most);
    }

    /// CPU time that the process used, in user and kernel mode.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.proc("stat")).expect("the process is there");
        // The name in brackets may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        // Linux shows hundredths of a second here, whatever it counts in.
        Duration::from_millis(ticks * 10)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).expect("not zero");
        rustix::process::kill_process(pid, signal).expect("our child");
    }

    /// Waits until the process ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < until, "the proxy did not exit");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The configuration file, for a reload.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("outrider.toml")
    }

    /// A directory that goes with the proxy.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Puts the builder's configuration in the place of the one in force; [`Signal::HUP`] makes the proxy read it.
    pub fn rewrite_config(&self, builder: &ProxyBuilder) {
        std::fs::write(self.config_file(), builder.text()).expect("writable");
    }

    /// Looks again and again, for what no event tells of.
    #[track_caller]
    fn wait_for(&self, what: &str, look: impl Fn() -> u64, reached: impl Fn(u64) -> bool) -> u64 {
        let until = Instant::now() + DEADLINE;
        loop {
            let value = look();
            if reached(value) {
                return value;
            }
            assert!(Instant::now() < until, "{what} stays at {value}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The first number of a line in one of the process's files.
    fn proc_number(&self, file: &str, line: &str) -> u64 {
        let text = std::fs::read_to_string(self.proc(file)).expect("the process is there");
        let rest = text.lines().find_map(|each| each.strip_prefix(line)).expect("Linux has it");
        rest.split_whitespace().next().expect("a value").parse().expect("a number")
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy ({status:?}) printed:\n{}", self.standard_error.text());
            eprintln!("--- its access log:\n{}---", self.standard_output.text());
        }
    }
}

impl ProxyBuilder {
    /// Lines for a table of the configuration; a key set again takes the new value. `listener` is the first one.
    pub fn with(mut self, table: &'static str, lines: &str) -> Self {
        let index = self.tables.iter().position(|(name, _)| *name == table).unwrap_or_else(|| {
            self.tables.push((table, Vec::new()));
            self.tables.len() - 1
        });
        let table = &mut self.tables[index].1;
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let key = |line: &str| line.split('=').next().unwrap_or("").trim().to_owned();
            table.retain(|earlier| key(earlier) != key(line));
            table.push(line.to_owned());
        }
        self
    }

    /// Leaves a table out, so that its defaults hold.
    pub fn without(mut self, table: &str) -> Self {
        self.tables.retain(|(name, _)| *name != table);
        self
    }

    pub fn http1(self, lines: &str) -> Self {
        self.with("http1", lines)
    }

    pub fn cluster(self, lines: &str) -> Self {
        self.with("cluster", lines)
    }

    pub fn dns(self, server: &DnsServer) -> Self {
        // Names in tests are asked for as they are written, and nowhere else.
        self.with("dns", &format!("servers = [\"udp://{}\"]\nuse_hosts_file = false", server.address()))
    }

    /// More of the configuration, as it is written, such as a `[[policy.rule]]`.
    pub fn config(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self.more.push('\n');
        self
    }

    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = Some(level.to_owned());
        self
    }

    pub fn environment(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.tables {
            let (open, close) = if *name == "listener" { ("[[", "]]") } else { ("[", "]") };
            let _ = writeln!(text, "{open}{name}{close}\n{}\n", lines.join("\n"));
        }
        text + &self.more
    }

    #[track_caller]
    pub fn start(self) -> Proxy {
        let directory = tempfile::tempdir().expect("a place for temporary files");
        let file = directory.path().join("outrider.toml");
        std::fs::write(&file, self.text()).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
        command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(level) = &self.log_level {
            command.args(["--log-level", level]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the binary is built");
        let standard_output = Captured::read(child.stdout.take().expect("piped"));
        let standard_error = Captured::read(child.stderr.take().expect("piped"));
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut proxy = Proxy { child, addresses: Vec::new(), admin: unknown, standard_output, standard_error, directory };
        proxy.addresses = proxy.announced("listening on");
        proxy.admin = proxy.announced("admin on")[0];
        proxy
    }
}

impl Proxy {
    /// The addresses in the URLs after `words`, once the proxy printed them.
    #[track_caller]
    fn announced(&self, words: &str) -> Vec<SocketAddr> {
        let find = |line: &String| {
            let (_, urls) = line.split_once(words)?;
            let addresses = urls.split("http://").skip(1).map(|url| url.trim_end_matches([',', ' ', '/']).parse());
            addresses.collect::<Result<Vec<_>, _>>().ok().filter(|addresses| !addresses.is_empty())
        };
        let found = self.standard_error.wait_for(find);
        found.unwrap_or_else(|| panic!("the proxy did not say where it is ({words})"))
    }
}

impl LogEntry {
    #[track_caller]
    fn parse(line: &str) -> Self {
        Self(serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON in the access log: {error}: {line}")))
    }

    /// A text, or nothing where the key is missing.
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or("")
    }

    pub fn number(&self, key: &str) -> Option<f64> {
        self.0[key].as_f64()
    }

    pub fn status(&self) -> Option<u64> {
        self.0["status"].as_u64()
    }

    pub fn reused(&self) -> bool {
        self.0["reused"].as_bool().unwrap_or(false)
    }

    pub fn has(&self, key: &str) -> bool {
        !self.0[key].is_null()
    }
}

impl Captured {
    fn read(source: impl Read + Send + 'static) -> Arc<Self> {
        let captured = Arc::new(Self::default());
        std::thread::spawn({
            let captured = Arc::clone(&captured);
            move || {
                for line in BufReader::new(source).split(b'\n') {
                    let Ok(line) = line else { break };
                    captured.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                    captured.changed.notify_all();
                }
                captured.lock().ended = true;
                captured.changed.notify_all();
            }
        });
        captured
    }

    /// Waits for a line that `find` makes something of.
    fn wait_for<T>(&self, find: impl Fn(&String) -> Option<T>) -> Option<T> {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.lock();
        let mut seen = 0;
        loop {
            if let Some(found) = lines.lines[seen..].iter().find_map(&find) {
                return Some(found);
            }
            seen = lines.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    #[track_caller]
    fn line(&self, index: usize, what: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.lines.get(index) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!lines.ended && !left.is_zero(), "no {what}");
            lines = self.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn text(&self) -> String {
        self.lock().lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
