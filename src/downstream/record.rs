//! What is remembered of a stream until its line in the access log is written.

use std::cell::Cell;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::fault::Shape;
use super::reasons;
use crate::access_log;
use crate::cluster::Cluster;
use crate::codec::authority::Authority;
use crate::event_loop::{ScratchVec, coarse_now};
use crate::probes;

/// The facts of one stream, gathered on its way.
pub(super) struct StreamRecord {
    pub request_id: u64,
    pub started: Instant,
    /// Method, target and rule, back to back: one lent string instead of three.
    text: Text,
    /// The method begins where the text does, and ends where the target begins.
    target: Range<u32>,
    rule: Range<u32>,
    /// Named in the log where no cluster was come to.
    destination: Range<u32>,
    pub minor_version: u8,
    pub status: Option<u16>,
    pub flag: &'static str,
    pub reason: &'static str,
    pub detail: Option<Box<str>>,
    pub cluster: Option<Rc<Cluster>>,
    pub endpoint: Option<SocketAddr>,
    pub reused: bool,
    /// Bytes of body or tunnel from the client, and to it.
    pub received: Cell<u64>,
    pub sent: Cell<u64>,
    /// Bytes of heads, which only the connection's counters take in.
    pub heads_received: u32,
    pub heads_sent: Cell<u32>,
    pub dns: Lap,
    pub connect: Lap,
    pub first_byte: Lap,
    /// From the beginning of the stream to the sending of the request whose answer came whole. Absent for a tunnel.
    pub request_sent: Lap,
    /// A health probe is no news.
    pub quiet: bool,
}

/// How long a part of a stream took, if it took place: in microseconds, up to an hour, and in a quarter of the room, since a
/// tunnel at rest remembers three.
#[derive(Clone, Copy)]
pub(super) struct Lap(u32);

impl Lap {
    const NONE: Lap = Lap(u32::MAX);

    /// From `start` to the last wake-up of the event loop.
    pub fn since(start: Instant) -> Lap {
        Some(coarse_now().saturating_duration_since(start)).into()
    }

    pub fn get(self) -> Option<Duration> {
        (self.0 != Lap::NONE.0).then(|| Duration::from_micros(self.0.into()))
    }
}

impl From<Option<Duration>> for Lap {
    fn from(duration: Option<Duration>) -> Lap {
        duration.map_or(Lap::NONE, |duration| Lap(duration.as_micros().min(u128::from(Lap::NONE.0 - 1)) as u32))
    }
}

enum Text {
    Lent(ScratchVec),
    /// For streams that may stay long: as small as can be.
    Own(Box<[u8]>),
}

impl Text {
    fn bytes(&self) -> &[u8] {
        match self {
            Text::Lent(text) => text,
            Text::Own(text) => text,
        }
    }
}

impl StreamRecord {
    pub fn begin(request_id: u64, text: ScratchVec) -> Self {
        StreamRecord {
            request_id,
            started: coarse_now(),
            text: Text::Lent(text),
            target: 0..0,
            rule: 0..0,
            minor_version: 1,
            status: None,
            flag: "",
            reason: "",
            detail: None,
            cluster: None,
            destination: 0..0,
            endpoint: None,
            reused: false,
            received: Cell::new(0),
            sent: Cell::new(0),
            heads_received: 0,
            heads_sent: Cell::new(0),
            dns: Lap::NONE,
            connect: Lap::NONE,
            first_byte: Lap::NONE,
            request_sent: Lap::NONE,
            quiet: false,
        }
    }

    pub fn set_request(&mut self, method: &[u8], target: &[u8], minor_version: u8) {
        debug_assert!(self.text.bytes().is_empty());
        self.push(method);
        self.target = self.push(target);
        self.minor_version = minor_version;
    }

    pub fn set_rule(&mut self, rule: &str) {
        self.rule = self.push(rule.as_bytes());
    }

    pub fn set_destination(&mut self, authority: &Authority) {
        self.destination = self.push(authority.to_string().as_bytes());
    }

    pub fn method(&self) -> &[u8] {
        self.text(&(0..self.target.start))
    }

