//! The clients that can be pointed at the proxy.

use clap::ValueEnum;

/// A client whose settings `outrider env` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    Sh,
    Fish,
    Systemd,
    Apt,
    Dnf,
    Yum,
    Pip,
    Npm,
    Node,
    Cargo,
    Git,
    Curl,
    Wget,
    Docker,
    DockerDaemon,
    Podman,
    Java,
    Gradle,
    Maven,
    Ssh,
    Chromium,
    Firefox,
}
