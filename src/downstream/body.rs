//! Bodies on their way from one connection to another: decoded strictly, framed anew, with
//! back-pressure and without a buffer while nothing moves.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::hush::hushing;
use super::io::{fill, write_all};
use super::splice::splice_exactly;
use crate::codec::Refusal;
use crate::codec::chunked::{Decoder, Step, chunk_head};
use crate::codec::field::NamedFields;
use crate::codec::framing::Framing;
use crate::config::{HeaderKeyFormat, Http1};
use crate::event_loop::{Buffer, Deadline, EventLoop, spend};
use crate::sockopt;

/// Below this, a pipe costs more than the copies it saves.
const SPLICE_FROM: u64 = 128 * 1024;
/// Data slices taken from one buffer for one write.
const SLICES: usize = 16;
/// Chunks with less data than this are moved together: copying it costs less than a slice.
const SMALL_CHUNK: usize = 512;
/// What a lap of a body takes of its task's turn, besides what its chunks take ([`spend`]).
const LAP: u32 = 32;
/// Steps of the chunked decoder for one unit more.
const STEPS_PER_UNIT: u32 = 64;
/// A sink that has so many bytes yet to acknowledge is not waiting for larger pieces.
const BEHIND: usize = 512 * 1024;

/// A body being passed on.
pub(super) struct Body {
    incoming: Incoming,
    /// Whether it leaves in chunks; otherwise its bytes leave bare.
    chunked: bool,
}

/// Where the body ends on the way in.
enum Incoming {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Done,
}

/// Why a body did not arrive whole.
#[derive(Debug)]
pub(super) enum BodyFault {
    /// The sender closed before the end.
    SourceClosed,
    SourceFailed(io::Error),
    Malformed(Refusal),
    SinkFailed(io::Error),
    /// Nothing moved; whether the sender or the receiver was waited for.
    Idle {
        source: bool,
    },
}

/// What a body needs while it moves.
pub(super) struct Relay<'a> {
    pub event_loop: &'a EventLoop,
    pub deadline: &'a Deadline,
    pub idle_timeout: Duration,
    /// Bytes of body that arrived.
    pub moved: &'a Cell<u64>,
    /// Set before anything is written to the sink.
    pub began: &'a Cell<bool>,
}

impl Body {
    /// The body of a request; `hop_by_hop` is what its Connection names.
    pub fn of_request(framing: Framing, hop_by_hop: &NamedFields, options: &Http1) -> Self {
        Body::new(framing, framing, options, |kept| Decoder::new(options.max_request_headers, kept).drop_hop_by_hop(hop_by_hop.clone()))
    }

    /// The body of a response.
    pub fn of_response(incoming: Framing, outgoing: Framing, hop_by_hop: &NamedFields, options: &Http1) -> Self {
        Body::new(incoming, outgoing, options, |kept| {
            let decoder = Decoder::new(options.max_response_headers, kept).allow_blanks(options.allow_blanks_after_chunk_size);
            decoder.drop_forbidden().drop_hop_by_hop(hop_by_hop.clone())
        })
    }

    fn new(incoming: Framing, outgoing: Framing, options: &Http1, decoder: impl FnOnce(Option<HeaderKeyFormat>) -> Decoder) -> Self {
        let chunked = outgoing == Framing::Chunked;
        let incoming = match incoming {
            Framing::None | Framing::Length(0) => Incoming::Done,
            Framing::Length(length) => Incoming::Length(length),
            Framing::Chunked => {
                let kept = (options.enable_trailers && chunked).then_some(options.header_key_format);
                Incoming::Chunked(Box::new(decoder(kept)))
            }
            Framing::UntilClose => Incoming::UntilClose,
        };
        Body { incoming, chunked }
    }

    fn is_done(&self) -> bool {
        matches!(self.incoming, Incoming::Done)
    }

