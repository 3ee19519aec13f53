//! The proxy as a process, started as a service manager does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::manager::Manager;

pub struct Daemon(Child);

impl Daemon {
    /// Starts with what `manager` keeps, and with `variables`.
    pub fn start(config: &Path, manager: &Manager, variables: &[(&str, &str)]) -> Daemon {
        // Passed descriptors begin at 3 and survive exec, and LISTEN_PID is the process's own: a shell sees to both.
        let state = manager.state();
        let mut script = String::from("export LISTEN_PID=$$;");
        let mut copies = Vec::new();
        for (number, (_, descriptor)) in (3..).zip(&state.kept) {
            let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, 100).expect("a descriptor");
            script.push_str(&format!(" exec {number}<&{0} {0}<&-;", copy.as_raw_fd()));
            copies.push(copy);
        }
        script.push_str(" exec \"$0\" \"$@\"");
        let names: Vec<&str> = state.kept.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new("bash");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_outrider"), "--config"])
            .arg(config)
            .env("NOTIFY_SOCKET", &manager.path)
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // In the child alone: what another test starts meanwhile must not inherit them.
        let inherit = move || copies.iter().try_for_each(|copy| Ok(rustix::io::fcntl_setfd(copy, rustix::io::FdFlags::empty())?));
        // SAFETY: it makes system calls and nothing else.
        unsafe { command.pre_exec(inherit) };
        let child = command.spawn().expect("started");
        Daemon(child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Waits for its end, and returns what it printed, too.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut text = String::new();
        self.0.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        (self.0.wait().expect("waited for"), text)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if std::thread::panicking()
            && let Some(mut pipe) = self.0.stderr.take()
        {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text);
            eprintln!("--- the proxy printed:\n{text}---");
        }
    }
}

/// A port that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
}

pub fn config(directory: &Path, addresses: &[SocketAddr], workers: usize) -> std::path::PathBuf {
    let addresses: Vec<String> = addresses.iter().map(|address| format!("{address:?}")).map(|text| format!("\"{text}\"")).collect();
    let path = directory.join("outrider.toml");
    let text = format!(
        "[server]\nworkers = {workers}\ndrain_timeout = \"5s\"\n[[listener]]\nname = \"test\"\naddresses = [{}]\n[dns]\nservers = [\"127.0.0.1:1\"]\n",
        addresses.join(", ")
    );
    std::fs::write(&path, text).expect("written");
    path
}

/// Connects, which asks nothing of the proxy but of the kernel.
#[expect(clippy::disallowed_methods, reason = "a test may block")]
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Asks for a page of the proxy's own on a connection that is there.
#[track_caller]
pub fn ask(stream: &mut TcpStream, path: &str) -> String {
    try_ask(stream, path).expect("an answer")
}

pub fn try_ask(stream: &mut TcpStream, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map(|_| text)
}

#[track_caller]
pub fn expect_service(address: SocketAddr) {
    let answer = ask(&mut connect(address).expect("connected"), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Waits for something that no message tells of.
#[expect(clippy::disallowed_methods, reason = "a test may block")]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
