//! A small file that is read again when it changed. One stat(2) beside each look-up costs less than a watch that must be kept alive.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) struct Watched {
    path: PathBuf,
    /// `None` before the first look; inside, `None` for a file that is not there.
    seen: Option<Option<Identity>>,
}

#[derive(PartialEq)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watched {
    pub(super) fn new(path: PathBuf) -> Watched {
        Watched { path, seen: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is another than when this was last asked; true the first time.
    pub(super) fn has_changed(&mut self) -> bool {
        let identity = fs::metadata(&self.path).ok().map(|metadata| Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        });
        let changed = self.seen.as_ref() != Some(&identity);
        self.seen = Some(identity);
        changed
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }
}
