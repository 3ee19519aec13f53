//! Reading into lent buffers and writing several slices at once.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::event_loop::{Buffer, Buffers};

/// Waits without a buffer until bytes are there, then lends one if `slot` has none, and reads.
/// Zero is the end. The buffer in `slot` must have room.
pub(super) async fn fill(reader: &mut ReadHalf<'_>, slot: &mut Option<Buffer>, buffers: &Buffers) -> io::Result<usize> {
    poll_fn(|context| poll_fill(reader, slot, buffers, context)).await
}

/// One look of [`fill`].
pub(super) fn poll_fill(
    reader: &mut ReadHalf<'_>,
    slot: &mut Option<Buffer>,
    buffers: &Buffers,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let buffer = match slot {
        Some(buffer) => buffer,
        None => {
            ready!(reader.as_ref().poll_read_ready(context))?;
            slot.insert(buffers.lend())
        }
    };
    let mut room = ReadBuf::new(buffer.room());
    // AsyncRead, not try_read: after a short read it knows that the socket is empty, which saves
    // the read that would only say so.
    let read = Pin::new(reader).poll_read(context, &mut room);
    let count = room.filled().len();
    buffer.add(count);
    if buffer.is_empty() {
        *slot = None;
    }
    read.map_ok(|()| count)
}

/// Writes all of `slices`, in order.
pub(super) async fn write_all(writer: &mut WriteHalf<'_>, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut left = slices;
    // Empty slices at the front would look like a write of nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = poll_fn(|context| match &*left {
            [one] => Pin::new(&mut *writer).poll_write(context, one),
            many => Pin::new(&mut *writer).poll_write_vectored(context, many),
        })
        .await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Tells the peer that nothing more will come.
pub(super) fn end_write_half(writer: &WriteHalf<'_>) {
    // Nothing to do about a failure: the connection is going away.
    let _ = rustix::net::shutdown(writer.as_ref(), rustix::net::Shutdown::Write);
}
