//! What the service manager is told (sd_notify(3)), through one socket that is kept, so that it can be told even when
//! no descriptor is left. Without a service manager, nothing happens.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use rustix::pipe::PipeFlags;
use rustix::time::{ClockId, clock_gettime};

/// The way to the service manager, if there is one.
pub(super) struct Notifier {
    manager: Option<Manager>,
    /// The manager was told to let go of something, and may not have done it yet.
    is_unsettled: AtomicBool,
}

struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// A manager that takes nothing for so long gets to know nothing.
const PATIENCE: Duration = Duration::from_secs(5);

impl Notifier {
    pub fn from_environment() -> Notifier {
        let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return Notifier::to(None) };
        let manager = Manager::at(&path).inspect_err(|error| tracing::warn!(path, %error, "cannot reach the service manager"));
        Notifier::to(manager.ok())
    }

    fn to(manager: Option<Manager>) -> Notifier {
        Notifier { manager, is_unsettled: AtomicBool::new(false) }
    }

    pub fn is_connected(&self) -> bool {
        self.manager.is_some()
    }

    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// `limit` is how long it may take: the unit's own limit is only a guess at it.
    pub fn stopping(&self, limit: Duration) {
        self.send(&format!("STOPPING=1\nSTATUS=Letting streams end\nEXTEND_TIMEOUT_USEC={}", limit.as_micros()));
    }

    pub fn is_alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Gives `descriptor` to the manager, who hands it to the next process of this service under `name`. It says so
    /// itself where it may not keep any.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) {
        self.send_with(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), &[descriptor]);
    }

    pub fn forget(&self, name: &str) {
        self.is_unsettled.store(true, Ordering::Relaxed);
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }

    /// Waits until the manager has let go of what it was told to: it closes our end of a pipe then.
    pub async fn settle(&self) {
        if !self.is_unsettled.swap(false, Ordering::Relaxed) || !self.is_connected() {
            return;
        }
        let Ok((reader, writer)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else { return };
        self.send_with("BARRIER=1", &[writer.as_fd()]);
        drop(writer);
        let closed = tokio::task::spawn_blocking(move || {
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            rustix::event::poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&patience))
        });
        if !matches!(closed.await, Ok(Ok(1))) {
            tracing::debug!("the service manager is slow, and is not waited for any longer");
        }
    }

    fn send(&self, message: &str) {
        self.send_with(message, &[]);
    }

    fn send_with(&self, message: &str, descriptors: &[BorrowedFd<'_>]) {
        // The manager finds out by itself what it was not told; there is no remedy here.
        if let Some(manager) = &self.manager
            && let Err(error) = manager.send(message, descriptors)
        {
            tracing::debug!(%error, message, "the service manager could not be told");
        }
    }
}

impl Manager {
    fn at(path: &str) -> io::Result<Manager> {
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Manager { socket, address })
    }

    /// Addressed anew each time, since a manager that starts anew has a new socket in the old place.
    fn send(&self, message: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let address = match (self.address.as_pathname(), self.address.as_abstract_name()) {
            (Some(path), _) => SocketAddrUnix::new(path)?,
            (None, name) => SocketAddrUnix::new_abstract_name(name.unwrap_or_default())?,
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::net::sendmsg_addr(&self.socket, &address, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// A line end would begin another assignment.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_datagram_of_assignments() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("bound");
        manager.set_read_timeout(Some(PATIENCE)).expect("set");
        let notifier = Notifier::to(Some(Manager::at(path.to_str().expect("UTF-8")).expect("a socket")));
        let mut buffer = [0; 256];
        let mut next = || {
            let count = manager.recv(&mut buffer).expect("sent");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        notifier.ready("two\nlines");
        assert_eq!(next(), "READY=1\nSTATUS=two lines");
        notifier.stopping(Duration::from_secs(2));
        assert!(next().ends_with("\nEXTEND_TIMEOUT_USEC=2000000"));
        notifier.store("a", manager.as_fd());
        assert_eq!(next(), "FDSTORE=1\nFDPOLL=0\nFDNAME=a");
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("outrider-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("an address")).expect("bound");
        Notifier::to(Some(Manager::at(&format!("@{name}")).expect("a socket"))).is_alive();
        let mut buffer = [0; 64];
        assert_eq!(manager.recv(&mut buffer).expect("sent"), "WATCHDOG=1".len());
    }
}
