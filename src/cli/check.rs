//! `outrider check`: what is wrong with a configuration, what it hardly means, and what it comes to.

use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use super::{ADMIN_SOCKET, CheckOptions, EXIT_WRONG};
use crate::config::{self, Config, Loaded};

/// Where packages and administrators put the service's unit; the first that is there holds.
const UNITS: [&str; 3] =
    ["/etc/systemd/system/outrider.service", "/usr/lib/systemd/system/outrider.service", "/lib/systemd/system/outrider.service"];
/// Whom the packaged service runs as.
const SERVICE_USER: &str = "outrider";

/// Checks the file; warnings go to standard error like mistakes.
pub fn check(options: &CheckOptions) -> ExitCode {
    // A closed pipe is no reason to panic, and there is nobody left to tell.
    let loaded = match config::load_with_advice(options.file.as_deref()) {
        Ok(loaded) => loaded,
        Err(report) => {
            let _ = io::stderr().write_all(report.render(io::stderr().is_terminal()).as_bytes());
            return ExitCode::from(EXIT_WRONG);
        }
    };
    let is_service = loaded.sources.first().is_some_and(|source| source == config::DEFAULT_PATH);
    let unreadable = if is_service { unreadable_to_service(&loaded) } else { Vec::new() };
    let mut warnings = loaded.warnings.render(io::stderr().is_terminal());
    for path in &unreadable {
        warnings.push_str(&format!(
            "warning: the service runs as the user {SERVICE_USER}, who cannot read {path}\n  = help: chgrp {SERVICE_USER} {path} && chmod g+r {path}, and g+x for its directories\n\n"
        ));
    }
    let _ = io::stderr().write_all(warnings.as_bytes());
    let mut lines = format!("{}: ok\n{}\n", loaded.sources.join(": ok\n"), summary(&loaded.config));
    if let Some(socket) = service_socket().filter(|_| is_service) {
        lines.push_str(&format!("  admin of the service: {socket} (its unit sets {ADMIN_SOCKET})\n"));
    }
    let _ = io::stdout().write_all(lines.as_bytes());
    if options.is_strict && !(loaded.warnings.is_empty() && unreadable.is_empty()) { ExitCode::from(EXIT_WRONG) } else { ExitCode::SUCCESS }
}

/// The least that tells whether this is the file one meant.
fn summary(config: &Config) -> String {
    let mut lines = Vec::new();
    for listener in &config.listeners {
        let addresses: Vec<_> = listener.addresses.iter().map(ToString::to_string).collect();
        lines.push(format!("  listener {}: {}", listener.name, addresses.join(", ")));
    }
    let admin =
        [config.admin.socket.as_ref().map(|path| path.display().to_string()), config.admin.address.map(|address| address.to_string())];
    let admin: Vec<_> = admin.into_iter().flatten().collect();
    lines.push(format!("  admin: {}", if admin.is_empty() { "off".to_owned() } else { admin.join(", ") }));
    let rules = config.policy.rules.len();
    lines.push(format!("  policy: {rules} {}, then {:?}", if rules == 1 { "rule" } else { "rules" }, config.policy.default).to_lowercase());
    lines.join("\n")
}

/// The admin socket that the service has whatever its configuration says.
fn service_socket() -> Option<String> {
    let unit = UNITS.iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    socket_in_unit(&unit).map(str::to_owned)
}

fn socket_in_unit(unit: &str) -> Option<&str> {
    let settings = unit.lines().filter_map(|line| line.trim().strip_prefix("Environment=")).flat_map(str::split_whitespace);
    settings
        .map(|setting| setting.trim_matches('"'))
        .filter_map(|setting| setting.strip_prefix(ADMIN_SOCKET)?.strip_prefix('='))
        .next_back()
}

/// Those of the files that the service's user may not read. Only root can find out, by becoming that user.
fn unreadable_to_service(loaded: &Loaded) -> Vec<&str> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let Some((user, group)) = user_in(&users, SERVICE_USER) else { return Vec::new() };
    let may_read = |path: &str| {
        let mut test = Command::new("test");
        test.arg("-r").arg(Path::new(path)).uid(user).gid(group).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Where there is no test(1), nothing is known against it.
        test.status().map_or(true, |status| status.code() != Some(1))
    };
    loaded.sources.iter().map(String::as_str).filter(|path| !may_read(path)).collect()
}

/// A user's numbers in the text of /etc/passwd.
fn user_in(users: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = users.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_matters() {
        let text = summary(&Config::default());
        assert_eq!(text, "  listener default: 127.0.0.1:3128, [::1]:3128\n  admin: off\n  policy: 1 rule, then deny");
    }

    #[test]
    fn the_unit_tells_the_services_socket() {
        let unit = include_str!("../../systemd/outrider.service");
        assert_eq!(socket_in_unit(unit), Some("/run/outrider/admin.sock"));
        assert_eq!(socket_in_unit("[Service]\nEnvironment=A=b \"OUTRIDER_ADMIN_SOCKET=/run/x\"\n"), Some("/run/x"));
        assert_eq!(socket_in_unit("Environment=OUTRIDER_ADMIN_SOCKETS=/run/x"), None);
    }

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\noutrider2:x:1:2::/:/bin/false\noutrider:x:997:996::/:/bin/false\n";
        assert_eq!(user_in(users, "outrider"), Some((997, 996)));
        assert_eq!(user_in(users, "nobody"), None);
    }
}
