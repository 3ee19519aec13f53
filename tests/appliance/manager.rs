//! A service manager as far as a service can tell: it listens to sd_notify(3), keeps descriptors, and passes them on.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

pub struct Manager {
    pub path: PathBuf,
    shared: Arc<Shared>,
    /// Messages that were waited for.
    seen: usize,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub struct State {
    /// The descriptors that are kept, under their names.
    pub kept: Vec<(String, OwnedFd)>,
    messages: Vec<String>,
}

const DEADLINE: Duration = Duration::from_secs(20);

impl Manager {
    pub fn new() -> Manager {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let shared = Arc::<Shared>::default();
        let to_thread = shared.clone();
        std::thread::spawn(move || to_thread.listen(&socket));
        Manager { path, shared, seen: 0, _directory: directory }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn kept(&self) -> usize {
        self.state().kept.len()
    }

    /// The next message that holds `part`.
    #[track_caller]
    pub fn wait_for(&mut self, part: &str) -> String {
        let find = |state: &State| (self.seen..state.messages.len()).find(|&index| state.messages[index].contains(part));
        let waited = self.shared.changed.wait_timeout_while(self.state(), DEADLINE, |state| find(state).is_none());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(index) = find(&state) else { panic!("never told {part:?}, but {:?}", &state.messages[self.seen..]) };
        let message = state.messages[index].clone();
        drop(state);
        self.seen = index + 1;
        message
    }
}

impl Drop for Manager {
    /// The thread goes on, and must not go on keeping sockets.
    fn drop(&mut self) {
        self.state().kept.clear();
    }
}

impl Shared {
    fn listen(&self, socket: &UnixDatagram) {
        let mut buffer = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC);
            let message = String::from_utf8_lossy(&buffer[..received.expect("received").bytes]).into_owned();
            let descriptors = control.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            let name = message.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if message.contains("FDSTORE=1") {
                state.kept.extend(descriptors.flatten().map(|descriptor| (name.to_owned(), descriptor)));
            } else {
                // A barrier's, which is answered by closing it.
                descriptors.for_each(drop);
            }
            if message.contains("FDSTOREREMOVE=1") {
                state.kept.retain(|(kept, _)| kept != name);
            }
            state.messages.push(message.clone());
            self.changed.notify_all();
        }
    }
}
