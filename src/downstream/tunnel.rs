//! The byte relay after CONNECT or an Upgrade (RFC 9110 sections 9.3.6 and 7.8).
//!
//! A tunnel at rest holds no buffer and no pipe: small exchanges borrow a buffer for one read and
//! its write, bulk goes through a pipe. EOF on one side is passed on and leaves the other way open; a
//! reset is passed on as a reset.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;

use super::hush::{hush, listen};
use super::io::{end_write_half, read, write};
use super::splice::{acknowledge_soon, pull, push};
use crate::event_loop::{Buffer, Deadline, EventLoop, Pipe};

/// A direction that fills a buffer this often in a row is bulk.
const FULL_READS_BEFORE_SPLICE: u8 = 2;
/// Turns of one direction before other connections get theirs.
const TURNS: u32 = 8;

/// How a tunnel ended.
#[derive(Debug)]
pub(super) enum TunnelEnd {
    /// Both sides said all they had to say.
    Finished,
    Idle,
    MaxDuration,
    /// A new policy denies it; what says so.
    Revoked(String),
    ClientFailed(io::Error),
    UpstreamFailed(io::Error),
}

pub(super) struct Limits {
    pub idle_timeout: Duration,
    /// What is left of the longest time that the tunnel may take.
    pub max_duration: Option<Duration>,
}

/// Both ways of a tunnel.
pub(super) struct Ways {
    up: Direction,
    down: Direction,
    pub received: Cell<u64>,
    pub sent: Cell<u64>,
}

impl Ways {
    /// The buffers hold what came before the relay started.
    pub fn new(from_client: Option<Buffer>, from_upstream: Option<Buffer>) -> Self {
        Ways { up: Direction::new(from_client), down: Direction::new(from_upstream), received: Cell::new(0), sent: Cell::new(0) }
    }
}

/// Relays until both directions have ended or one failed, or `revoked`, asked at every turn, says why it may not go on. The
/// future is part of what a tunnel at rest costs; it holds nothing but what its turns need.
pub(super) fn relay<'a>(
    client: &'a TcpStream,
    upstream: &'a TcpStream,
    ways: &'a mut Ways,
    event_loop: &'a EventLoop,
    deadline: &'a Deadline,
    limits: Limits,
    mut revoked: impl FnMut() -> Option<String> + 'a,
) -> impl Future<Output = TunnelEnd> + 'a {
    let Limits { idle_timeout, max_duration } = limits;
    let mut lifetime = max_duration.map(|max| Box::pin(tokio::time::sleep(max)));
    deadline.set(idle_timeout);
    std::future::poll_fn(move |context| {
        if let Some(reason) = revoked() {
            return Poll::Ready(TunnelEnd::Revoked(reason));
        }
        let Ways { up, down, received, sent } = ways;
        let before = received.get() + sent.get();
        let upward = up.poll(context, client, upstream, event_loop, received);
        let downward = down.poll(context, upstream, client, event_loop, sent);
        match (upward, downward) {
            (Poll::Ready(Err(fault)), _) => return Poll::Ready(fault.of(true)),
            (_, Poll::Ready(Err(fault))) => return Poll::Ready(fault.of(false)),
            // Closing both tells the rest.
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(TunnelEnd::Finished),
            (Poll::Ready(Ok(())), Poll::Pending) => up.tell_end(upstream),
            (Poll::Pending, Poll::Ready(Ok(()))) => down.tell_end(client),
            (Poll::Pending, Poll::Pending) => {}
        }
        if received.get() + sent.get() != before {
            deadline.set(idle_timeout);
        }
        if let Some(lifetime) = &mut lifetime
            && lifetime.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(TunnelEnd::MaxDuration);
        }
        deadline.poll_passed(context).map(|()| TunnelEnd::Idle)
    })
}

/// One way of a tunnel.
enum Direction {
    /// Nothing held.
    ExpectBytes {
        full_reads: u8,
    },
    /// Read and not written yet.
    Holding {
        buffer: Buffer,
        full_reads: u8,
    },
    Splicing {
        pipe: Pipe,
        ended: bool,
        hushed: bool,
    },
    Ended {
        told: bool,
    },
}

