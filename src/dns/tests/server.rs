//! A DNS server that says what a test tells it to, over UDP and TCP on one port.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    rules: HashMap<(String, RecordType), Rule>,
    asked: HashMap<(String, RecordType), usize>,
    all: usize,
    over_tcp: usize,
}

#[derive(Clone)]
pub(super) enum Rule {
    /// Addresses or, for what is none, aliases; with this TTL.
    Answer(u32, Vec<String>),
    Code(ResponseCode),
    Silent,
    /// Truncated over UDP, the addresses over TCP.
    Truncated(Vec<String>),
    /// FORMERR while the question has EDNS.
    NoEdns(Vec<String>),
    Late(Duration, Vec<String>),
}

impl Server {
    pub(super) async fn start() -> Server {
        // Another process may hold the TCP port of a random UDP port.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let server = Server { address: udp.local_addr().unwrap(), script: Arc::default() };
        tokio::spawn(server.clone().serve_udp(Arc::new(udp)));
        tokio::spawn(server.clone().serve_tcp(tcp));
        server
    }

    /// What questions for A and AAAA of `name` get; `*` stands for all names without a rule.
    pub(super) fn both(&self, name: &str, rule: Rule) {
        self.rule(name, RecordType::A, rule.clone());
        self.rule(name, RecordType::AAAA, rule);
    }

    pub(super) fn rule(&self, name: &str, kind: RecordType, rule: Rule) {
        self.script.lock().unwrap().rules.insert((name.to_owned(), kind), rule);
    }

    pub(super) fn answer(&self, name: &str, time_to_live: u32, addresses: &[&str]) {
        self.both(name, answer(time_to_live, addresses));
    }

    pub(super) fn asked(&self, name: &str) -> usize {
        let script = self.script.lock().unwrap();
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| script.asked.get(&(name.to_owned(), kind)))
            .copied()
            .max()
            .unwrap_or(0)
    }

    pub(super) fn asked_in_all(&self) -> usize {
        self.script.lock().unwrap().all
    }

    pub(super) fn asked_over_tcp(&self) -> usize {
        self.script.lock().unwrap().over_tcp
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            let (reply, delay) = self.reply(&buffer[..length], false);
            let Some(reply) = reply else { continue };
            if delay.is_zero() {
                socket.send_to(&reply, client).await.unwrap();
                continue;
            }
            let socket = socket.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = socket.send_to(&reply, client).await;
            });
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut question = vec![0; length.into()];
                    stream.read_exact(&mut question).await.unwrap();
                    let (Some(reply), _) = server.reply(&question, true) else { continue };
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            });
        }
    }

    fn reply(&self, question: &[u8], over_tcp: bool) -> (Option<Vec<u8>>, Duration) {
        let question = Message::from_vec(question).unwrap();
        let name = question.queries[0].name().to_ascii().trim_end_matches('.').to_owned();
        let kind = question.queries[0].query_type();
        let key = (name, kind);
        let mut script = self.script.lock().unwrap();
        *script.asked.entry(key.clone()).or_default() += 1;
        script.all += 1;
        script.over_tcp += usize::from(over_tcp);
        let rule = script.rules.get(&key).or_else(|| script.rules.get(&("*".to_owned(), kind))).cloned();
        drop(script);
        let has_edns = question.edns.is_some();
        let mut reply = question.into_response();
        let mut delay = Duration::ZERO;
        match rule.unwrap_or(Rule::Code(ResponseCode::NXDomain)) {
            Rule::Answer(time_to_live, data) => reply.answers = records(&key.0, kind, time_to_live, &data),
            Rule::Truncated(_) if !over_tcp => reply.metadata.truncation = true,
            Rule::NoEdns(_) if has_edns => reply.metadata.response_code = ResponseCode::FormErr,
            Rule::Truncated(data) | Rule::NoEdns(data) => reply.answers = records(&key.0, kind, 60, &data),
            Rule::Late(by, data) => {
                reply.answers = records(&key.0, kind, 60, &data);
                delay = by;
            }
            Rule::Code(code) => reply.metadata.response_code = code,
            Rule::Silent => return (None, delay),
        }
        (Some(reply.to_vec().unwrap()), delay)
    }
}

pub(super) fn answer(time_to_live: u32, data: &[&str]) -> Rule {
    Rule::Answer(time_to_live, texts(data))
}

pub(super) fn texts(data: &[&str]) -> Vec<String> {
    data.iter().map(|text| text.to_string()).collect()
}

/// An alias changes the owner of what stands behind it.
fn records(name: &str, kind: RecordType, time_to_live: u32, data: &[String]) -> Vec<Record> {
    let mut owner = Name::from_ascii(format!("{name}.")).unwrap();
    let mut records = Vec::new();
    for text in data {
        let data = match text.parse() {
            Ok(IpAddr::V4(address)) if kind == RecordType::A => RData::A(A(address)),
            Ok(IpAddr::V6(address)) if kind == RecordType::AAAA => RData::AAAA(AAAA(address)),
            Ok(_) => continue,
            Err(_) => {
                let target = Name::from_ascii(format!("{text}.")).unwrap();
                records.push(Record::from_rdata(owner, time_to_live, RData::CNAME(CNAME(target.clone()))));
                owner = target;
                continue;
            }
        };
        records.push(Record::from_rdata(owner.clone(), time_to_live, data));
    }
    records
}
