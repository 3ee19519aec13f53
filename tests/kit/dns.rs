//! A name server with scripted answers, over UDP and TCP on one port.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Answers until it is dropped. A name that nobody set does not exist.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a name is answered with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A and AAAA records by the kind of each address; of a kind that is not there, no data.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    NxDomain,
    ServFail,
    /// Nothing at all.
    Silence,
    /// Over UDP an empty answer with the TC bit; over TCP these.
    Truncated {
        addresses: Vec<IpAddr>,
        ttl: u32,
    },
    /// An answer to another question than the one that was asked.
    WrongQuestion {
        addresses: Vec<IpAddr>,
    },
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    udp_queries: Vec<Question>,
    tcp_queries: Vec<Question>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    /// Lower case, without the last dot.
    name: String,
    kind: u16,
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl DnsServer {
    pub fn start() -> Self {
        // Rarely, the TCP port is somebody else's.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a port that is free for both");
        let address = udp.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let threads = vec![
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || serve_udp(&udp, &shared)
            }),
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || serve_tcp(&tcp, &shared)
            }),
        ];
        Self { address, shared, threads }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what a name is answered with from now on.
    pub fn set(&self, name: &str, answer: Answer) -> &Self {
        self.shared.lock().answers.insert(name.to_ascii_lowercase(), answer);
        self
    }

    /// `name` has these addresses, for a minute.
    pub fn resolve(&self, name: &str, addresses: &[&str]) -> &Self {
        self.resolve_with_ttl(name, addresses, 60)
    }

    pub fn resolve_with_ttl(&self, name: &str, addresses: &[&str], ttl: u32) -> &Self {
        let addresses = addresses.iter().map(|address| address.parse().expect("an IP address")).collect();
        self.set(name, Answer::Addresses { addresses, ttl })
    }

    /// How often `name` was asked for, any type, both transports.
    pub fn queries(&self, name: &str) -> usize {
        let state = self.shared.lock();
        state.udp_queries.iter().chain(&state.tcp_queries).filter(|question| question.name.eq_ignore_ascii_case(name)).count()
    }

    pub fn a_queries(&self, name: &str) -> usize {
        self.count(name, A)
    }

    pub fn aaaa_queries(&self, name: &str) -> usize {
        self.count(name, AAAA)
    }

    pub fn tcp_queries(&self) -> usize {
        self.shared.lock().tcp_queries.len()
    }

    fn count(&self, name: &str, kind: u16) -> usize {
        let state = self.shared.lock();
        let question = Question { name: name.to_ascii_lowercase(), kind };
        state.udp_queries.iter().chain(&state.tcp_queries).filter(|asked| **asked == question).count()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Both threads look up from their calls and see that it is over.
        let wake = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[0], self.address));
        let _ = (wake, TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let query = &buffer[..length];
        let Some((question, end)) = read_question(query) else { continue };
        let mut state = shared.lock();
        state.udp_queries.push(question.clone());
        let answer = state.answers.get(&question.name).cloned().unwrap_or(Answer::NxDomain);
        drop(state);
        if let Some(response) = respond(query, end, &question, &answer, false) {
            let _ = socket.send_to(&response, from);
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else { continue };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve_stream(stream, &shared));
    }
}

fn serve_stream(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).ok()?;
        let (question, end) = read_question(&query)?;
        let mut state = shared.lock();
        state.tcp_queries.push(question.clone());
        let answer = state.answers.get(&question.name).cloned().unwrap_or(Answer::NxDomain);
        drop(state);
        if let Some(response) = respond(&query, end, &question, &answer, true) {
            let length = u16::try_from(response.len()).expect("short").to_be_bytes();
            stream.write_all(&[&length, response.as_slice()].concat()).ok()?;
        }
    }
}

/// The first question of a query, and where it ends.
fn read_question(query: &[u8]) -> Option<(Question, usize)> {
    let mut labels = Vec::new();
    let mut position = 12;
    loop {
        let length = usize::from(*query.get(position)?);
        position += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(position..position + length)?).to_ascii_lowercase());
        position += length;
    }
    let kind = u16::from_be_bytes([*query.get(position)?, *query.get(position + 1)?]);
    Some((Question { name: labels.join("."), kind }, position + 4))
}

fn respond(query: &[u8], question_end: usize, question: &Question, answer: &Answer, tcp: bool) -> Option<Vec<u8>> {
    const NONE: &[IpAddr] = &[];
    let (code, truncated, addresses, ttl) = match answer {
        Answer::Silence => return None,
        Answer::NxDomain => (3, false, NONE, 0),
        Answer::ServFail => (2, false, NONE, 0),
        Answer::Truncated { .. } if !tcp => (0, true, NONE, 0),
        Answer::Addresses { addresses, ttl } | Answer::Truncated { addresses, ttl } => (0, false, addresses.as_slice(), *ttl),
        Answer::WrongQuestion { addresses } => (0, false, addresses.as_slice(), 60),
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, question.kind) {
            (IpAddr::V4(address), A) => Some(address.octets().to_vec()),
            (IpAddr::V6(address), AAAA) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut response = query.get(..question_end)?.to_vec();
    // A response with recursion available; RD as it was asked for.
    response[2] = 0x80 | (response[2] & 0x01) | if truncated { 0x02 } else { 0 };
    response[3] = 0x80 | code;
    response[4..6].copy_from_slice(&1u16.to_be_bytes());
    response[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    response[8..12].fill(0);
    if matches!(answer, Answer::WrongQuestion { .. }) {
        // Another first letter.
        response[13] ^= 0x01;
    }
    for record in records {
        // The name of the question.
        response.extend_from_slice(&[0xc0, 12]);
        response.extend_from_slice(&question.kind.to_be_bytes());
        response.extend_from_slice(&1u16.to_be_bytes());
        response.extend_from_slice(&ttl.to_be_bytes());
        response.extend_from_slice(&(record.len() as u16).to_be_bytes());
        response.extend_from_slice(&record);
    }
    Some(response)
}
