//! Where the admin API listens.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{config, sandbox};

/// The bound sockets; `serve` answers on them. Dropping it removes the socket file.
#[derive(Debug)]
pub struct Admin {
    pub(super) unix: Option<(UnixListener, SocketFile)>,
    pub(super) tcp: Option<TcpListener>,
}

/// Stands before the path in an error.
const SOCKET_KEY: &str = "admin.socket ";
const BACKLOG: i32 = 128;
/// Owner and group may talk to the API; who is in the group may manage the proxy.
const SOCKET_MODE: u32 = 0o660;

impl Admin {
    pub fn bind(config: &config::Admin) -> Result<Self, BindError> {
        let unix = match &config.socket {
            Some(path) => Some(bind_unix(path).map_err(|reason| BindError { place: format!("{SOCKET_KEY}{}", path.display()), reason })?),
            None => None,
        };
        let tcp = match config.address {
            Some(address) => Some(bind_tcp(address).map_err(|reason| BindError { place: format!("admin.address {address}"), reason })?),
            None => None,
        };
        Ok(Self { unix, tcp })
    }

    /// With the real port where port 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, Reason> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), Reason> {
    let address = SockAddr::unix(path).map_err(|_| Reason::PathTooLong)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // On Linux a socket's own mode is the one that its file is made with, so there is no moment in which it is open to all.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE)).map_err(io::Error::from)?;
    socket.bind(&address).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Reason::NoDirectory,
        _ => Reason::Io(error),
    })?;
    let file = SocketFile::of(path)?;
    // The umask took its part of the mode.
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Makes way where a process died and left its socket file; a file that is anything else stays.
fn remove_stale(path: &Path, address: &SockAddr) -> Result<(), Reason> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Reason::NotASocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // A full backlog is somebody's, too.
        Ok(()) => Err(Reason::InUse),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Reason::InUse),
        Err(error) => Err(error.into()),
    }
}

/// Removes a socket file when dropped, unless another process has put its own in that place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Nothing can be done where this fails, and the next start replaces a stale file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The admin API cannot listen where it was told to.
#[derive(Debug)]
pub struct BindError {
    place: String,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    PathTooLong,
    NoDirectory,
    NotASocket,
    InUse,
    Io(io::Error),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Reason::Io(error)
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        match &self.reason {
            Reason::PathTooLong => formatter.write_str("the path is too long for a Unix socket, which takes 107 bytes"),
            Reason::NoDirectory => formatter.write_str("its directory does not exist; create it, or choose another path"),
            Reason::NotASocket => formatter.write_str("there is a file that is not a socket; remove it, or choose another path"),
            Reason::InUse => formatter.write_str("another process listens there; stop it, or choose another path"),
            Reason::Io(error) => {
                let path = self.place.strip_prefix(SOCKET_KEY).unwrap_or_default();
                write!(formatter, "cannot listen: {error}{}", sandbox::remedy(Path::new(path), error))
            }
        }
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(socket: &Path) -> config::Admin {
        config::Admin { socket: Some(socket.to_owned()), address: None }
    }

    fn error(socket: &Path) -> String {
        Admin::bind(&at(socket)).expect_err("refused").to_string()
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("admin.sock");
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "the standard library leaves its file");
        let admin = Admin::bind(&at(&path)).expect("replaces it");
        assert_eq!(fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o660);
        assert!(error(&path).contains("another process listens there"));
        drop(admin);
        assert!(!path.exists());
    }

    #[test]
    fn a_successors_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, aside) = (directory.path().join("admin.sock"), directory.path().join("aside"));
        let first = Admin::bind(&at(&path)).expect("bound");
        fs::rename(&path, aside).expect("renamed");
        let _second = Admin::bind(&at(&path)).expect("bound");
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn bad_paths_say_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "precious").expect("written");
        assert!(error(&file).contains("not a socket"));
        assert_eq!(fs::read_to_string(&file).expect("still there"), "precious");
        assert!(error(&directory.path().join("no/admin.sock")).contains("its directory does not exist"));
        assert!(error(&directory.path().join("x".repeat(120))).contains("too long"));
    }
}
