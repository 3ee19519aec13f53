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

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::event_loop::EventLoop;

    pub async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (listener.accept().await.unwrap().0, peer)
    }

    /// What the event loop has heard and no call has used up, told without a system call.
    fn is_ready(stream: &TcpStream, interest: Interest) -> bool {
        stream.try_io(interest, || Ok(())).is_ok()
    }

    #[tokio::test]
    async fn a_short_read_is_the_last() {
        let (source, mut peer) = connected().await;
        let buffers = EventLoop::default().buffers;
        let mut slot = None;
        for (sent, in_buffer) in [("one", "one"), (" two", "one two")] {
            peer.write_all(sent.as_bytes()).await.unwrap();
            assert_eq!(fill(&source, &mut slot, &buffers).await.unwrap(), sent.len());
            assert_eq!(slot.as_ref().unwrap().bytes(), in_buffer.as_bytes());
            assert!(!is_ready(&source, Interest::READABLE));
        }
        drop(peer);
        assert_eq!(fill(&source, &mut None, &buffers).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_short_write_is_the_last_until_there_is_room() {
        let (source, sink) = connected().await;
        let piece = vec![7; 1 << 20];
        let mut written = 0;
        sink.writable().await.unwrap();
        while is_ready(&sink, Interest::WRITABLE) {
            written += write(&sink, &[IoSlice::new(&piece)]).expect("no call is made only to hear that there is no room");
        }
        let buffers = EventLoop::default().buffers;
        let reading = async {
            let mut read = 0;
            while read < written + 2 * piece.len() {
                read += fill(&source, &mut None, &buffers).await.unwrap();
            }
            read
        };
        let mut slices = [IoSlice::new(&piece), IoSlice::new(&[]), IoSlice::new(&piece)];
        let (wrote, read) = tokio::join!(write_all(&sink, &mut slices), reading);
        wrote.unwrap();
        assert_eq!(read, written + 2 * piece.len());
    }
}
