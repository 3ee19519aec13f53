//! Bulk bytes from socket to socket through a pipe, never entering this process (splice(2)).

use std::io;
use std::os::fd::AsFd;

use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::body::{BodyFault, Relay};
use super::hush::hushing;
use crate::event_loop::Pipe;

/// Asked for in one call.
const PIECE: u64 = 1024 * 1024;

/// Moves exactly `left` bytes, the rest of a body with Content-Length.
pub(super) async fn splice_exactly(
    source: &TcpStream,
    sink: &TcpStream,
    mut pipe: Pipe,
    mut left: u64,
    relay: &Relay<'_>,
) -> Result<(), BodyFault> {
    acknowledge_soon(source);
    while left > 0 || pipe.filled > 0 {
        if left > 0 {
            match pull(source, &mut pipe, left) {
                Ok(0) => {
                    // What came before the end is still delivered.
                    while pipe.filled > 0 {
                        push_or_wait(&mut pipe, source, sink, relay).await?;
                    }
                    relay.event_loop.pipes.give_back(pipe);
                    return Err(BodyFault::SourceClosed);
                }
                Ok(moved) => {
                    left -= moved as u64;
                    relay.moved.set(relay.moved.get() + moved as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && pipe.filled > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    relay.deadline.set(relay.idle_timeout);
                    match relay.deadline.limit(source.readable()).await {
                        None => return Err(BodyFault::Idle { source: true }),
                        Some(result) => result.map_err(BodyFault::SourceFailed)?,
                    }
                    continue;
                }
                Err(error) => return Err(BodyFault::SourceFailed(error)),
            }
        }
        push_or_wait(&mut pipe, source, sink, relay).await?;
        if left > 0 {
            // Others get their turn, and more comes meanwhile: fewer and larger pieces.
            tokio::task::yield_now().await;
        }
    }
    relay.event_loop.pipes.give_back(pipe);
    Ok(())
}

async fn push_or_wait(pipe: &mut Pipe, source: &TcpStream, sink: &TcpStream, relay: &Relay<'_>) -> Result<(), BodyFault> {
    match push(pipe, sink) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            relay.deadline.set(relay.idle_timeout);
            match relay.deadline.limit(hushing(source, sink.writable())).await {
                None => Err(BodyFault::Idle { source: false }),
                Some(result) => result.map_err(BodyFault::SinkFailed),
            }
        }
        Err(error) => Err(BodyFault::SinkFailed(error)),
    }
}

/// A sender that heeds Nagle keeps its last segment until the one before is acknowledged, and a socket that also sends delays
/// just that by 40 ms. What is bulk is no dialogue.
pub(super) fn acknowledge_soon(source: &TcpStream) {
    // Without it, it is slower.
    let _ = rustix::net::sockopt::set_tcp_quickack(source, true);
}

/// Socket to pipe. `WouldBlock` with bytes in the pipe may only mean that its slots are full (many
/// small segments fill them long before its bytes), so the socket's readiness is kept then.
pub(super) fn pull(source: &TcpStream, pipe: &mut Pipe, most: u64) -> io::Result<usize> {
    let most = most.min(PIECE) as usize;
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let call = || splice(source.as_fd(), None, pipe.writer.as_fd(), None, most, flags).map_err(io::Error::from);
    let moved = if pipe.filled == 0 { source.try_io(Interest::READABLE, call)? } else { call()? };
    pipe.filled += moved;
    Ok(moved)
}

/// Pipe to socket.
pub(super) fn push(pipe: &mut Pipe, sink: &TcpStream) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    let moved = sink.try_io(Interest::WRITABLE, || {
        splice(pipe.reader.as_fd(), None, sink.as_fd(), None, pipe.filled, flags).map_err(io::Error::from)
    })?;
    pipe.filled -= moved;
    Ok(moved)
}
