//! `outrider env`: the lines that point clients at the proxy, and putting them where the clients read them.

mod client;
mod edit;
mod file;
mod json_edit;
mod networks;
mod place;

use clap::ValueEnum;

use crate::config::{self, Config};
use crate::json;
pub use client::Client;
use networks::{direct_networks, host_patterns};
pub use place::Scope;

/// Where the proxy is, and what is reached without it, as clients are told.
struct Proxy {
    /// As in a URL: IPv6 in brackets.
    host: String,
    port: u16,
    url: String,
    /// Names and networks, with commas.
    no_proxy: String,
    /// The same as patterns with `*`, for clients that know nothing of networks.
    patterns: Vec<String>,
}

impl Proxy {
    fn new(config: &Config) -> Result<Proxy, String> {
        let address = config::client_address(config)
            .ok_or_else(|| "every listener takes whatever port is free; give one a port of its own".to_owned())?;
        let (host, port) = (config::client_host(address), address.port());
        let direct = direct_networks(&config.addresses);
        let no_proxy = ["localhost", "127.0.0.1", "127.0.0.0/8", "::1"].map(str::to_owned).into_iter();
        let no_proxy: Vec<String> = no_proxy.chain(direct.iter().map(ToString::to_string)).collect();
        let patterns = ["localhost", "127.*", "[::1]"].map(str::to_owned).into_iter();
        let patterns = patterns.chain(direct.iter().flat_map(host_patterns)).collect();
        Ok(Proxy { url: format!("http://{host}:{port}"), host, port, no_proxy: no_proxy.join(","), patterns })
    }

