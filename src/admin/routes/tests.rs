//! The API over real sockets, with raw bytes in and raw bytes out.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::super::{Admin, Reply};
use super::*;
use crate::config;
use crate::logging::Handle;
use crate::stats::{Registry, ServerState};

struct Setting {
    directory: tempfile::TempDir,
    address: SocketAddr,
    control: Control,
}

/// A running API whose server answers every command with its own name.
fn setting() -> Setting {
    let directory = tempfile::tempdir().expect("a directory");
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let admin = Admin::bind(&config::Admin { socket: Some(directory.path().join("admin.sock")), address: Some(loopback) }).expect("bound");
    let address = admin.address().expect("bound");
    let (requests, mut received) = mpsc::channel::<Request>(8);
    tokio::spawn(async move {
        while let Some(Request { command, reply }) = received.recv().await {
            let answer: Reply = match command {
                Command::ReopenLogs => Err("the disk is gone".to_owned()),
                Command::ShowClusters(Format::Json) => Ok(Page::Json("{}".to_owned())),
                other => Ok(Page::Text(format!("{other:?}\n"))),
            };
            reply.send(answer).expect("the API waits for it");
        }
    });
    let control = Control { registry: Registry::new(), logging: Handle::for_tests(), requests };
    control.registry.set_state(ServerState::Live);
    tokio::spawn(admin.serve(control.clone()));
    Setting { directory, address, control }
}

impl Setting {
    /// The whole response, head and all.
    async fn tcp(&self, request: &str) -> String {
        exchange(TcpStream::connect(self.address).await.expect("connected"), request).await
    }

    async fn send(&self, method: &str, target: &str) -> String {
        let stream = UnixStream::connect(self.directory.path().join("admin.sock")).await.expect("connected");
        exchange(stream, &format!("{method} {target} HTTP/1.1\r\nHost: whatever\r\nConnection: close\r\n\r\n")).await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("read");
    response
}

fn body(response: &str) -> &str {
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    response.split_once("\r\n\r\n").expect("a head").1
}

#[tokio::test]
async fn every_page_answers() {
    let setting = setting();
    for Route { path, access, .. } in ROUTES {
        if access.reads() {
            assert!(!body(&setting.send("GET", path).await).is_empty(), "{path}");
            assert!(body(&setting.send("HEAD", path).await).is_empty(), "{path}");
        }
    }
    assert!(body(&setting.send("GET", "/").await).contains("<a href=\"/stats\">"));
    assert!(body(&setting.send("GET", "/help").await).contains("/quitquitquit"));
    assert!(setting.send("GET", "/nothing").await.starts_with("HTTP/1.1 404 "));
    let info: serde_json::Value = serde_json::from_str(body(&setting.send("GET", "/server_info").await)).expect("valid JSON");
    assert_eq!(info["state"], "LIVE");
    let memory: serde_json::Value = serde_json::from_str(body(&setting.send("GET", "/memory").await)).expect("valid JSON");
    assert!(memory["resident"].as_u64() > Some(0));
}

#[tokio::test]
async fn changes_are_posts_and_reach_the_server() {
    let setting = setting();
    let refused = setting.send("GET", "/quitquitquit").await;
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: POST\r\n"), "{refused}");
    let refused = setting.send("POST", "/stats").await;
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD\r\n"), "{refused}");
    assert_eq!(body(&setting.send("POST", "/quitquitquit").await), "Quit\n");
    assert_eq!(body(&setting.send("POST", "/drain_listeners").await), "DrainListeners\n");
    let failed = setting.send("POST", "/reopen_logs").await;
    assert!(failed.starts_with("HTTP/1.1 500 ") && failed.ends_with("the disk is gone\n"), "{failed}");
    assert!(setting.send("GET", "/clusters?format=json").await.contains("content-type: application/json\r\n"));
    assert!(setting.send("GET", "/clusters?format=xml").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn ready_follows_the_state_and_the_healthcheck() {
    let setting = setting();
    assert_eq!(body(&setting.send("GET", "/ready").await), "LIVE\n");
    setting.send("POST", "/healthcheck/fail").await;
    let failed = setting.send("GET", "/ready").await;
    assert!(failed.starts_with("HTTP/1.1 503 ") && failed.ends_with("DRAINING\n"), "{failed}");
    setting.send("POST", "/healthcheck/ok").await;
    assert_eq!(body(&setting.send("GET", "/ready").await), "LIVE\n");
    setting.control.registry.set_state(ServerState::Draining);
    assert!(setting.send("GET", "/ready").await.starts_with("HTTP/1.1 503 "));
}

#[tokio::test]
async fn statistics_come_in_three_formats() {
    let setting = setting();
    setting.control.registry.add_worker().downstream_rq_total.add(3);
    assert_eq!(body(&setting.send("GET", "/stats?filter=http.downstream_rq&usedonly").await), "http.downstream_rq_total: 3\n");
    let json = setting.send("GET", "/stats?format=json&filter=downstream%5Frq_total").await;
    assert_eq!(body(&json), "{\"stats\":[{\"name\":\"http.downstream_rq_total\",\"value\":3}]}\n");
    let prometheus = setting.send("GET", "/stats/prometheus").await;
    assert!(prometheus.contains("content-type: text/plain; version=0.0.4"));
    assert!(body(&prometheus).contains("\noutrider_http_downstream_rq_total 3\n"));
    let same = setting.send("GET", "/stats?format=prometheus&usedonly&filter=downstream_rq_total").await;
    let expected = "# HELP outrider_http_downstream_rq_total Requests read\n# TYPE outrider_http_downstream_rq_total counter\n\
                    outrider_http_downstream_rq_total 3\n";
    assert_eq!(body(&same), expected);
}

#[tokio::test]
async fn levels_are_shown_and_changed() {
    let setting = setting();
    assert!(body(&setting.send("GET", "/logging").await).contains("\ndns: info\n"));
    assert!(body(&setting.send("POST", "/logging?dns=debug").await).contains("\ndns: debug\n"));
    assert!(body(&setting.send("POST", "/logging?level=warn").await).contains("\ndns: warn\n"));
    for wrong in ["", "?level=loud", "?dsn=debug", "?level=info&dns=debug"] {
        assert!(setting.send("POST", &format!("/logging{wrong}")).await.starts_with("HTTP/1.1 400 "), "{wrong}");
    }
    assert!(body(&setting.send("GET", "/logging?format=json").await).contains("\"dns\":\"warn\""));
}

#[tokio::test]
async fn the_loopback_address_is_guarded() {
    let setting = setting();
    let ask = async |fields: &str| setting.tcp(&format!("GET /ready HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")).await;
    assert!(ask("Host: localhost\r\n").await.starts_with("HTTP/1.1 200 "));
    assert!(ask("Host: evil.example\r\n").await.starts_with("HTTP/1.1 403 "));
    assert!(ask("Host: localhost\r\nOrigin: http://evil.example\r\n").await.starts_with("HTTP/1.1 403 "));
    let large = "POST /logging HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n";
    assert!(setting.tcp(large).await.starts_with("HTTP/1.1 413 "));
}

#[test]
fn queries_are_decoded() {
    let decoded = parse_query("a=b%20c&usedonly&&x=1=2&%zz=%4");
    let pairs: Vec<(&str, &str)> = decoded.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("a", "b c"), ("usedonly", ""), ("x", "1=2"), ("%zz", "%4")]);
}
