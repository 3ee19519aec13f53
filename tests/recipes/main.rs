//! The rows of docs/clients.md, pasted on a machine that is fresh, for clients that are installed here: each asks the real
//! proxy for a name of its own, and the access log says that it did.

#![allow(clippy::disallowed_methods, reason = "a test blocks on purpose; there is no worker to stop")]

#[path = "../kit/mod.rs"]
mod kit;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kit::Proxy;

/// Programs of the clients that CI installs, or has anyway.
const CHEAP: [&str; 8] = ["curl", "fish", "wget", "git", "apt-get", "pip3", "cargo", "nc"];

fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

/// A home that is empty, and the configuration of a running proxy.
struct Machine {
    proxy: Proxy,
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine { proxy: Proxy::start(), directory: tempfile::tempdir().expect("a directory") };
        let listener = format!("[[listener]]\nname = \"test\"\naddresses = [\"{}\"]\n", machine.proxy.address());
        fs::write(machine.path("outrider.toml"), listener).expect("written");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn home(&self) -> &Path {
        self.directory.path()
    }

    /// A shell in the empty home, in which nothing points at a proxy yet.
    fn shell(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(self.home());
        for (variable, directory) in [("RUSTUP_HOME", ".rustup"), ("PYENV_ROOT", ".pyenv")] {
            if let (None, Some(home)) = (std::env::var_os(variable), std::env::var_os("HOME")) {
                command.env(variable, PathBuf::from(home).join(directory));
            }
        }
        for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(variable).env_remove(variable.to_uppercase());
        }
        for variable in
            ["SUDO_USER", "XDG_CONFIG_HOME", "CARGO_HOME", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "DOCKER_CONFIG", "GIT_CONFIG_GLOBAL"]
        {
            command.env_remove(variable);
        }
        command.env("HOME", self.home()).env("OUTRIDER_CONFIG", self.path("outrider.toml"));
        command.output().expect("there is a shell")
    }

    /// `outrider env` with these arguments, which has to succeed; what it printed.
    #[track_caller]
    fn env(&self, arguments: &str) -> String {
        let output = self.shell(&format!("{} env {arguments}", env!("CARGO_BIN_EXE_outrider")));
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    fn env_fails(&self, arguments: &str) -> String {
        let output = self.shell(&format!("{} env {arguments}", env!("CARGO_BIN_EXE_outrider")));
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        String::from_utf8(output.stderr).expect("text")
    }

    /// Installs for `client`, runs `script` where `program` is there, and expects a request for `CLIENT.test` in the log. The
    /// script may fail: there is no such host.
    #[track_caller]
    fn asks_the_proxy(&self, client: &str, scope: &str, program: &str, script: &str) {
        self.env(&format!("--shell {client} {scope} --install"));
        if !self.shell(&format!("command -v {program}")).status.success() {
            assert!(!is_ci() || !CHEAP.contains(&program), "{program} is not installed, and CI has to test with it");
            println!("NOT RUN: {client}: there is no {program}");
            return;
        }
        let output = self.shell(script);
        let host = format!("{client}.test");
        let found = self.proxy.log_entries().iter().any(|entry| entry.text("target").contains(&host));
        if !found {
            println!("{script}:\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            self.proxy.log_entry(&format!("names {host}"), |entry| entry.text("target").contains(&host));
        }
    }
}

#[test]
fn shells_and_what_runs_in_them() {
    let machine = Machine::new();
    machine.asks_the_proxy("sh", "--user", "curl", ". ~/.profile; curl --silent http://sh.test/");
    machine.asks_the_proxy("node", "--user", "curl", ". ~/.profile; curl --silent http://node.test/; test $NODE_USE_ENV_PROXY = 1");
    machine.asks_the_proxy("fish", "--user", "fish", "fish -c 'curl --silent http://fish.test/'");
    let output = machine.shell(&format!("eval \"$({} env)\"; curl --silent http://eval.test/", env!("CARGO_BIN_EXE_outrider")));
    drop(output);
    machine.proxy.log_entry("of the variables", |entry| entry.text("target").contains("eval.test"));
}

#[test]
fn downloaders() {
    let machine = Machine::new();
    machine.asks_the_proxy("curl", "", "curl", "curl --silent http://curl.test/");
    machine.asks_the_proxy("wget", "--user", "wget", "wget --quiet --tries=1 http://wget.test/");
    machine.asks_the_proxy("git", "--user", "git", "GIT_CONFIG_NOSYSTEM=1 git ls-remote http://git.test/repository");
    // Private networks are reached directly: the list is understood, or curl is older than 7.86.
    let script = "curl --silent --max-time 1 http://10.255.255.1/; curl --version";
    let output = machine.shell(script);
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    let minor: Vec<u32> = version.split([' ', '.']).skip(1).take(2).filter_map(|part| part.parse().ok()).collect();
    if minor.as_slice() >= &[7, 86][..] {
        machine.asks_the_proxy("curl", "", "curl", "curl --silent http://curl.test/again");
        assert!(!machine.proxy.log_entries().iter().any(|entry| entry.text("target").contains("10.255.255.1")));
    } else {
        println!("NOT RUN: networks in no_proxy: {version}");
    }
}

#[test]
fn package_managers() {
    let machine = Machine::new();
    let apt = "printf 'deb [trusted=yes] http://apt.test/ stable main\\n' > list; mkdir -p state/lists/partial cache/archives/partial parts;
        echo \"Dir::Etc::Parts \\\"$PWD/etc/apt/apt.conf.d\\\";\" > apt.conf; APT_CONFIG=apt.conf apt-get -o Dir::Etc::SourceList=$PWD/list -o Dir::Etc::SourceParts=$PWD/parts -o Dir::State=$PWD/state -o Dir::Cache=$PWD/cache \
        -o Acquire::Retries=0 -o APT::Sandbox::User= update";
    machine.asks_the_proxy("apt", "--root .", "apt-get", apt);
    let pip = "pip3 download --disable-pip-version-check --retries 0 --index-url http://pip.test/simple --trusted-host pip.test nothing";
    machine.asks_the_proxy("pip", "--user", "pip3", pip);
    machine.asks_the_proxy("npm", "", "npm", "npm view nothing --registry http://npm.test/ --fetch-retries 0");
    machine.asks_the_proxy("cargo", "", "cargo", "CARGO_NET_RETRY=0 cargo search nothing --index sparse+http://cargo.test/index/");
    machine.asks_the_proxy("dnf", "--root .", "dnf", "dnf --config etc/dnf/dnf.conf --repofrompath x,http://dnf.test/ --repo x makecache");
}

#[test]
fn java() {
    let machine = Machine::new();
    let program = "public class Ask { public static void main(String[] a) throws Exception {
        new java.net.URI(a[0]).toURL().openStream(); } }";
    fs::write(machine.path("Ask.java"), program).expect("written");
    machine.asks_the_proxy("java", "--user", "javac", ". ~/.profile; java Ask.java http://java.test/");
    // A mirror, for Maven does not ask over plain http otherwise.
    let mirror =
        "<settings>\n<mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf><url>http://maven.test/</url></mirror></mirrors>\n</settings>\n";
    fs::create_dir_all(machine.path(".m2")).expect("made");
    fs::write(machine.path(".m2/settings.xml"), mirror).expect("written");
    let script = "mvn --batch-mode -Duser.home=$HOME dependency:get -Dartifact=a:b:1";
    machine.asks_the_proxy("maven", "", "mvn", script);
}

