//! While a sink takes nothing, what comes from its source can go nowhere. Yet every segment of it would wake the worker: an
//! edge-triggered epoll tells each arrival, and up to fifty were seen for one time that the sink had room again, each at the
//! price of a system call here and of an interrupt for another processor there. SO_RCVLOWAT holds them back.

use std::future::poll_fn;
use std::pin::pin;

use rustix::net::sockopt::socket_recv_buffer_size;
use tokio::net::TcpStream;

use crate::sockopt;

/// Runs `writing`; while that waits, bytes that arrive at `source` wake nobody. Its end and its errors do.
pub(super) async fn hushing<T>(source: &TcpStream, writing: impl Future<Output = T>) -> T {
    let mut writing = pin!(writing);
    let mut hushed = None;
    poll_fn(|context| {
        let written = writing.as_mut().poll(context);
        if written.is_pending() && hushed.is_none() {
            hush(source);
            hushed = Some(Hushed(source));
        }
        written
    })
    .await
}

/// Has bytes that arrive at `source` wake nobody until [`listen`].
pub(super) fn hush(source: &TcpStream) {
    // All that the buffer holds at the worst overhead that the kernel reckons with; more would have it grow.
    let most = socket_recv_buffer_size(source).unwrap_or(0) / 2;
    set_low_water(source, most as libc::c_int);
}

/// Has them wake again; those that are there already do so at once.
pub(super) fn listen(source: &TcpStream) {
    set_low_water(source, 1);
}

struct Hushed<'a>(&'a TcpStream);

impl Drop for Hushed<'_> {
    fn drop(&mut self) {
        listen(self.0);
    }
}

fn set_low_water(source: &TcpStream, bytes: libc::c_int) {
    // Without it there are more wakes, and nothing else is lost.
    let _ = sockopt::set(source, libc::SOL_SOCKET, libc::SO_RCVLOWAT, &bytes);
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::task::Poll;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::downstream::io::tests::connected;

    /// What poll(2) says of it now, whatever the event loop has seen.
    fn is_readable(source: &TcpStream) -> bool {
        let mut asked = [rustix::event::PollFd::new(source, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut asked, Some(&rustix::event::Timespec::default())).unwrap() > 0
    }

    #[tokio::test]
    async fn bytes_wake_nobody_while_writing_waits() {
        let (mut source, mut peer) = connected().await;
        {
            let mut waiting = pin!(hushing(&source, pending::<()>()));
            assert!(poll_once(waiting.as_mut()).await.is_pending());
            // On loopback a write returns when the bytes are there.
            peer.write_all(b"early").await.unwrap();
            assert!(!is_readable(&source));
        }
        assert!(is_readable(&source));
        assert_eq!(hushing(&source, async { 7 }).await, 7);
        let mut bytes = [0; 5];
        source.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"early");
    }

    #[tokio::test]
    async fn an_end_is_heard() {
        let (source, mut peer) = connected().await;
        hush(&source);
        assert!(!is_readable(&source));
        peer.shutdown().await.unwrap();
        assert!(is_readable(&source));
    }

    async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