    pub fn rule(&self) -> &str {
        std::str::from_utf8(self.text(&self.rule)).unwrap_or_default()
    }

    /// The method and the destination as it was understood: for people, printable, and no longer than a line.
    pub fn asked(&self) -> String {
        const LONGEST_METHOD: usize = 32;
        let method = self.method().iter().take(LONGEST_METHOD).filter(|byte| byte.is_ascii_graphic());
        let method: String = method.map(|&byte| char::from(byte)).collect();
        let destination = match &self.cluster {
            Some(cluster) => cluster.label(),
            None => std::str::from_utf8(self.text(&self.destination)).unwrap_or_default(),
        };
        format!("{method} {destination}")
    }

    pub fn set_fault(&mut self, shape: &Shape, detail: Option<String>) {
        self.flag = shape.flag;
        self.reason = shape.reason;
        self.detail = detail.map(String::into_boxed_str);
    }

    /// Gives the lent string back, for a stream that is going to stay.
    pub fn compact(&mut self) {
        self.text = Text::Own(self.text.bytes().into());
    }

    /// The stream has its connection; tracers are told.
    pub fn upstream_is_ready(&self, descriptor: RawFd) {
        probes::upstream_ready(self.request_id, descriptor, self.reused, self.dns.get(), self.connect.get());
    }

    /// The finishing step: one line, and the counters that belong to a whole stream.
    pub fn finish(&mut self, connection: &Connection) {
        let context = &connection.context;
        let stats = &context.stats;
        match self.status {
            Some(200..300) => stats.downstream_rq_2xx.increment(),
            Some(300..400) => stats.downstream_rq_3xx.increment(),
            Some(400..500) => stats.downstream_rq_4xx.increment(),
            Some(500..) => stats.downstream_rq_5xx.increment(),
            _ => {}
        }
        stats.downstream_cx_rx_bytes.add(u64::from(self.heads_received) + self.received.get());
        stats.downstream_cx_tx_bytes.add(u64::from(self.heads_sent.get()) + self.sent.get());
        if let Some(cluster) = &self.cluster {
            let counts = &cluster.counts().cluster;
            counts.upstream_cx_tx_bytes_total.add(self.received.get());
            counts.upstream_cx_rx_bytes_total.add(self.sent.get());
        }
        let duration = self.started.elapsed();
        connection.end_request();
        stats.downstream_rq_time.record_duration(duration);
        if let Some(sent) = self.request_sent.get() {
            stats.upstream_rq_time.record_duration(duration.saturating_sub(sent));
        }
        probes::stream_end(self.request_id, self.status, self.received.get(), self.sent.get(), self.first_byte.get(), duration);
        debug_assert!(self.reason.is_empty() || reasons::is_listed(self.reason), "{} is not documented", self.reason);
        if self.quiet {
            return;
        }
        let destination = self.text(&self.destination);
        let cluster = self.cluster.as_ref().map_or(destination, |cluster| cluster.label().as_bytes());
        context.access_log.write(&access_log::Record {
            request_id: self.request_id,
            listener: &connection.listener.name,
            worker: context.worker,
            client: connection.client,
            method: self.method(),
            target: self.text(&self.target),
            minor_version: self.minor_version,
            status: self.status,
            response_flag: self.flag,
            reason: self.reason,
            detail: self.detail.as_deref().unwrap_or(""),
            rule: self.text(&self.rule),
            cluster,
            endpoint: self.endpoint,
            reused: self.reused,
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            dns: self.dns.get(),
            connect: self.connect.get(),
            first_byte: self.first_byte.get(),
            duration,
        });
    }

    fn push(&mut self, bytes: &[u8]) -> Range<u32> {
        match &mut self.text {
            Text::Lent(text) => {
                let start = text.len() as u32;
                text.extend_from_slice(bytes);
                start..text.len() as u32
            }
            Text::Own(_) => unreachable!("a stream is described before it is compacted"),
        }
    }

    fn text(&self, range: &Range<u32>) -> &[u8] {
        &self.text.bytes()[range.start as usize..range.end as usize]
    }
}
