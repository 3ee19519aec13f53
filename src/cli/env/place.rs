//! Where each client reads its settings.

use std::path::PathBuf;

use super::client::Client;

/// Whose settings.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Scope {
    /// The settings of this user, even if that is root
    #[arg(long)]
    user: bool,

    /// The machine whose files lie below this directory, such as an image
    #[arg(long, value_name = "DIR", conflicts_with = "user")]
    root: Option<PathBuf>,
}

/// A client's file.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub then: Then,
}

/// What is still to do when the file has changed.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    OnInstall(String),
    Always(&'static str),
}

impl Then {
    pub(super) fn on_install(self) -> Option<String> {
        match self {
            Then::Nothing => None,
            Then::OnInstall(text) => Some(text),
            Then::Always(text) => Some(text.to_owned()),
        }
    }

    pub(super) fn on_remove(self) -> Option<String> {
        if let Then::Always(text) = self { Some(text.to_owned()) } else { None }
    }
}

/// Of the machine, below the root directory, and of a user, below the home directory.
type Files = (Option<&'static str>, Option<&'static str>);

fn files(client: Client) -> Files {
    match client {
        Client::Sh => (Some("etc/profile.d/outrider.sh"), Some(".profile")),
        Client::Java => (Some("etc/profile.d/outrider-java.sh"), Some(".profile")),
        Client::Node => (Some("etc/profile.d/outrider-node.sh"), Some(".profile")),
        Client::Fish => (Some("etc/fish/conf.d/outrider.fish"), Some(".config/fish/conf.d/outrider.fish")),
        Client::Systemd => (Some("etc/systemd/system.conf.d/outrider-proxy.conf"), None),
        Client::Apt => (Some("etc/apt/apt.conf.d/80outrider"), None),
        Client::Dnf => (Some("etc/dnf/dnf.conf"), None),
        Client::Yum => (Some("etc/yum.conf"), None),
        Client::Pip => (Some("etc/pip.conf"), Some(".config/pip/pip.conf")),
        Client::Npm => (None, Some(".npmrc")),
        Client::Cargo => (None, Some(".cargo/config.toml")),
        Client::Git => (Some("etc/gitconfig"), Some(".gitconfig")),
        Client::Curl => (None, Some(".curlrc")),
        Client::Wget => (Some("etc/wgetrc"), Some(".wgetrc")),
        Client::Docker => (None, Some(".docker/config.json")),
        Client::DockerDaemon => (Some("etc/systemd/system/docker.service.d/outrider.conf"), None),
        Client::Podman => {
            (Some("etc/containers/containers.conf.d/outrider.conf"), Some(".config/containers/containers.conf.d/outrider.conf"))
        }
        Client::Gradle => (None, Some(".gradle/gradle.properties")),
        Client::Maven => (None, Some(".m2/settings.xml")),
        Client::Ssh => (Some("etc/ssh/ssh_config.d/outrider.conf"), Some(".ssh/config")),
        Client::Chromium => (Some("etc/chromium/policies/managed/outrider.json"), None),
        Client::Firefox => (Some("etc/firefox/policies/policies.json"), None),
    }
}

/// The file of `client`: the machine's for root, where there is one, else this user's.
pub(super) fn of(client: Client, scope: &Scope) -> Result<Place, String> {
    let is_root = is_root(scope);
    let path = match files(client) {
        (Some(machine), _) if is_root && !scope.user => scope.root.clone().unwrap_or_else(|| "/".into()).join(machine),
        // Other users' lines are told as for root, who has to put them there.
        (Some(machine), None) if !scope.user => PathBuf::from("/").join(machine),
        (_, Some(own)) => home(scope, own)?.join(own),
        _ => return Err("this client has settings for the whole machine only; leave out --user".to_owned()),
    };
    let then = match client {
        Client::Sh | Client::Java | Client::Node => Then::OnInstall(format!("log in anew, or in this shell: . {}", path.display())),
        Client::Ssh => {
            Then::OnInstall("let CONNECT to port 22 through: [tunnel] ports and a rule with ports = [22] (outrider.toml(5))".to_owned())
        }
        Client::Systemd => Then::Always("systemctl daemon-reexec, and restart the services that need the proxy"),
        Client::DockerDaemon => Then::Always("systemctl daemon-reload && systemctl restart docker"),
        Client::Gradle => Then::Always("gradle --stop"),
        _ => Then::Nothing,
    };
    Ok(Place { path, then })
}

/// The same for a person, who may be somebody else.
pub(super) fn name(client: Client, scope: &Scope) -> String {
    match files(client) {
        (Some(machine), own) if own.is_none() || is_root(scope) && !scope.user => format!("/{machine}"),
        (_, own) => format!("~/{}", own.unwrap_or_default()),
    }
}

fn is_root(scope: &Scope) -> bool {
    scope.root.is_some() || rustix::process::geteuid().is_root()
}

fn home(scope: &Scope, file: &str) -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or("HOME is not set")?;
    match &scope.root {
        Some(root) => Ok(root.join("root")),
        // Root's own file is seldom meant, and a file of root's in the user's home would be in the way.
        None if std::env::var_os("SUDO_USER").is_some_and(|user| user != "root") && !scope.user => {
            Err(format!("~/{file} belongs to a user: run this without sudo, or with --user for root's own"))
        }
        None => Ok(home.into()),
    }
}
