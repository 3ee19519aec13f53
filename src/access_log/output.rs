//! The file behind the access log, and what to do when it takes no more.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};

use super::journal;
use crate::config::AccessLogSink;
use crate::sandbox;

/// Of a log that is made: the service's group may read it.
const MODE: Mode = Mode::from_raw_mode(0o640);

/// An open sink.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    name: String,
    /// An error left part of a line in the file.
    broken_line: bool,
    /// Lines lost since writing began to fail; `None` while it works.
    failing: Option<u64>,
}

impl Output {
    /// `None` where nothing is to be written.
    pub(super) fn open(sink: &AccessLogSink) -> Result<Option<Self>, OpenError> {
        let (file, name) = match sink {
            AccessLogSink::Off => return Ok(None),
            AccessLogSink::Stdout => match journal::stream_beside(io::stdout()) {
                Some(stream) => (Ok(stream), "the journal".to_owned()),
                None => (io::stdout().as_fd().try_clone_to_owned().map(File::from), "standard output".to_owned()),
            },
            AccessLogSink::File(path) => (open_file(path), path.display().to_string()),
        };
        match file {
            Ok(file) => Ok(Some(Self { file, name, broken_line: false, failing: None })),
            Err(source) => Err(OpenError { name, source }),
        }
    }

    /// Writes whole lines; how many of them were lost. Says so once when writing begins to fail, and once when it works again.
    pub(super) fn write(&mut self, text: &[u8], lines: u64) -> u64 {
        match self.try_write(text) {
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    tracing::info!(path = self.name, lost, "access log: writing works again");
                }
                0
            }
            Err((written, error)) => {
                self.broken_line |= text[..written].last().is_some_and(|&last| last != b'\n');
                let lost = lines - memchr::memchr_iter(b'\n', &text[..written]).count() as u64;
                if self.failing.is_none() {
                    tracing::error!(path = self.name, %error, "access log: writing failed, lines are lost until it works again");
                }
                *self.failing.get_or_insert(0) += lost;
                lost
            }
        }
    }

    fn try_write(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.broken_line {
            // Ends the torn line, so that it is the only one that a reader cannot parse.
            self.write_all(b"\n").map_err(|(_, error)| (0, error))?;
            self.broken_line = false;
        }
        self.write_all(text)
    }

    fn write_all(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < text.len() {
            match self.file.write(&text[written..]) {
                Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Standard output may be shared with a program that made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room().map_err(|error| (written, error))?,
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        match rustix::event::poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&second)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK, opening a named pipe that nobody reads would hang the main thread; with it, it is an error.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let options = || OpenOptions::new().append(true).mode(MODE.as_raw_mode()).custom_flags(flags).to_owned();
    let file = match options().create_new(true).open(path) {
        Ok(file) => {
            // The umask of the service would leave it to its user alone, and the group could not read it.
            rustix::fs::fchmod(&file, MODE)?;
            file
        }
        // What is there keeps its mode.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options().create(true).open(path)?,
        Err(error) => return Err(error),
    };
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

/// The access log could not be opened.
#[derive(Debug)]
pub struct OpenError {
    name: String,
    source: io::Error,
}

impl OpenError {
    /// The queue is full of requests that nobody took out, which only a write that does not return can cause.
    pub(super) fn writer_hangs() -> Self {
        Self { name: "writer".to_owned(), source: io::Error::new(ErrorKind::ResourceBusy, "an earlier write still hangs") }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the access log cannot be opened: {}: {}", self.name, self.source)?;
        if self.source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) {
            formatter.write_str(" (a named pipe that nobody reads)")?;
        }
        formatter.write_str(&sandbox::remedy(Path::new(&self.name), &self.source))
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_loses_lines_and_counts_them() {
        let mut output = Output::open(&AccessLogSink::File("/dev/full".into())).expect("opens").expect("is a file");
        assert_eq!(output.write(b"{}\n{}\n", 2), 2);
        assert_eq!(output.failing, Some(2));
        output.file = File::from(rustix::fs::memfd_create("log", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file"));
        assert_eq!(output.write(b"{}\n", 1), 0);
        assert_eq!(output.failing, None);
    }

    #[test]
    fn a_file_that_is_there_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        std::fs::write(&path, "").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).expect("set");
        Output::open(&AccessLogSink::File(path.clone())).expect("opens");
        assert_eq!(std::fs::metadata(&path).expect("is there").permissions().mode() & 0o777, 0o604);
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        use std::io::{Read, Seek};
        let file = File::from(rustix::fs::memfd_create("log", rustix::fs::MemfdFlags::CLOEXEC).expect("a memory file"));
        let mut output = Output { file, name: String::new(), broken_line: true, failing: Some(1) };
        assert_eq!(output.write(b"{}\n", 1), 0);
        let mut text = String::new();
        output.file.rewind().expect("a memory file can be rewound");
        output.file.read_to_string(&mut text).expect("readable");
        assert_eq!(text, "\n{}\n");
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error_and_not_a_hang() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a named pipe");
        let error = Output::open(&AccessLogSink::File(path)).expect_err("nobody reads");
        assert!(error.to_string().ends_with("(a named pipe that nobody reads)"), "{error}");
    }
}
