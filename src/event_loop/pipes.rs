//! Pipes for splice(2), kept between uses: making one costs as much as moving several pages.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// Asked of the kernel; it may grant less (`/proc/sys/fs/pipe-max-size`, `pipe-user-pages-soft`).
const SIZE: usize = 1024 * 1024;
const KEPT: usize = 16;

/// A worker's stock of empty pipes.
#[derive(Default, Clone)]
pub struct Pipes(Rc<RefCell<Vec<(OwnedFd, OwnedFd)>>>);

/// A pipe, lent until it is given back empty; one that is dropped with bytes in it is closed.
pub struct Pipe {
    pub reader: OwnedFd,
    pub writer: OwnedFd,
    /// Bytes inside.
    pub filled: usize,
}

impl Pipes {
    /// # Errors
    /// When no descriptor is left; the caller goes on with plain reads and writes.
    pub fn lend(&self) -> io::Result<Pipe> {
        if let Some((reader, writer)) = self.0.borrow_mut().pop() {
            return Ok(Pipe { reader, writer, filled: 0 });
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller pipe works, too; it only takes more system calls.
        let _ = fcntl_setpipe_size(&writer, SIZE);
        Ok(Pipe { reader, writer, filled: 0 })
    }

    pub fn give_back(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if pipe.filled == 0 && kept.len() < KEPT {
            kept.push((pipe.reader, pipe.writer));
        }
    }
}
