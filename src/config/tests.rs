use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use proptest::prelude::*;

fn mistakes(text: &str) -> Vec<(usize, String, String)> {
    let report = parse("test.toml", text).expect_err("this file has mistakes");
    let place = |mistake| report.line(mistake).unwrap_or(0);
    report.mistakes().iter().map(|mistake| (place(mistake), mistake.message.clone(), mistake.help.clone())).collect()
}

#[track_caller]
fn one_mistake(text: &str, line: usize, message: &str, help: &str) {
    let found = mistakes(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].0, found[0].1.as_str()), (line, message));
    assert!(found[0].2.contains(help), "{:?} lacks {help:?}", found[0].2);
}

fn right(text: &str) -> Config {
    parse("test.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

/// The embedded file with every key that it has commented out.
fn spelled_out() -> String {
    let lines = EMBEDDED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_admin_api_and_a_listener_cannot_share_an_address() {
    let text = "[[listener]]\naddresses = [\"[::]:9901\"]\n[admin]\naddress = \"127.0.0.1:9901\"\n";
    one_mistake(text, 4, "a listener has [::]:9901 already", "a port of its own");
    right(&text.replacen("9901", "9902", 1));
}

#[test]
fn an_ipv4_address_spelled_as_ipv6_is_ipv4() {
    let config = right("[[listener]]\naddresses = [\"[::ffff:127.0.0.1]:3128\", \"[::1]:3128\"]\n");
    assert_eq!(config.listeners[0].addresses, ["127.0.0.1:3128", "[::1]:3128"].map(|text| text.parse().expect("an address")));
    assert!(!config.listeners[0].ipv6_only);
}

#[test]
fn nothing_the_embedded_file_and_the_defaults_are_the_same() {
    assert_eq!(right(""), Config::default());
    assert_eq!(right(EMBEDDED), Config::default());
    assert_eq!(right(&spelled_out()), Config::default());
    assert!(spelled_out().contains("\nhappy_eyeballs_delay"));
}

#[test]
fn the_embedded_file_tells_of_every_key() {
    let text = "[server]\n[http1]\n[[listener]]\n[listener.http1]\n[dns]\n[addresses]\n[cluster]\n[[cluster.override]]\n[tunnel]\n\
                [access_log]\n[admin]\n[policy]\n[[policy.rule]]\n";
    // A key that nobody has brings out all that its table has; the file itself is the table before the first header.
    for header in text.lines().chain([""]) {
        let text = if header.is_empty() { format!("xyzzy = 1\n{text}") } else { text.replacen(header, &format!("{header}\nxyzzy = 1"), 1) };
        let report = parse("test.toml", &text).expect_err("xyzzy is unknown");
        let help = report.mistakes().iter().find_map(|mistake| mistake.help.split_once(" has: ")).expect("the help lists the keys").1;
        for key in help.split(", ") {
            let told = [
                format!("{key} = "),
                format!("[{key}]"),
                format!("[listener.{key}]"),
                format!("[[{key}]]"),
                format!("[[cluster.{key}]]"),
                format!("[[policy.{key}]]"),
            ];
            assert!(told.iter().any(|told| EMBEDDED.contains(told)), "config/outrider.toml does not tell of `{key}` under {header}");
        }
    }
}

#[test]
fn all_mistakes_in_one_run() {
    let text = r#"
adresses = 1
[server]
workers = "many"
drain_timeout = 30
[[listener]]
name = "a"
addresses = ["127.0.0.1:3128", "localhost", "127.0.0.1"]
[[listener]]
name = "a"
addresses = ["127.0.0.1:3128"]
[http1]
accept_http_10 = "yes"
header_key_format = "camel"
max_request_headers = "60 elephants"
[cluster]
connect_timeout = "0s"
[policy]
defualt = "deny"
[[policy.rule]]
clients = []
ports = ["90-80", 70000]
"#;
    let found: Vec<_> = mistakes(text).into_iter().map(|(line, message, _)| (line, message)).collect();
    let expected = [
        (2, "unknown key `adresses`; did you mean `addresses`?"),
        (4, "`many` is not a number of workers"),
        (5, "a duration without a unit"),
        (8, "`localhost` is not an address with a port"),
        (8, "`127.0.0.1` is not an address with a port"),
        (10, "two listeners are named `a`"),
        (11, "127.0.0.1:3128 is listened on twice"),
        (13, "`yes` is text, which cannot stand here"),
        (14, "`camel` is none of the words that may stand here"),
        (15, "`60 elephants` is not a size"),
        (17, "this wait must have a limit"),
        (19, "unknown key `defualt`; did you mean `default`?"),
        (20, "a rule without `action`"),
        (21, "`clients` is empty"),
        (22, "the range `90-80` is empty"),
        (22, "`70000` is not a port or a range of ports"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(line, message)| (line, message.to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn broken_lines_do_not_hide_the_others() {
    let found = mistakes("[server]\nworkers = = 3\n[tunnel]\nports = [443\n[admin]\nadress = \"x\"\n[[listener]\n");
    let lines: BTreeSet<_> = found.iter().map(|(line, ..)| *line).collect();
    assert!(lines.contains(&2) && lines.contains(&7), "{found:#?}");
    one_mistake("[server]\npin_workers = true\npin_workers = false\n", 3, "duplicate key", "keep one");
}

#[test]
fn the_report_points_and_helps() {
    let report = parse("outrider.toml", "[admin]\nadress = \"127.0.0.1:9901\"\n").expect_err("a slip").to_string();
    assert_eq!(
        report,
        "error: unknown key `adress`; did you mean `address`?\n \
         --> outrider.toml:2:1\n  \
           |\n\
         2 | adress = \"127.0.0.1:9901\"\n  \
           | ^^^^^^\n  \
           |\n  \
           = help: [admin] has: socket, address\n\n\
         outrider.toml: 1 mistake\n"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_reported() {
    let report = load(Some(Path::new("/nonexistent/outrider.toml"))).expect_err("there is no such file").to_string();
    assert!(report.contains("cannot read the file") && report.contains("/nonexistent/outrider.toml"), "{report}");
}

/// For a status line, which has no room for the report.
#[test]
fn a_headline_tells_what_and_where_in_one_line() {
    let unreadable = load(Some(Path::new("/nonexistent/outrider.toml"))).expect_err("there is no such file").headline();
    assert_eq!(unreadable, "/nonexistent/outrider.toml: cannot read the file: No such file or directory (os error 2)");
    let wrong = parse("a.toml", "[server]\nworkers = \"many\"\npin_workers = 1\n").expect_err("two mistakes").headline();
    assert_eq!(wrong, "a.toml:2: `many` is not a number of workers, and 1 more");
}

/// Loads a main file and what lies in `conf.d` beside it.
fn load_with(main: &str, drop_ins: &[(&str, &str)]) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("outrider.toml");
    std::fs::write(&file, main).expect("written");
    std::fs::create_dir(directory.path().join("conf.d")).expect("a directory");
    for (name, text) in drop_ins {
        std::fs::write(directory.path().join("conf.d").join(name), text).expect("written");
    }
    load(Some(&file)).map_err(|report| report.to_string().replace(directory.path().to_str().expect("UTF-8"), ""))
}

#[test]
fn files_in_conf_d_add_to_the_main_one_in_the_order_of_their_names() {
    let main = "[server]\nworkers = 1\ndrain_timeout = \"1s\"\n[tunnel]\nports = [443, 8443]\n[[listener]]\nname = \"a\"\naddresses = [\"127.0.0.1:1\"]\n\
                [cluster]\ntcp_keepalive = { idle = \"60s\" }\n[[policy.rule]]\naction = \"allow\"\nmethods = [\"GET\"]\n";
    let loaded = load_with(
        main,
        &[
            ("20-late.toml", "server.workers = 3\n[[policy.rule]]\naction = \"deny\"\n[cluster.tcp_keepalive]\nprobes = 2\n"),
            (
                "10-early.toml",
                "[server]\nworkers = 2\n[tunnel]\nports = [22]\n[policy]\ndefault = \"allow\"\n[[policy.rule]]\nname = \"early\"\naction = \"allow\"\n",
            ),
            ("B.toml", "[[listener]]\naddresses = [\"127.0.0.1:2\"]\n"),
            (".hidden.toml", "nonsense"),
            ("20-late.toml.bak", "nonsense"),
            ("README", "nonsense"),
        ],
    );
    let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<_> = loaded.sources.iter().map(|source| source.rsplit('/').next().expect("a name")).collect();
    assert_eq!(names, ["outrider.toml", "10-early.toml", "20-late.toml", "B.toml"]);
    let config = loaded.config;
    assert_eq!((config.server.workers, config.server.drain_timeout), (NonZeroUsize::new(3), Duration::from_secs(1)));
    assert_eq!(config.tunnel.ports, [PortRange { first: 22, last: 22 }], "a list takes the place of the one before");
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    assert_eq!(listeners, ["a", "127.0.0.1:2"]);
    let keepalive = config.cluster.defaults.tcp.keepalive.expect("switched on");
    assert_eq!((keepalive.idle, keepalive.probes), (Duration::from_secs(60), 2));
    let rules: Vec<_> = config.policy.rules.iter().map(|rule| (rule.name.as_str(), rule.action)).collect();
    assert_eq!(rules, [("rule 1", Action::Allow), ("early", Action::Allow), ("rule 3", Action::Deny)]);
    assert_eq!(config.policy.default, Action::Allow);
}

#[test]
fn every_mistake_of_every_file_is_told_in_one_run() {
    let report = load_with(
        "[server]\nworkers = \"many\"\n[[listener]]\nname = \"a\"\naddresses = [\"127.0.0.1:1\"]\n",
        &[
            ("1.toml", "[tunnel]\nports = [443\n"),
            ("2.toml", "[server]\nworkers = 2\n[[listener]]\nname = \"a\"\naddresses = [\"127.0.0.1:2\"]\n"),
            ("3.toml", "# nothing\nservre = 1"),
        ],
    )
    .expect_err("these files have mistakes");
    let places: Vec<_> = report.lines().filter_map(|line| line.trim_start().strip_prefix("--> ")).collect();
    let expected = ["/outrider.toml:2:11", "/conf.d/1.toml:2:13", "/conf.d/2.toml:4:8", "/conf.d/3.toml:2:1"];
    assert_eq!(places, expected, "{report}");
    assert!(report.contains("::: /outrider.toml:4:8"), "the first of two is in another file: {report}");
    assert!(report.contains("did you mean `server`?"), "{report}");
    let sums = "/outrider.toml: 1 mistake\n/conf.d/1.toml: 1 mistake\n/conf.d/2.toml: 1 mistake\n/conf.d/3.toml: 1 mistake\n";
    assert!(report.ends_with(sums), "{report}");
}

#[test]
fn what_cannot_be_read_in_conf_d_is_a_mistake() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, drop_ins) = (directory.path().join("outrider.toml"), directory.path().join("conf.d"));
    std::fs::write(&file, "nonsense = 1").expect("written");
    let mistakes = || {
        let report = load(Some(&file)).expect_err("there are mistakes");
        let name = |mistake| Path::new(report.file(mistake)).file_name().expect("a name").to_string_lossy().into_owned();
        report.mistakes().iter().map(|mistake| (name(mistake), report.line(mistake), mistake.message.clone())).collect::<Vec<_>>()
    };
    assert_eq!(mistakes().len(), 1, "there need not be a conf.d");

    std::fs::create_dir_all(drop_ins.join("a.toml")).expect("a directory");
    std::fs::write(drop_ins.join("b.toml"), b"a = 1\n\xff").expect("written");
    std::os::unix::fs::symlink("/nonexistent", drop_ins.join("c.toml")).expect("a link");
    std::os::unix::fs::symlink("/dev/null", drop_ins.join("d.toml")).expect("a link");
    let pipe = drop_ins.join("e.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    let found = mistakes();
    let files: Vec<_> = found.iter().map(|(name, line, _)| (name.as_str(), *line)).collect();
    assert_eq!(files, [("outrider.toml", Some(1)), ("a.toml", None), ("b.toml", None), ("c.toml", None), ("e.toml", None)]);
    assert_eq!(found[2].2, "the file is not UTF-8 (line 2)");
    assert!(found[3].2.starts_with("cannot read the file: "), "{found:?}");
    assert_eq!(found[4].2, "cannot read the file: it is a pipe", "which nobody may ever write to");

    std::fs::remove_dir_all(&drop_ins).expect("removed");
    std::fs::write(&drop_ins, "").expect("written");
    assert!(mistakes()[1].2.starts_with("cannot read the directory: "), "{:?}", mistakes());
}

#[test]
fn every_kind_of_mistake_has_its_remedy() {
    for (text, line, message, help) in [
        ("server = 3", 1, "`server` is a table", "write [server]"),
        ("[listener]\nname = \"a\"", 1, "`listener` may be there many times", "write [[listener]]"),
        ("[[listener]]\naddresses = []", 2, "`addresses` is empty", "\"127.0.0.1:3128\""),
        ("[[listener]]\naddresses = [\":3128\"]", 2, "`:3128` is not an address with a port", "\"[::]:3128\" for all"),
        ("[[listener]]\naddresses = \"[::1]:1\"", 2, "`addresses` is a list", "even of one"),
        ("[[listener]]\nname = \"\"", 2, "`` is not a name", "1 to 100"),
        ("[[listener]]\nvia = \"a\"\n[listener.http1]\nvia = \"b\"", 4, "said twice", "keep one"),
        ("[http1]\nvia = \"two words\"", 2, "`two words` cannot stand in Via", "via_in_requests = false"),
        ("[http1]\nmax_request_headers = 1\n", 2, "`1` is not within 256 to 8388608 bytes", "\"60KiB\""),
        ("[http1]\nmax_request_headers = 300\nmax_request_headers_kb = 2", 3, "said twice", "keep one"),
        ("[http1]\nmax_headers_count = -1", 2, "`-1` is out of range", "1 to 10000"),
        ("[http1]\nmax_headers_count = \"100\"", 2, "`100` is text, which cannot stand here", "without quotes"),
        ("[http1]\ntimeout = \"1s\"", 2, "unknown key `timeout`; did you mean `request_headers_timeout`?", "idle_timeout"),
        ("[http1]\ndefault_host_for_http_10 = \"a b\"", 2, "`a b` cannot stand in Host", "www.example.org"),
        (
            "[http1]\nheader_key_format = \"camel\"",
            2,
            "`camel` is none of the words that may stand here",
            "\"preserve_case\", \"proper_case_words\"",
        ),
        ("[dns]\ndns_min_refresh_rate = \"2h\"", 2, "no time is from 7200s up to 3600s", "no longer than"),
        ("[dns]\nservers = [\"tls://dns.example\"]", 2, "`tls://dns.example` is not a DNS server", "\"tls://192.0.2.1#dns.example\""),
        ("[dns]\nservers = [\"sdns://192.0.2.1\"]", 2, "`sdns://192.0.2.1` is not a DNS server", "tcp://"),
        ("[dns]\ndns_query_timeout = \"5 parsecs\"", 2, "`5 parsecs` is not a duration", "\"250ms\""),
        ("[dns]\nhost_ttl = \"99999999999999d\"", 2, "`99999999999999d` is too long", "ten years"),
        ("[addresses]\nallow = [\"10.0.0.1/8\"]", 2, "`10.0.0.1/8` has bits set beyond its prefix", "\"10.0.0.0/8\""),
        ("[addresses]\nallow = [\"10.0.0.0/33\"]", 2, "`10.0.0.0/33` is not an address or a network", "2001:db8::/32"),
        ("[[cluster.override]]\nmax_retries = 1", 1, "an override without `hosts`", "*.example.org"),
        ("[[cluster.override]]\nhosts = [\"*\"]", 2, "`*` is not a host", "leave `hosts` out"),
        ("[[cluster.override]]\nhosts = [\".a.example\"]", 2, "`.a.example` is not a host", "\"*.a.example\""),
        ("[[cluster.override]]\nhosts = [\"a.example:80\"]", 2, "`a.example:80` is not a host", "into `ports`"),
        ("[[cluster.override]]\nhosts = [\"http://a.example\"]", 2, "`http://a.example` is not a host", "name alone"),
        ("[[cluster.override]]\nhosts = [\"bücher.example\"]", 2, "`bücher.example` is not a host", "xn--"),
        ("[[cluster.override]]\nhosts = [\"0x7f.1\"]", 2, "`0x7f.1` is not a host", "192.0.2.0/24"),
        ("[access_log]\npath = \"journal\"", 2, "`journal` is not an absolute path", "takes to the journal"),
        ("[admin]\naddress = \"0.0.0.0:9901\"", 2, "the admin API asks for no login and must stay on this machine", "127.0.0.1:9901"),
        ("[admin]\nsocket = \"admin.sock\"", 2, "`admin.sock` is not an absolute path", "/run/outrider"),
        ("[[policy.rule]]\naction = \"allow\"\nmethods = [\"get\"]", 3, "no client sends the method `get`", "\"GET\""),
        ("[[policy.rule]]\naction = \"permit\"", 2, "`permit` is none of the words that may stand here", "write \"allow\" or \"deny\""),
        ("[http1]\naccept_http_10 = 1", 2, "`1` is a number, which cannot stand here", "write true or false"),
        ("[http1]\naccept_http_10 = [true]", 2, "a list cannot stand here", "write true or false"),
        ("[http1]\nvia = true", 2, "`true` cannot stand here", "one word"),
        ("[http1]\nvia = 1.5", 2, "`1.5` is a number, which cannot stand here", "one word"),
        ("[http1]\nvia = { a = 1 }", 2, "a table cannot stand here", "one word"),
        ("[[policy.rule]]\naction = \"deny\"\nports = [\"+80\"]", 3, "`+80` is not a port or a range of ports", "1 to 65535"),
    ] {
        one_mistake(text, line, message, help);
    }
}

#[test]
fn hostile_sizes_end() {
    assert!(parse("deep", &format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(parse("deep", &format!("{} = 1", vec!["a"; 10_000].join("."))).is_err());
    let many = format!("[addresses]\nallow = [{}]", "\"x\",\n".repeat(1000));
    let report = parse("many", &many).expect_err("none of them is a network").to_string();
    assert!(report.contains("and 900 more") && report.ends_with("many: 1000 mistakes\n"));
    let endless = load(Some(Path::new("/dev/zero"))).expect_err("it has no end");
    assert!(endless.mistakes()[0].message.contains("more than 256 MiB"));
}

#[test]
fn values_in_every_spelling() {
    let config = right(
        r#"
[server]
workers = 3
drain_timeout = "1h30m"
[http1]
max_request_headers_kb = 96
max_response_headers = 70_000
request_headers_timeout = "1_500ms"
max_requests_per_connection = 7
max_connection_duration = "2 h"
default_host_for_http_10 = "[::1]:8080"
header_key_format = "lower_case"
[[listener]]
addresses = ["[::]:0", "0.0.0.0:0", "[::]:0"]
via = "edge"
[listener.http1]
accept_http_10 = false
max_connection_duration = "0s"
[dns]
servers = ["192.0.2.1", "udp://192.0.2.1:5353", "tcp://[2001:db8::1]:53", "tls://2001:db8::1#DNS.example.", "tls://192.0.2.1:8853", "https://[::1]:4443/q#a.example", "https://192.0.2.1"]
dns_lookup_family = "v4_preferred"
[addresses]
allow = ["10.0.0.0/8", "::1", "::ffff:192.168.0.0/112"]
[cluster]
max_connections = 5
[[cluster.override]]
hosts = ["Example.ORG.", "*.example.org", "192.0.2.0/24", "[2001:db8::1]"]
request_timeout = "10s"
[tunnel]
ports = []
[access_log]
path = "/var/log/outrider/access.log"
[admin]
socket = "/run/outrider/admin.sock"
address = "[::1]:9901"
[policy]
default = "allow"
"#,
    );
    assert_eq!(config.server.workers, NonZeroUsize::new(3));
    assert_eq!(config.server.drain_timeout, Duration::from_secs(5400));
    let listener = &config.listeners[0];
    assert_eq!(listener.name, "[::]:0");
    let shared = Http1 {
        max_request_headers: 96 << 10,
        max_response_headers: 70_000,
        request_headers_timeout: Duration::from_millis(1500),
        max_requests_per_connection: Some(7),
        default_host_for_http_10: Some("[::1]:8080".to_owned()),
        header_key_format: HeaderKeyFormat::LowerCase,
        ..Http1::default()
    };
    assert_eq!(listener.http1, Http1 { via: "edge".to_owned(), accept_http_10: false, ..shared });
    let address = |text: &str| text.parse().expect("a socket address");
    assert_eq!(
        config.dns.servers,
        [
            DnsServer::Udp(address("192.0.2.1:53")),
            DnsServer::Udp(address("192.0.2.1:5353")),
            DnsServer::Tcp(address("[2001:db8::1]:53")),
            DnsServer::Tls { address: address("[2001:db8::1]:853"), name: "dns.example".to_owned() },
            DnsServer::Tls { address: address("192.0.2.1:8853"), name: "192.0.2.1".to_owned() },
            DnsServer::Https { address: address("[::1]:4443"), name: "a.example".to_owned(), path: "/q".to_owned() },
            DnsServer::Https { address: address("192.0.2.1:443"), name: "192.0.2.1".to_owned(), path: "/dns-query".to_owned() },
        ]
    );
    let network = |text: &str| text.parse::<IpNet>().expect("a network");
    assert_eq!(config.addresses.allow, [network("10.0.0.0/8"), network("::1/128"), network("192.168.0.0/16")]);
    let over = &config.cluster.overrides[0];
    assert_eq!(
        over.hosts,
        [
            HostPattern::Exact("example.org".to_owned()),
            HostPattern::Suffix("example.org".to_owned()),
            HostPattern::Net(network("192.0.2.0/24")),
            HostPattern::Net(network("2001:db8::1/128")),
        ]
    );
    assert_eq!((over.options.max_connections, over.options.request_timeout), (5, Some(Duration::from_secs(10))));
    assert_eq!(config.tunnel.ports, []);
    assert_eq!(config.access_log.sink, AccessLogSink::File("/var/log/outrider/access.log".into()));
    assert_eq!(config.policy, Policy { default: Action::Allow, revoke: false, rules: Vec::new() });
}

#[test]
fn sizes_follow_from_connections() {
    let sizes = |text: &str| {
        let Config { listeners, dns, tunnel, .. } = right(text);
        let per_client = listeners[0].max_connections_per_client;
        (per_client, dns.max_hosts, dns.max_hosts_per_client, dns.max_pending_requests_per_client, tunnel.max_per_client)
    };
    assert_eq!(sizes(""), (None, 25_000, 6_250, 1024, 25_000));
    assert_eq!(sizes("[[listener]]\nmax_connections = 8000\n[[listener]]\naddresses = [\"127.0.0.1:1\"]\nmax_connections = 8000").1, 4000);
    assert_eq!(sizes("[[listener]]\nmax_connections = 10"), (None, 1024, 256, 1024, 256));
    assert_eq!(sizes("[dns]\nmax_hosts = 3\nmax_pending_requests = 2"), (None, 3, 1, 1, 25_000));
    let numbers = "[[listener]]\nmax_connections_per_client = 5\n[dns]\nmax_hosts = 10\nmax_hosts_per_client = 9\n\
                   max_pending_requests_per_client = 8\n[tunnel]\nmax_per_client = 7";
    assert_eq!(sizes(numbers), (Some(5), 10, 9, 8, 7));
    one_mistake("[dns]\nmax_hosts = \"many\"", 2, "`many` is not a number", "\"auto\"");
    one_mistake("[tunnel]\nmax_per_client = 0", 2, "`0` is out of range", "from 1 to");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = parse("any", &text).map_err(|report| report.render(true));
    }

    #[test]
    fn no_toml_like_text_panics(pieces in prop::collection::vec(prop::sample::select(&[
        "[", "]", "[[", "]]", "=", ",", "\n", "\r\n", "\"", "'''", "\"\"\"", "{", "}", ".", "#", "\\", "-", "0", "1e9", "ü", "\u{1F600}", "\t", "\u{0}", "\u{FEFF}", "true",
        "listener", "http1", "cluster.override", "policy.rule", "ports", "hosts", "clients", "name", "10s", "\"90-\"", "\"::/0\"", "\"tls://#\"",
    ][..]), 0..40)) {
        let _ = parse("any", &pieces.concat()).map_err(|report| report.render(true));
    }

    #[test]
    fn no_value_panics(value in "[ -~ü]{0,30}", key in 0..9usize) {
        let (header, key, list) = [
            ("[dns]", "servers", true), ("[dns]", "preresolve_hostnames", true), ("[http1]", "max_target", false), ("[http1]", "idle_timeout", false),
            ("[[listener]]", "addresses", true), ("[admin]", "address", false), ("[tunnel]", "ports", true), ("[addresses]", "deny", true),
            ("[[cluster.override]]", "hosts", true),
        ][key];
        let quoted = format!("'{}'", value.replace('\'', ""));
        let text = if list { format!("{header}\n{key} = [{quoted}]") } else { format!("{header}\n{key} = {quoted}") };
        let _ = parse("any", &text).map_err(|report| report.render(false));
    }
}