#[test]
fn ssh_and_others_that_are_only_written() {
    let machine = Machine::new();
    machine.asks_the_proxy("ssh", "--user", "nc", "ssh -F ~/.ssh/config -o BatchMode=yes ssh.test");
    let address = machine.proxy.address();
    for (client, scope, file) in [
        ("systemd", "--root .", "etc/systemd/system.conf.d/outrider-proxy.conf"),
        ("docker", "", ".docker/config.json"),
        ("docker-daemon", "--root .", "etc/systemd/system/docker.service.d/outrider.conf"),
        ("podman", "--user", ".config/containers/containers.conf.d/outrider.conf"),
        ("gradle", "", ".gradle/gradle.properties"),
        ("yum", "--root .", "etc/yum.conf"),
        ("chromium", "--root .", "etc/chromium/policies/managed/outrider.json"),
        ("firefox", "--root .", "etc/firefox/policies/policies.json"),
    ] {
        let told = machine.env(&format!("--shell {client} {scope} --install"));
        assert!(told.contains(&format!("{file}: made, from line 1\n+ ")), "{told}");
        let text = fs::read_to_string(machine.path(file)).expect("there");
        assert!(text.contains(&address.port().to_string()), "{text}");
        assert!(!file.ends_with(".json") || serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        let told = machine.env(&format!("--shell {client} {scope} --install"));
        assert!(told.ends_with(": nothing to change\n"), "{told}");
        machine.env(&format!("--shell {client} {scope} --remove"));
        assert!(!machine.path(file).exists(), "{file} is still there");
    }
    assert_eq!(fs::metadata(machine.path(".ssh")).expect("made").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_file_keeps_its_mode_and_a_symlink_stays_one() {
    let machine = Machine::new();
    fs::create_dir(machine.path("dotfiles")).expect("made");
    let real = machine.path("dotfiles/npmrc");
    fs::write(&real, "//registry.example.org/:_authToken=secret\n").expect("written");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).expect("set");
    std::os::unix::fs::symlink("dotfiles/npmrc", machine.path(".npmrc")).expect("linked");
    let told = machine.env("--shell npm --install");
    assert!(told.contains(".npmrc: changed, from line 1\n+ # >>> outrider (npm)\n+ proxy=http://127.0.0.1:"), "{told}");
    assert!(fs::symlink_metadata(machine.path(".npmrc")).expect("there").is_symlink());
    let metadata = fs::metadata(&real).expect("there");
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&real).expect("readable").ends_with("//registry.example.org/:_authToken=secret\n"));
    machine.env("--shell npm --remove");
    assert_eq!(fs::read_to_string(&real).expect("readable"), "//registry.example.org/:_authToken=secret\n");
    assert_eq!(fs::read_dir(machine.path("dotfiles")).expect("readable").count(), 1, "something was left beside it");
}

#[test]
fn what_cannot_be_done_is_told_and_nothing_changes() {
    let machine = Machine::new();
    fs::create_dir(machine.path(".docker")).expect("made");
    fs::write(machine.path(".docker/config.json"), "{\"proxies\": ").expect("written");
    let told = machine.env_fails("--shell docker --install");
    assert!(told.contains("config.json: this is no JSON, from line 1 on; it is left as it is"), "{told}");
    assert_eq!(fs::read_to_string(machine.path(".docker/config.json")).expect("readable"), "{\"proxies\": ");
    let output = machine.shell(&format!("SUDO_USER=somebody {} env --shell cargo --install", env!("CARGO_BIN_EXE_outrider")));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run this without sudo"), "{output:?}");
    assert!(!machine.path(".cargo").exists());
    assert!(machine.env_fails("--shell apt --user --install").contains("leave out --user"));
}
