//! The files of one configuration: the main one, and what lies beside it in `conf.d`.
//!
//! Their texts share one numbering of bytes, as if they stood one behind the other. So a place says which file it is in,
//! and what is checked over all files is reported like what is checked within one.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::mistake::Mistake;

/// No more text is read, all files together. Places in it fit into 32 bits, which compiled lists rely on.
const MAX_BYTES: usize = 256 << 20;

/// Beside the main file, the directory of files that add to it.
const DIRECTORY: &str = "conf.d";

/// One file's text and where it begins in the common numbering.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) offset: usize,
}

/// All of them, in the order in which they are read. There is at least one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// A text that is no file's; too long a one stands for an empty one.
    pub(super) fn of_text(name: &str, text: &str) -> (Self, Vec<Mistake>) {
        let mut sources = Self::default();
        let mistake = sources.add(name.to_owned(), Ok(text.to_owned()));
        (sources, mistake.into_iter().collect())
    }

    /// Reads the main file and those beside it. What cannot be read stands for an empty text, so that the other files'
    /// mistakes are told as well.
    pub(super) fn read(main: &Path, open: Open) -> (Self, Vec<Mistake>) {
        let (mut sources, mut mistakes) = (Self::default(), Vec::new());
        mistakes.extend(sources.add(main.display().to_string(), read(open(main), MAX_BYTES)));
        let directory = main.with_file_name(DIRECTORY);
        match drop_ins(&directory) {
            Ok(paths) => {
                for path in paths {
                    let left = MAX_BYTES.saturating_sub(sources.end());
                    mistakes.extend(sources.add(path.display().to_string(), read(open_drop_in(&path), left)));
                }
            }
            Err(error) => {
                let help = "let it be a directory that the user that Outrider runs as may read, or remove it";
                let unreadable = Unreadable { message: format!("cannot read the directory: {error}"), help };
                mistakes.extend(sources.add(directory.display().to_string(), Err(unreadable)));
            }
        }
        (sources, mistakes)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The file that a place is in.
    pub(super) fn find(&self, place: usize) -> &Source {
        // The main file begins at 0, so that at least one does not begin behind the place.
        &self.0[self.0.partition_point(|source| source.offset <= place) - 1]
    }

    fn end(&self) -> usize {
        // One more byte for the end of each text, which is a place of its own: there an unfinished text is wrong.
        self.0.last().map_or(0, |last| last.offset + last.text.len() + 1)
    }

    fn add(&mut self, name: String, text: Result<String, Unreadable>) -> Option<Mistake> {
        let offset = self.end();
        let text = text.and_then(|text| if offset + text.len() > MAX_BYTES { Err(too_long()) } else { Ok(text) });
        let (text, mistake) = match text {
            Ok(text) => (text, None),
            Err(Unreadable { message, help }) => (String::new(), Some(Mistake::of_file(offset, message, help))),
        };
        self.0.push(Source { name, text, offset });
        mistake
    }
}

/// How the main file is opened.
pub(super) type Open = fn(&Path) -> Result<File, Unreadable>;

/// Why there is no text.
pub(super) struct Unreadable {
    message: String,
    help: &'static str,
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        let help = "check the path, and that the user that Outrider runs as may read it";
        Self { message: format!("cannot read the file: {error}"), help }
    }
}

/// Waits for whoever writes, where the file is a pipe.
pub(super) fn open(path: &Path) -> Result<File, Unreadable> {
    Ok(File::open(path)?)
}

/// Waits for nobody.
pub(super) fn open_again(path: &Path) -> Result<File, Unreadable> {
    open_at_once(path, "a pipe can be read once: restart Outrider, or give it a file that stays")
}

/// Nobody chose these by name, so a pipe among them is a mistake, and must not be waited for.
fn open_drop_in(path: &Path) -> Result<File, Unreadable> {
    open_at_once(path, "put a file in its place, or remove it")
}

fn open_at_once(path: &Path, help: &'static str) -> Result<File, Unreadable> {
    let is_pipe = |metadata: fs::Metadata| metadata.file_type().is_fifo();
    // Opening a pipe, if only to look at it, would be the end of it for whoever waits to write.
    if !is_pipe(fs::metadata(path)?) {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !is_pipe(file.metadata()?) {
            return Ok(file);
        }
    }
    Err(Unreadable { message: "cannot read the file: it is a pipe".to_owned(), help })
}

/// The files of `conf.d` in the order of their names, byte by byte; none where there is no such directory.
fn drop_ins(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // Editors and package managers leave hidden files, and such with further endings.
        if !name.as_bytes().starts_with(b".") && Path::new(&name).extension() == Some(OsStr::new("toml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}

fn read(file: Result<File, Unreadable>, limit: usize) -> Result<String, Unreadable> {
    let mut bytes = Vec::new();
    // One byte more than may be, so that it shows; /dev/zero ends here too.
    file?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(too_long());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        let help = "TOML is UTF-8 only; save the file in that encoding";
        Unreadable { message: format!("the file is not UTF-8 (line {line})"), help }
    })
}

fn too_long() -> Unreadable {
    let message = format!("the file has more than {} MiB, with those before it", MAX_BYTES >> 20);
    Unreadable { message, help: "check the path; lists as long as this belong elsewhere" }
}
