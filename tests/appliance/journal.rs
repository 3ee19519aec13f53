//! What goes to the journal, and under which identifier.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

use crate::daemon::{ask, config, connect, free_address, wait_until};

#[test]
fn access_lines_have_a_stream_of_their_own() {
    let (directory, address) = (tempfile::tempdir().expect("a directory"), free_address());
    let socket = directory.path().join("systemd/journal/stdout");
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("made");
    let journald = UnixListener::bind(&socket).expect("bound");
    let output = UnixStream::connect(&socket).expect("connected");
    let (mut service, _) = journald.accept().expect("the service's own");
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .arg("--config")
        .arg(config(directory.path(), &[address], 1))
        .stdout(Stdio::from(OwnedFd::from(output)))
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let (access, _) = journald.accept().expect("the access log's");
    wait_until("it serves", || connect(address).is_ok());
    ask(&mut connect(address).expect("connected"), "/proxy.pac");
    let lines: Vec<String> = BufReader::new(access).lines().take(8).map(|line| line.expect("text")).collect();
    assert_eq!(lines[..7], ["outrider-access", "", "6", "0", "0", "0", "0"]);
    assert!(lines[7].starts_with("{\"time\":") && lines[7].contains("/proxy.pac"), "{lines:?}");
    child.kill().expect("it runs");
    child.wait().expect("waited for");
    let mut mixed = String::new();
    service.read_to_string(&mut mixed).expect("text");
    assert_eq!(mixed, "", "lines went to the service's own stream");
}

/// The service says what is wrong with a file; `systemctl reload` prints to the same journal.
#[test]
fn a_mistake_is_told_once() {
    let (directory, address) = (tempfile::tempdir().expect("a directory"), free_address());
    let (file, socket) = (config(directory.path(), &[address], 1), directory.path().join("admin.sock"));
    let log = directory.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_outrider"))
        .arg("--config")
        .arg(&file)
        .arg("--admin-socket")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(File::create(&log).expect("made"))
        .spawn()
        .expect("started");
    wait_until("it serves", || connect(address).is_ok() && socket.exists());
    std::fs::write(&file, "nonsense = 1\n").expect("written");
    let reload = |is_in_journal: bool| {
        let path = directory.path().join("printed");
        let printed = File::create(&path).expect("made");
        let metadata = printed.metadata().expect("there");
        let stream = if is_in_journal { format!("{}:{}", metadata.dev(), metadata.ino()) } else { "0:0".to_owned() };
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrider"));
        command.arg("reload").arg("--socket").arg(&socket).env("JOURNAL_STREAM", stream).stderr(printed);
        assert_eq!(command.status().expect("run").code(), Some(2));
        std::fs::read_to_string(path).expect("text")
    };
    assert_eq!(reload(true), "");
    assert!(reload(false).contains("unknown key `nonsense`"));
    wait_until("it is logged", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("unknown key `nonsense`")));
    child.kill().expect("it runs");
    child.wait().expect("waited for");
}
