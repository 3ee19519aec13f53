//! A way to the journal of the access log's own, so that `journalctl -t outrider-access -o cat` gives its lines and no others.
//!
//! What a service prints bears one identifier, whichever of its two outputs it was printed to. journald takes a stream from
//! anybody who connects and says in a few lines what it is to be called (sd_journal_stream_fd(3)).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const IDENTIFIER: &str = "outrider-access";
/// journald's socket for streams, in `/run/systemd/journal`, or `journal.NAME` where the unit has a LogNamespace=.
const SOCKET: &str = "stdout";
const DIRECTORY: &str = "journal";
/// `info`, as `<priority>` of syslog(3).
const PRIORITY: u8 = 6;

/// A stream to the journal that `output` goes to; `None` where it goes elsewhere, or the journal takes no stream.
pub(super) fn stream_beside(output: impl AsFd) -> Option<File> {
    let path = journal_of(output)?;
    match connect(path) {
        Ok(stream) => Some(File::from(OwnedFd::from(stream))),
        Err(error) => {
            tracing::warn!(%error, "the journal takes no stream for the access log, whose lines are mixed with others now");
            None
        }
    }
}

/// Where the journal listens, if that is what the other end is.
fn journal_of(output: impl AsFd) -> Option<PathBuf> {
    let stream = UnixStream::from(output.as_fd().try_clone_to_owned().ok()?);
    let peer = stream.peer_addr().ok()?;
    let path = peer.as_pathname()?;
    let directory = path.parent()?.file_name()?.to_str()?;
    let is_journal = path.ends_with(SOCKET) && (directory == DIRECTORY || directory.starts_with("journal."));
    is_journal.then(|| path.to_owned())
}

/// Identifier, unit (journald knows it), priority, and four switches: priorities in lines, and copies to syslog, the kernel's
/// log and the console, which journald makes as it is set to.
fn connect(path: PathBuf) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.shutdown(std::net::Shutdown::Read)?;
    write!(stream, "{IDENTIFIER}\n\n{PRIORITY}\n0\n0\n0\n0\n")?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn beside_a_stream_to_the_journal_there_is_one_of_our_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal.other").join(SOCKET);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        let journald = UnixListener::bind(&path).expect("bound");
        let output = UnixStream::connect(&path).expect("connected");
        drop(journald.accept().expect("the service's own"));
        let mut stream = stream_beside(&output).expect("that is the journal");
        stream.write_all(b"{}\n").expect("written");
        drop(stream);
        let mut text = String::new();
        journald.accept().expect("ours").0.read_to_string(&mut text).expect("text");
        assert_eq!(text, "outrider-access\n\n6\n0\n0\n0\n0\n{}\n");
    }

    #[test]
    fn elsewhere_there_is_none() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert!(stream_beside(&one).is_none());
        assert!(stream_beside(std::fs::File::open("/dev/null").expect("opens")).is_none());
    }
}
