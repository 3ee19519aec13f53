//! `outrider env`: the lines that point clients at the proxy.

use clap::ValueEnum;

use crate::config::{self, Config};
use crate::json;

/// Who is to be pointed at the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Client {
    Sh,
    Fish,
    Systemd,
    Apt,
    Dnf,
    Pip,
    Npm,
    Cargo,
    Git,
    Docker,
    Java,
}

/// Destinations that no client should ask a proxy for.
const DIRECT: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The lines for `client`, or why there are none.
pub fn lines(config: &Config, client: Client) -> Result<String, String> {
    let address = config::client_address(config)
        .ok_or_else(|| "every listener takes whatever port is free; give one a port of its own".to_owned())?;
    let (host, port) = (config::client_host(address), address.port());
    let url = format!("http://{host}:{port}");
    let direct = DIRECT.join(",");
    let variables = [("http_proxy", &url), ("https_proxy", &url), ("no_proxy", &direct)];
    // Some clients look for one spelling only. HTTP_PROXY is not set: in a CGI program it is a client's Proxy field.
    let both = variables.iter().flat_map(|(name, value)| {
        let upper = name.to_uppercase();
        [(*name).to_owned(), upper].into_iter().filter(|name| name != "HTTP_PROXY").map(move |name| (name, *value))
    });
    Ok(match client {
        Client::Sh => both.map(|(name, value)| format!("export {name}={value}\n")).collect(),
        Client::Fish => both.map(|(name, value)| format!("set -gx {name} {value}\n")).collect(),
        Client::Systemd => {
            let assignments: String = both.map(|(name, value)| format!("DefaultEnvironment={name}={value}\n")).collect();
            format!("# /etc/systemd/system.conf.d/proxy.conf, then: systemctl daemon-reexec\n[Manager]\n{assignments}")
        }
        Client::Apt => format!("// /etc/apt/apt.conf.d/80proxy\nAcquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n"),
        Client::Dnf => format!("# /etc/dnf/dnf.conf\n[main]\nproxy={url}\n"),
        Client::Pip => format!("# /etc/pip.conf\n[global]\nproxy = {url}\n"),
        Client::Npm => format!("# ~/.npmrc\nproxy={url}\nhttps-proxy={url}\nnoproxy={direct}\n"),
        Client::Cargo => format!("# ~/.cargo/config.toml\n[http]\nproxy = \"{url}\"\n"),
        Client::Git => format!("# ~/.gitconfig\n[http]\n\tproxy = {url}\n"),
        Client::Docker => {
            let (url, direct) = (json::string(&url), json::string(&direct));
            format!("{{\"proxies\":{{\"default\":{{\"httpProxy\":{url},\"httpsProxy\":{url},\"noProxy\":{direct}}}}}}}\n")
        }
        Client::Java => {
            let host = host.trim_matches(['[', ']']);
            format!(
                "export JAVA_TOOL_OPTIONS='-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
                 -Dhttp.nonProxyHosts=localhost|127.*|[::1]'\n"
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_the_address() {
        let config = Config::default();
        for &client in Client::value_variants() {
            let text = lines(&config, client).expect("lines");
            assert!(text.contains("127.0.0.1") && text.contains("3128") && text.ends_with('\n'), "{client:?}: {text}");
        }
        assert!(lines(&config, Client::Sh).expect("lines").starts_with("export http_proxy=http://127.0.0.1:3128\nexport https_proxy="));
        assert!(!lines(&config, Client::Sh).expect("lines").contains("HTTP_PROXY"));
    }

    #[test]
    fn there_has_to_be_an_address_to_name() {
        let mut config = Config::default();
        config.listeners[0].addresses = vec!["127.0.0.1:0".parse().expect("an address")];
        assert!(lines(&config, Client::Sh).is_err());
    }
}