    /// Sends `head`, which is written already, and the body after it. Bytes in `buffer` come first;
    /// what is left there afterwards belongs to the next message.
    pub async fn relay(
        mut self,
        source: &TcpStream,
        sink: &TcpStream,
        head: &[u8],
        buffer: &mut Option<Buffer>,
        relay: &Relay<'_>,
    ) -> Result<(), BodyFault> {
        let mut head = head;
        let mut buffers = &relay.event_loop.buffers;
        loop {
            let bytes = buffer.as_mut().map_or(&mut [][..], Buffer::bytes_mut);
            let taken = self.take(bytes).map_err(BodyFault::Malformed)?;
            let length = taken.data_length();
            relay.moved.set(relay.moved.get() + length as u64);
            relay.began.set(true);
            hushing(source, self.send(sink, head, bytes, &taken, length, relay)).await?;
            head = &[];
            if let Some(held) = buffer {
                // A sink that takes nothing more holds what was read for it; then it shall be little.
                let is_bulk = held.is_full() && sockopt::unacknowledged(sink).is_ok_and(|bytes| bytes < BEHIND);
                buffers = if is_bulk { &relay.event_loop.bulk_buffers } else { &relay.event_loop.buffers };
                held.consume(taken.used);
                if held.is_empty() {
                    *buffer = None;
                }
            }
            if taken.ended {
                return Ok(());
            }
            spend(LAP + taken.steps / STEPS_PER_UNIT).await;
            if let Incoming::Length(left) = self.incoming
                && left >= SPLICE_FROM
                && !self.chunked
                // Without a descriptor left for a pipe, copying goes on.
                && let Ok(pipe) = relay.event_loop.pipes.lend()
            {
                return splice_exactly(source, sink, pipe, left, relay).await;
            }
            relay.deadline.set(relay.idle_timeout);
            match relay.deadline.limit(fill(source, buffer, buffers)).await {
                None => return Err(BodyFault::Idle { source: true }),
                Some(Ok(0)) if matches!(self.incoming, Incoming::UntilClose) => self.incoming = Incoming::Done,
                Some(Ok(0)) => return Err(BodyFault::SourceClosed),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(BodyFault::SourceFailed(error)),
            }
        }
    }

    /// Finds the data of this body in `bytes`, all of it, and moves it together where it lies in too many places for one
    /// write. What is left behind `used` belongs to the next message.
    fn take(&mut self, bytes: &mut [u8]) -> Result<Taken, Refusal> {
        let mut taken = Taken { data: SmallVec::new(), used: 0, steps: 0, ended: false };
        match &mut self.incoming {
            Incoming::Done => {}
            Incoming::Length(left) => {
                let length = (*left).min(bytes.len() as u64);
                *left -= length;
                taken.add(length as usize);
                if *left == 0 {
                    self.incoming = Incoming::Done;
                }
            }
            Incoming::UntilClose => taken.add(bytes.len()),
            Incoming::Chunked(decoder) => {
                while taken.used < bytes.len() && !decoder.is_done() {
                    taken.steps += 1;
                    match decoder.step(&bytes[taken.used..])? {
                        Step::Data(length) => taken.add_chunk(bytes, length),
                        Step::Framing(length) => taken.used += length,
                        Step::Done => break,
                    }
                }
                taken.ended = decoder.is_done();
            }
        }
        taken.ended |= self.is_done();
        Ok(taken)
    }

    async fn send(
        &self,
        sink: &TcpStream,
        head: &[u8],
        bytes: &[u8],
        taken: &Taken,
        length: usize,
        relay: &Relay<'_>,
    ) -> Result<(), BodyFault> {
        let chunk = if self.chunked && length > 0 { chunk_head(length) } else { SmallVec::new() };
        let mut slices: SmallVec<[IoSlice<'_>; SLICES + 6]> = SmallVec::new();
        slices.push(IoSlice::new(head));
        slices.push(IoSlice::new(&chunk));
        slices.extend(taken.data.iter().map(|range| IoSlice::new(&bytes[range.clone()])));
        if self.chunked && length > 0 {
            slices.push(IoSlice::new(b"\r\n"));
        }
        if self.chunked && taken.ended {
            slices.push(IoSlice::new(b"0\r\n"));
            if let Incoming::Chunked(decoder) = &self.incoming {
                slices.push(IoSlice::new(decoder.trailers()));
            }
            slices.push(IoSlice::new(b"\r\n"));
        }
        slices.retain(|slice| !slice.is_empty());
        if slices.is_empty() {
            return Ok(());
        }
        relay.deadline.set(relay.idle_timeout);
        match relay.deadline.limit(write_all(sink, &mut slices)).await {
            None => Err(BodyFault::Idle { source: false }),
            Some(result) => result.map_err(BodyFault::SinkFailed),
        }
    }
}

/// What one look into a buffer found.
struct Taken {
    data: SmallVec<[Range<usize>; SLICES]>,
    /// Bytes of the buffer that are used up, data and framing.
    used: usize,
    /// Steps of the chunked decoder.
    steps: u32,
    /// Whether the message ended there.
    ended: bool,
}

impl Taken {
    fn add(&mut self, length: usize) {
        if length > 0 {
            self.data.push(self.used..self.used + length);
            self.used += length;
        }
    }

    /// Takes data of a chunk, which no framing lies behind yet.
    fn add_chunk(&mut self, bytes: &mut [u8], length: usize) {
        let is_full = self.data.len() == SLICES;
        match self.data.last_mut() {
            Some(last) if is_full || length < SMALL_CHUNK => {
                bytes.copy_within(self.used..self.used + length, last.end);
                last.end += length;
                self.used += length;
            }
            _ => self.add(length),
        }
    }

    fn data_length(&self) -> usize {
        self.data.iter().map(Range::len).sum()
    }
}
