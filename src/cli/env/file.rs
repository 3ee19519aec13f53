//! Changing somebody's file: whole or not at all, with its mode and owner, through a symlink.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A client's settings are short.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What became of a file, in lines for a person.
pub(super) struct Report {
    text: String,
    is_change: bool,
}

impl Report {
    /// With what is still to do, if anything has changed.
    pub(super) fn and(self, then: Option<String>) -> String {
        let then = then.filter(|_| self.is_change).map(|then| format!("then: {then}\n"));
        self.text + &then.unwrap_or_default()
    }
}

/// Gives the file's text to `edit`, and puts what that returns in its place; `None` is no file.
pub(super) fn change(path: &Path, edit: impl FnOnce(Option<&str>) -> Result<Option<String>, String>) -> Result<Report, String> {
    let failed = |error: io::Error| {
        let remedy = if error.kind() == ErrorKind::PermissionDenied { "; run this as root, or with --user" } else { "" };
        format!("{}: {error}{remedy}", path.display())
    };
    let target = followed(path).map_err(failed)?;
    let before = read(&target).map_err(failed)?;
    let after = edit(before.as_deref()).map_err(|error| format!("{}: {error}; it is left as it is", path.display()))?;
    if before == after {
        return Ok(Report { text: format!("{}: nothing to change\n", path.display()), is_change: false });
    }
    match &after {
        Some(text) => replace(&target, text).map_err(failed)?,
        None => fs::remove_file(&target).map_err(failed)?,
    }
    Ok(Report { text: difference(path, before.as_deref(), after.as_deref()), is_change: true })
}

/// Where the file really lies: a symlink stays one, also if it leads to nothing yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            // InvalidInput: there is something that is no link.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => return Ok(path),
            Err(error) => return Err(error),
        }
    }
    Err(rustix::io::Errno::LOOP.into())
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(io::Error::other("this is no file of settings"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Writes beside it, then renames: whoever reads meanwhile sees the old file or the new one.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    // ssh wants its own to be private.
    let mode = if directory.ends_with(".ssh") { 0o700 } else { 0o755 };
    fs::DirBuilder::new().recursive(true).mode(mode).create(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.outrider-{}", std::process::id()));
    let written = write_beside(&beside, path, text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is told is the first error.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_beside(beside: &Path, path: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path).ok();
    // Nobody gets to read a secret of the old file from the new one before it has the old one's mode.
    let mode = if old.is_some() { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
    file.write_all(text.as_bytes())?;
    if let Some(old) = old {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    file.sync_all()
}

/// The lines between what both have in common at the beginning and at the end.
fn difference(path: &Path, before: Option<&str>, after: Option<&str>) -> String {
    let lines = |text: Option<&str>| text.unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(before), lines(after));
    let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let same_at_end = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(old, new)| old == new).count();
    let what = match (before, after) {
        (None, _) => "made",
        (_, None) => "removed",
        _ => "changed",
    };
    let mut text = format!("{}: {what}, from line {}\n", path.display(), same + 1);
    for (sign, lines) in [('-', &old[same..old.len() - same_at_end]), ('+', &new[same..new.len() - same_at_end])] {
        for line in lines {
            let _ = writeln!(text, "{sign} {line}");
        }
    }
    text
}
