//! The way back: from the upstream's first byte to the client's last.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::Context;
use super::body::{Body, BodyFault, Relay};
use super::fault::Fault;
use super::io::{fill, write_all};
use super::reply::To;
use crate::codec::Refusal;
use crate::codec::field::NamedFields;
use crate::codec::framing::Framing;
use crate::codec::head::HeadScanner;
use crate::codec::response::{ConnectionField, Reframed, RequestKind, Response};
use crate::config::Http1;
use crate::event_loop::{Buffer, Deadline, coarse_now};

/// A body up to this size that came with its head is copied behind it: cheaper than a second slice.
const COPIED_BODY: usize = 4096;

/// All that passing an answer back depends on.
pub(super) struct Answer<'a> {
    pub context: &'a Context,
    pub options: &'a Http1,
    pub deadline: &'a Deadline,
    pub idle_timeout: Duration,
    pub request_timeout: Option<Duration>,
    /// When `request_timeout` began.
    pub request_ended: Cell<Option<Instant>>,
    /// How long a head may take from its first byte to its last.
    pub head_timeout: Duration,
    /// When the first byte of the head that is being read came.
    pub head_began: Cell<Option<Instant>>,
    pub asked: Asked,
    /// Whether the whole request is out; until then neither connection may be used again.
    pub uploaded: &'a Cell<bool>,
    /// Whether the client has got a byte of the final answer.
    pub began: &'a Cell<bool>,
    pub first_byte: Cell<Option<Instant>>,
    pub status: Cell<Option<u16>>,
    pub sent: &'a Cell<u64>,
    pub heads_sent: &'a Cell<u32>,
}

/// What the request was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub kind: RequestKind,
    pub to: To,
    pub upgrade: bool,
    /// When the client's connection is too old for another request.
    pub expires: Option<Instant>,
}

/// What is true after a whole answer.
pub(super) struct Answered {
    /// The upstream connection is exactly between two exchanges.
    pub reusable: bool,
    /// The client may send another request.
    pub keeps_alive: bool,
    /// The client must see a reset, since nothing else tells it that the body is not whole.
    pub reset: bool,
    /// 101: what follows is a tunnel, and begins with `rest`.
    pub upgraded: bool,
    pub rest: Option<Buffer>,
}

/// What one response head means for what comes after it.
struct HeadFacts {
    interim: bool,
    upgraded: bool,
    incoming: Framing,
    outgoing: Framing,
    reusable: bool,
    keeps_alive: bool,
    /// What its Connection names, where trailers may come.
    hop_by_hop: NamedFields,
}