/// Which end of a direction broke.
enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Broken {
    fn of(self, upward: bool) -> TunnelEnd {
        match (self, upward) {
            (Broken::Source(error), true) | (Broken::Sink(error), false) => TunnelEnd::ClientFailed(error),
            (Broken::Source(error), false) | (Broken::Sink(error), true) => TunnelEnd::UpstreamFailed(error),
        }
    }
}

impl Direction {
    fn new(early: Option<Buffer>) -> Self {
        early.map_or(Direction::ExpectBytes { full_reads: 0 }, |buffer| Direction::Holding { buffer, full_reads: 0 })
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &TcpStream,
        sink: &TcpStream,
        event_loop: &EventLoop,
        moved: &Cell<u64>,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..TURNS {
            match self {
                Direction::Ended { .. } => return Poll::Ready(Ok(())),
                Direction::ExpectBytes { full_reads } => {
                    ready!(source.poll_read_ready(context)).map_err(Broken::Source)?;
                    if *full_reads >= FULL_READS_BEFORE_SPLICE
                        && let Ok(pipe) = event_loop.pipes.lend()
                    {
                        acknowledge_soon(source);
                        *self = Direction::Splicing { pipe, ended: false, hushed: false };
                        continue;
                    }
                    let mut buffer = event_loop.buffers.lend();
                    let count = match read(source, &mut buffer) {
                        Ok(0) => {
                            *self = Direction::Ended { told: false };
                            return Poll::Ready(Ok(()));
                        }
                        Ok(count) => count,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(error) => return Poll::Ready(Err(Broken::Source(error))),
                    };
                    let full_reads = if buffer.is_full() { full_reads.saturating_add(1) } else { 0 };
                    moved.set(moved.get() + count as u64);
                    *self = Direction::Holding { buffer, full_reads };
                }
                Direction::Holding { buffer, full_reads } => {
                    while !buffer.is_empty() {
                        match write(sink, &[IoSlice::new(buffer.bytes())]) {
                            Ok(count) => buffer.consume(count),
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                                ready!(sink.poll_write_ready(context)).map_err(Broken::Sink)?;
                            }
                            Err(error) => return Poll::Ready(Err(Broken::Sink(error))),
                        }
                    }
                    *self = Direction::ExpectBytes { full_reads: *full_reads };
                }
                Direction::Splicing { pipe, ended, hushed } => {
                    if !*ended {
                        match pull(source, pipe, u64::MAX) {
                            Ok(0) => *ended = true,
                            Ok(count) => moved.set(moved.get() + count as u64),
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                            Err(error) => return Poll::Ready(Err(Broken::Source(error))),
                        }
                    }
                    while pipe.filled > 0 {
                        match push(pipe, sink) {
                            Ok(_) => {}
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => match sink.poll_write_ready(context) {
                                Poll::Ready(result) => result.map_err(Broken::Sink)?,
                                Poll::Pending => {
                                    if !std::mem::replace(hushed, true) {
                                        hush(source);
                                    }
                                    return Poll::Pending;
                                }
                            },
                            Err(error) => return Poll::Ready(Err(Broken::Sink(error))),
                        }
                    }
                    if std::mem::take(hushed) {
                        listen(source);
                    }
                    if *ended {
                        *self = Direction::Ended { told: false };
                        return Poll::Ready(Ok(()));
                    }
                    if source.poll_read_ready(context).is_pending() {
                        // At rest: the pipe is empty and goes back; bulk that goes on gets it again.
                        let rest = Direction::ExpectBytes { full_reads: FULL_READS_BEFORE_SPLICE };
                        if let Direction::Splicing { pipe, .. } = std::mem::replace(self, rest) {
                            event_loop.pipes.give_back(pipe);
                        }
                    } else {
                        // Others get their turn, and more comes meanwhile: fewer and larger pieces.
                        let _ = pin!(tokio::task::yield_now()).poll(context);
                    }
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Passes EOF on, once.
    fn tell_end(&mut self, sink: &TcpStream) {
        if let Direction::Ended { told: told @ false } = self {
            *told = true;
            end_write_half(sink);
        }
    }
}