    /// Some clients look for one spelling only. HTTP_PROXY is not set: in a CGI program it is a client's Proxy field.
    fn variables(&self) -> [(&'static str, &str); 5] {
        let (url, direct) = (self.url.as_str(), self.no_proxy.as_str());
        [("http_proxy", url), ("https_proxy", url), ("HTTPS_PROXY", url), ("no_proxy", direct), ("NO_PROXY", direct)]
    }

    fn each_variable(&self, line: impl Fn(&str, &str) -> String) -> String {
        self.variables().iter().map(|(name, value)| line(name, value)).collect()
    }

    fn host_without_brackets(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

/// The lines for `client`, or why there are none.
pub fn lines(config: &Config, client: Client, scope: &Scope) -> Result<String, String> {
    let settings = settings(&Proxy::new(config)?, client);
    let heading = match client {
        // These are meant for `eval`, or are a whole file in a language without comments.
        Client::Sh | Client::Fish | Client::Java | Client::Node | Client::Docker | Client::Chromium | Client::Firefox => String::new(),
        Client::Apt => format!("// {}\n", place::name(client, scope)),
        Client::Maven => format!("<!-- {}, in <settings> -->\n", place::name(client, scope)),
        _ => format!("# {}\n", place::name(client, scope)),
    };
    Ok(heading + &settings.text(client))
}

/// Puts the lines into the client's file, and tells what was changed.
pub fn install(config: &Config, client: Client, scope: &Scope) -> Result<String, String> {
    let settings = settings(&Proxy::new(config)?, client);
    let place = place::of(client, scope)?;
    let report = file::change(&place.path, |before| settings.put(client, before))?;
    Ok(report.and(place.then.on_install()))
}

/// Takes out of the client's file what [`install`] put in, and tells what was changed.
pub fn remove(config: &Config, client: Client, scope: &Scope) -> Result<String, String> {
    let settings = settings(&Proxy::new(config)?, client);
    let place = place::of(client, scope)?;
    let report = file::change(&place.path, |before| settings.take(client, before))?;
    Ok(report.and(place.then.on_remove()))
}

/// What is to stand in a client's file, in the form of that file.
enum Settings {
    /// The whole file, which is ours alone.
    Own(String),
    /// Lines anywhere in a file whose comments begin with `#`.
    Lines(String),
    /// Lines `key = value` of a section, or of what stands before the first one.
    Section { name: Option<&'static str>, lines: String },
    /// The same, in TOML.
    Toml { table: &'static str, key: &'static str, value: String },
    /// Members, with their values in JSON, of the object at a path.
    Json { path: &'static [&'static str], members: Vec<(&'static str, String)> },
    /// Elements in `<proxies>`.
    Xml(String),
}

fn settings(proxy: &Proxy, client: Client) -> Settings {
    let Proxy { host, port, url, no_proxy, patterns } = proxy;
    let bare_host = proxy.host_without_brackets();
    match client {
        Client::Sh => Settings::Lines(proxy.each_variable(|name, value| format!("export {name}={value}\n"))),
        // Version 24 and newer read the variables, if they are asked to.
        Client::Node => {
            Settings::Lines(proxy.each_variable(|name, value| format!("export {name}={value}\n")) + "export NODE_USE_ENV_PROXY=1\n")
        }
        Client::Java => Settings::Lines(format!(
            "export JAVA_TOOL_OPTIONS='-Dhttp.proxyHost={bare_host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={bare_host} \
             -Dhttps.proxyPort={port} -Dhttp.nonProxyHosts={}'\n",
            patterns.join("|")
        )),
        Client::Fish => Settings::Own(proxy.each_variable(|name, value| format!("set -gx {name} {value}\n"))),
        Client::Systemd => {
            Settings::Own("[Manager]\n".to_owned() + &proxy.each_variable(|name, value| format!("DefaultEnvironment={name}={value}\n")))
        }
        Client::DockerDaemon => {
            Settings::Own("[Service]\n".to_owned() + &proxy.each_variable(|name, value| format!("Environment={name}={value}\n")))
        }
        Client::Podman => {
            let list: Vec<String> = proxy.variables().iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
            Settings::Own(format!("[engine]\nenv = [{}]\n", list.join(", ")))
        }
        Client::Apt => Settings::Own(format!("Acquire::http::Proxy \"{url}\";\nAcquire::https::Proxy \"{url}\";\n")),
        Client::Dnf | Client::Yum => Settings::Section { name: Some("main"), lines: format!("proxy={url}\n") },
        Client::Pip => Settings::Section { name: Some("global"), lines: format!("proxy = {url}\n") },
        Client::Npm => Settings::Section { name: None, lines: format!("proxy={url}\nhttps-proxy={url}\nnoproxy={no_proxy}\n") },
        Client::Git => Settings::Section { name: Some("http"), lines: format!("\tproxy = {url}\n") },
        Client::Cargo => Settings::Toml { table: "http", key: "proxy", value: json::string(url) },
        Client::Curl => Settings::Lines(format!("proxy = \"{url}\"\nnoproxy = \"{no_proxy}\"\n")),
        Client::Wget => Settings::Lines(format!("use_proxy = on\nhttp_proxy = {url}\nhttps_proxy = {url}\nno_proxy = {no_proxy}\n")),
        Client::Docker => {
            let (url, direct) = (json::string(url), json::string(no_proxy));
            Settings::Json {
                path: &["proxies", "default"],
                members: vec![("httpProxy", url.clone()), ("httpsProxy", url), ("noProxy", direct)],
            }
        }
        Client::Firefox => {
            let address = json::string(&format!("{host}:{port}"));
            let direct = json::string(no_proxy);
            let value = format!(
                "{{\"Mode\": \"manual\", \"HTTPProxy\": {address}, \"UseHTTPProxyForAllProtocols\": true, \"Passthrough\": {direct}}}"
            );
            Settings::Json { path: &["policies"], members: vec![("Proxy", value)] }
        }
        Client::Chromium => {
            let pac = json::string(&format!("{url}/proxy.pac"));
            Settings::Own(format!("{{\n  \"ProxySettings\": {{\"ProxyMode\": \"pac_script\", \"ProxyPacUrl\": {pac}}}\n}}\n"))
        }
        Client::Gradle => {
            let scheme = |scheme| format!("systemProp.{scheme}.proxyHost={bare_host}\nsystemProp.{scheme}.proxyPort={port}\n");
            Settings::Lines(scheme("http") + &scheme("https") + &format!("systemProp.http.nonProxyHosts={}\n", patterns.join("|")))
        }
        Client::Maven => {
            let direct = patterns.join("|");
            let element = |scheme| {
                format!(
                    "    <proxy><id>outrider-{scheme}</id><active>true</active><protocol>{scheme}</protocol><host>{bare_host}</host>\
                     <port>{port}</port><nonProxyHosts>{direct}</nonProxyHosts></proxy>\n"
                )
            };
            Settings::Xml(element("http") + &element("https"))
        }
        Client::Ssh => {
            let direct: Vec<String> = patterns.iter().map(|pattern| format!("!{}", pattern.trim_matches(['[', ']']))).collect();
            Settings::Lines(format!("Host * {}\n    ProxyCommand nc -X connect -x {host}:{port} %h %p\n", direct.join(" ")))
        }
    }
}

impl Settings {
    /// For a person, or to be pasted.
    fn text(&self, client: Client) -> String {
        match self {
            Settings::Own(text) | Settings::Lines(text) => text.clone(),
            Settings::Section { name: Some(name), lines } => format!("[{name}]\n{lines}"),
            Settings::Section { name: None, lines } => lines.clone(),
            Settings::Toml { table, key, value } => format!("[{table}]\n{key} = {value}\n"),
            Settings::Json { .. } => self.put(client, None).ok().flatten().unwrap_or_default(),
            Settings::Xml(elements) => format!("<proxies>\n{elements}</proxies>\n"),
        }
    }

    /// What the file is to be, given what it is now; `None` is no file.
    fn put(&self, client: Client, before: Option<&str>) -> Result<Option<String>, String> {
        let text = before.unwrap_or_default();
        let mark = edit::Mark::new(client.to_possible_value().as_ref().map_or("", |value| value.get_name()));
        match self {
            Settings::Own(text) => Ok(text.clone()),
            Settings::Lines(lines) => Ok(edit::put_lines(text, &mark, lines)),
            Settings::Section { name, lines } => edit::put_section(text, *name, &mark, lines),
            Settings::Toml { table, key, value } => edit::put_toml(text, table, key, value, &mark),
            Settings::Json { path, members } => json_edit::put(text, path, members),
            Settings::Xml(elements) => edit::put_xml(text, elements),
        }
        .map(Some)
    }

    /// What the file was before [`Self::put`], and `None` where there was none.
    fn take(&self, client: Client, before: Option<&str>) -> Result<Option<String>, String> {
        let Some(text) = before else { return Ok(None) };
        let mark = edit::Mark::new(client.to_possible_value().as_ref().map_or("", |value| value.get_name()));
        let text = match self {
            Settings::Own(_) => return Ok(None),
            Settings::Lines(_) | Settings::Section { .. } | Settings::Toml { .. } => edit::take_lines(text, &mark),
            Settings::Json { path, members } => json_edit::take(text, path, members)?,
            Settings::Xml(_) => edit::take_xml(text),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

#[cfg(test)]
mod tests;
