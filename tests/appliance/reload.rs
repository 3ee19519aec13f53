//! `outrider reload`: in force when it returns, or not at all.

use std::path::Path;
use std::process::{Command, Output};

use crate::daemon::{Daemon, ask, config, connect, expect_service, free_address};
use crate::manager::Manager;

fn reload(socket: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrider")).arg("reload").arg("--socket").arg(socket).output().expect("run")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_good_file_is_in_force_and_a_bad_one_is_told() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let (first, second) = (free_address(), free_address());
    let file = config(directory.path(), &[first], 2);
    let socket = directory.path().join("admin.sock");
    let _daemon = Daemon::start(&file, &manager, &[("OUTRIDER_ADMIN_SOCKET", socket.to_str().expect("UTF-8"))]);
    manager.wait_for("READY=1");
    let mut early = connect(first).expect("connected");

    config(directory.path(), &[second, first], 2);
    let output = reload(&socket);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("configuration 2 is in force"), "{}", text(&output));
    expect_service(second);
    manager.wait_for("RELOADING=1");
    manager.wait_for("READY=1");
    assert_eq!(manager.kept(), 4);

    let good = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, format!("{good}\nnonsense = 1\n")).expect("written");
    let output = reload(&socket);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("nonsense"), "{}", text(&output));
    let status = manager.wait_for("READY=1");
    assert!(status.contains("configuration not reloaded: ") && status.contains("nonsense"), "{status}");
    expect_service(second);

    config(directory.path(), &[first], 2);
    assert!(reload(&socket).status.success());
    assert!(connect(second).is_err(), "the address that went refuses");
    assert!(ask(&mut early, "/healthz").starts_with("HTTP/1.1 200 "), "a connection from before goes on");
    manager.wait_for("READY=1");
    assert_eq!(manager.kept(), 2);
}

#[test]
fn files_of_conf_d_are_reloaded_with_the_main_one() {
    let (mut manager, directory) = (Manager::new(), tempfile::tempdir().expect("a directory"));
    let (first, second, third) = (free_address(), free_address(), free_address());
    let file = config(directory.path(), &[first], 1);
    let socket = directory.path().join("admin.sock");
    let _daemon = Daemon::start(&file, &manager, &[("OUTRIDER_ADMIN_SOCKET", socket.to_str().expect("UTF-8"))]);
    manager.wait_for("READY=1");

    let drop_ins = directory.path().join("conf.d");
    std::fs::create_dir(&drop_ins).expect("a directory");
    std::fs::write(drop_ins.join("more.toml"), format!("[[listener]]\naddresses = [\"{second}\"]\n")).expect("written");
    let output = reload(&socket);
    assert!(output.status.success(), "{}", text(&output));
    expect_service(first);
    expect_service(second);

    let bad = drop_ins.join("new.toml");
    std::fs::write(&bad, format!("[[listener]]\naddresses = [\"{third}\"]\nnonsense = 1\n")).expect("written");
    let output = reload(&socket);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains(&format!("--> {}:3:1", bad.display())), "{}", text(&output));
    expect_service(first);
    expect_service(second);
    assert!(connect(third).is_err(), "nothing of a bad file is in force");

    let check = || Command::new(env!("CARGO_BIN_EXE_outrider")).arg("check").arg(&file).output().expect("run");
    assert_eq!(check().status.code(), Some(2));
    std::fs::remove_file(&bad).expect("removed");
    let output = check();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("conf.d/more.toml: ok"), "{}", text(&output));
}

#[test]
fn nobody_to_ask_is_told() {
    let output = reload(Path::new("/nonexistent/admin.sock"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is Outrider running"), "{}", text(&output));
}

#[test]
fn the_lines_for_clients_are_those_of_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = free_address();
    let file = config(directory.path(), &[address], 1);
    let output = Command::new(env!("CARGO_BIN_EXE_outrider")).arg("env").arg("--config").arg(&file).output().expect("run");
    assert!(text(&output).starts_with(&format!("export http_proxy=http://{address}\n")), "{}", text(&output));
}
