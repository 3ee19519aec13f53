//! Reading into lent buffers and writing several slices at once.
//!
//! A call that moves fewer bytes than it might has found the socket empty, or full. So its readiness ends with that call, which
//! saves the next one that would only say so. tokio's own reads and writes know that, too, but wait and count for each
//! call what is waited for and counted here already, and call through the C library's cancellation points.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::event_loop::{Buffer, Buffers};

/// Waits without a buffer until bytes are there, then lends one if `slot` has none, and reads.
/// Zero is the end. The buffer in `slot` must have room.
pub(super) async fn fill(source: &TcpStream, slot: &mut Option<Buffer>, buffers: &Buffers) -> io::Result<usize> {
    poll_fn(|context| poll_fill(source, slot, buffers, context)).await
}

/// One look of [`fill`].
pub(super) fn poll_fill(
    source: &TcpStream,
    slot: &mut Option<Buffer>,
    buffers: &Buffers,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(source.poll_read_ready(context))?;
        let buffer = slot.get_or_insert_with(|| buffers.lend());
        let read = read(source, buffer);
        if buffer.is_empty() {
            *slot = None;
        }
        match read {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return Poll::Ready(read),
        }
    }
}

/// Reads once. Zero is the end.
pub(super) fn read(source: &TcpStream, buffer: &mut Buffer) -> io::Result<usize> {
    let room = buffer.room();
    let count = once(source, Interest::READABLE, room.len(), || Ok(rustix::net::recv(source, room, RecvFlags::empty())?.1))?;
    buffer.add(count);
    Ok(count)
}

/// Writes all of `slices`, in order.
pub(super) async fn write_all(sink: &TcpStream, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = slices;
    // Empty slices at the front would look like a write of nothing.
    IoSlice::advance_slices(&mut left, 0);
    poll_fn(|context| {
        while !left.is_empty() {
            match write(sink, left) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(sink.poll_write_ready(context))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Writes once.
pub(super) fn write(sink: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let most = slices.iter().map(|slice| slice.len()).sum();
    once(sink, Interest::WRITABLE, most, || match slices {
        [one] => rustix::net::send(sink, one, SendFlags::NOSIGNAL),
        many => rustix::io::writev(sink, many),
    })
}

/// Makes a call that moves at most `most` bytes.
fn once(stream: &TcpStream, interest: Interest, most: usize, call: impl FnOnce() -> rustix::io::Result<usize>) -> io::Result<usize> {
    let mut moved = None;
    let outcome = stream.try_io(interest, || {
        let count = *moved.insert(call()?);
        if (1..most).contains(&count) { Err(ErrorKind::WouldBlock.into()) } else { Ok(count) }
    });
    moved.map_or(outcome, Ok)
}

/// Tells the peer that nothing more will come.
pub(super) fn end_write_half(sink: &TcpStream) {
    // Nothing to do about a failure: the connection is going away.
    let _ = rustix::net::shutdown(sink, Shutdown::Write);
}