impl Answer<'_> {
    pub async fn run(&self, upstream: &TcpStream, client: &TcpStream) -> Result<Answered, Fault> {
        let mut buffer = None;
        let mut interim = 0;
        let (facts, mut out) = loop {
            let length = self.expect_head(upstream, &mut buffer).await?;
            let held = buffer.as_mut().expect("holds the head");
            // Not before, so that the many that wait share the few that are in the processor's cache.
            let mut out = self.context.event_loop.brief_scratch.lend();
            let facts = self.read_head(&held.bytes()[..length], &mut out)?;
            held.consume(length);
            self.head_began.set(None);
            if !facts.interim {
                break (facts, out);
            }
            interim += 1;
            if interim > self.options.max_interim_responses {
                return Err(Fault::TooManyInterimResponses);
            }
            // An HTTP/1.0 client does not know them (RFC 9110 section 15.2).
            if self.asked.to.minor_version == 1 {
                self.context.stats.downstream_rq_1xx.increment();
                self.write(client, &out).await?;
            }
            if held.is_empty() {
                buffer = None;
            }
        };
        self.pass_body(&facts, upstream, client, &mut out, &mut buffer).await?;
        Ok(Answered {
            // Bytes after the end belong to nobody (RFC 9112 section 9.2).
            reusable: facts.reusable && buffer.is_none() && self.uploaded.get(),
            keeps_alive: facts.keeps_alive,
            reset: false,
            upgraded: facts.upgraded,
            rest: buffer,
        })
    }

    /// Reads until a whole head is in the buffer; its length.
    async fn expect_head(&self, upstream: &TcpStream, buffer: &mut Option<Buffer>) -> Result<usize, Fault> {
        let mut scanner = HeadScanner::default();
        loop {
            if let Some(held) = buffer {
                match scanner.find_end(held.bytes(), self.options.max_response_headers) {
                    Ok(Some(end)) => return Ok(end),
                    Ok(None) if !may_be_status_line(held.bytes()) => return Err(Fault::Response(Refusal::InvalidStatusLine)),
                    Ok(None) => held.reserve(self.options.max_response_headers),
                    Err(refusal) => return Err(Fault::Response(refusal)),
                }
            }
            self.set_patience();
            match self.deadline.limit(fill(upstream, buffer, &self.context.event_loop.buffers)).await {
                None => return Err(self.impatience()),
                Some(Ok(0)) if buffer.is_some() => return Err(Fault::Response(Refusal::InvalidStatusLine)),
                Some(Ok(0)) => return Err(Fault::UpstreamClosed),
                Some(Ok(_)) => {
                    let now = coarse_now();
                    self.head_began.set(self.head_began.get().or(Some(now)));
                    self.first_byte.set(self.first_byte.get().or(Some(now)));
                }
                Some(Err(error)) => return Err(Fault::UpstreamReset(error)),
            }
        }
    }

    /// Sets how long to wait for the answer, which interim responses do not make longer.
    pub fn set_patience(&self) {
        let mut wait = self.idle_timeout;
        if let Some(began) = self.head_began.get() {
            wait = wait.min((began + self.head_timeout).saturating_duration_since(coarse_now()));
        } else if let Some(timeout) = self.request_timeout.filter(|_| self.uploaded.get()) {
            let now = Instant::now();
            let ended = self.request_ended.get().unwrap_or(now);
            self.request_ended.set(Some(ended));
            wait = wait.min((ended + timeout).saturating_duration_since(now));
        }
        self.deadline.set(wait);
    }

    /// What it means that the answer did not come.
    fn impatience(&self) -> Fault {
        if self.head_began.get().is_some() { Fault::ResponseHeadTimeout } else { Fault::ResponseTimeout }
    }

    /// Reads one head and writes its successor into `out`, without waiting.
    fn read_head(&self, head: &[u8], out: &mut Vec<u8>) -> Result<HeadFacts, Fault> {
        let mut fields = self.context.fields.borrow_mut();
        let response = Response::parse(head, self.asked.kind, self.options, &mut fields).map_err(Fault::Response)?;
        let upgraded = response.status == 101;
        if upgraded && !self.asked.upgrade {
            return Err(Fault::UnexpectedUpgrade);
        }
        let interim = response.is_interim();
        let (outgoing, delimited) = match response.framing {
            Framing::Chunked if self.asked.to.minor_version == 0 => (Framing::UntilClose, false),
            Framing::UntilClose if response.has_other_coding() => {
                if self.asked.to.minor_version == 0 {
                    return Err(Fault::Response(Refusal::UnsupportedTransferCoding));
                }
                (Framing::UntilClose, false)
            }
            Framing::UntilClose if self.asked.to.minor_version == 1 => (Framing::Chunked, true),
            Framing::UntilClose => (Framing::UntilClose, false),
            framing => (framing, true),
        };
        let keeps_alive = delimited
            && self.asked.to.keeps_alive
            && self.uploaded.get()
            && !self.context.drain.has_begun()
            && self.asked.expires.is_none_or(|at| Instant::now() < at);
        let connection = match (upgraded, interim, keeps_alive, self.asked.to.minor_version) {
            (true, ..) => ConnectionField::Upgrade,
            (_, true, ..) => ConnectionField::Absent,
            (_, _, false, _) => ConnectionField::Close,
            (_, _, true, 0) => ConnectionField::KeepAlive,
            (_, _, true, _) => ConnectionField::Absent,
        };
        if !interim {
            self.status.set(Some(response.status));
        }
        let date = || self.context.event_loop.clock.http_date();
        response.write_forwarded(Reframed { framing: outgoing, connection }, self.options, date, out);
        self.heads_sent.set(self.heads_sent.get() + out.len() as u32);
        Ok(HeadFacts {
            interim,
            upgraded,
            incoming: if upgraded { Framing::None } else { response.framing },
            outgoing,
            reusable: !upgraded && response.keeps_alive(),
            keeps_alive: keeps_alive && !upgraded,
            hop_by_hop: if response.framing == Framing::Chunked { response.connection.named_fields() } else { NamedFields::default() },
        })
    }

    /// Sends the head in `out` and the body behind it.
    async fn pass_body(
        &self,
        facts: &HeadFacts,
        upstream: &TcpStream,
        client: &TcpStream,
        out: &mut Vec<u8>,
        buffer: &mut Option<Buffer>,
    ) -> Result<(), Fault> {
        let mut incoming = facts.incoming;
        if let (Framing::Length(length), Some(held)) = (incoming, buffer.as_mut())
            && length <= COPIED_BODY as u64
            && let Some(body) = held.bytes().get(..length as usize)
        {
            out.extend_from_slice(body);
            held.consume(length as usize);
            self.sent.set(length);
            incoming = Framing::None;
        }
        if buffer.as_ref().is_some_and(Buffer::is_empty) {
            *buffer = None;
        }
        if incoming == Framing::None {
            self.began.set(true);
            return self.write(client, out).await;
        }
        let relay = Relay {
            event_loop: &self.context.event_loop,
            deadline: self.deadline,
            idle_timeout: self.idle_timeout,
            moved: self.sent,
            began: self.began,
        };
        let body = Body::of_response(incoming, facts.outgoing, &facts.hop_by_hop, self.options);
        // Boxed, so that small answers do not carry its size.
        Box::pin(body.relay(upstream, client, out, buffer, &relay)).await.map_err(|fault| match fault {
            BodyFault::SourceClosed => Fault::UpstreamClosed,
            BodyFault::SourceFailed(error) => Fault::UpstreamReset(error),
            BodyFault::Malformed(refusal) => Fault::Response(refusal),
            BodyFault::SinkFailed(_) => Fault::ClientGone,
            BodyFault::Idle { .. } => Fault::StreamIdle,
        })
    }

    async fn write(&self, client: &TcpStream, out: &[u8]) -> Result<(), Fault> {
        match self.deadline.limit(write_all(client, &mut [std::io::IoSlice::new(out)])).await {
            None => Err(Fault::StreamIdle),
            Some(Err(_)) => Err(Fault::ClientGone),
            Some(Ok(())) => Ok(()),
        }
    }
}

/// Whether bytes can still become a status line; what speaks another protocol may never send more.
fn may_be_status_line(bytes: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/";
    bytes.iter().zip(START).all(|(byte, expected)| byte == expected)
}
