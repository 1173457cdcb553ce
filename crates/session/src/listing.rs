//! Lists of files: what a server has in a directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cap_std::fs::{Dir, Metadata, MetadataExt};
use framing::{Entry, EntryKind, MAX_ENTRIES, MAX_NAMES_LEN, Message, PageBuilder, Part};
use link::{Link, LinkError};

use crate::hello::{Pulse, misbehaved};
use crate::source::{SourceError, missing};
use crate::store::is_part_name;

/// Something in a list of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name, without a path. From the other side: not to be trusted.
    pub name: OsString,
    /// Whether it is a directory, and no file.
    pub is_directory: bool,
    /// Bytes of the file; a directory has none.
    pub len: u64,
    /// Permission bits, 0 to 0o777.
    pub mode: u16,
    /// Time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// The rest of that time, in nanoseconds.
    pub mtime_nanos: u32,
}

impl Listed {
    /// What a list says of a thing: `None` if it is neither a file nor a directory.
    fn new(name: &OsStr, about: &Metadata) -> Option<Self> {
        let is_directory = about.is_dir();
        if !is_directory && !about.is_file() {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            is_directory,
            len: if is_directory { 0 } else { about.len() },
            mode: (about.mode() & 0o777) as u16,
            mtime: about.mtime(),
            mtime_nanos: about.mtime_nsec().clamp(0, 999_999_999) as u32,
        })
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            kind: if self.is_directory { EntryKind::Directory } else { EntryKind::File { len: self.len } },
            mode: self.mode,
            mtime: self.mtime,
            mtime_nanos: self.mtime_nanos,
            path: self.name.as_bytes(),
        }
    }
}

/// What is in a directory below `root`, or the file of that path, in the order of the names.
///
/// A link counts as what it points to; where that is not there, or not below `root`, it is left out.
pub(crate) fn list(
    root: &Dir,
    path: &Path,
    beat: &mut dyn FnMut() -> Result<(), LinkError>,
) -> Result<Result<Vec<Listed>, SourceError>, LinkError> {
    let about = match root.metadata(path) {
        Ok(about) => about,
        Err(error) => return Ok(Err(missing(path, error))),
    };
    if !about.is_dir() {
        let special = || SourceError::Special { path: path.to_owned(), hint: "" };
        let listed = Listed::new(path.file_name().unwrap_or_default(), &about);
        return Ok(listed.map(|listed| vec![listed]).ok_or_else(special));
    }
    let mut names = match names_in(root, path) {
        Ok(names) => names,
        Err(error) => return Ok(Err(missing(path, error))),
    };
    names.sort();
    let mut listed = Vec::new();
    for name in names {
        beat()?;
        if let Ok(about) = root.metadata(path.join(&name)) {
            listed.extend(Listed::new(&name, &about));
        }
    }
    Ok(Ok(listed))
}

/// The names in a directory, of everything but partial files.
fn names_in(root: &Dir, path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in root.read_dir(path)? {
        let name = entry?.file_name();
        if is_part_name(&name) {
            continue;
        }
        if names.len() as u64 == MAX_ENTRIES {
            return Err(io::Error::other(format!("it holds more than {MAX_ENTRIES} files")));
        }
        names.push(name);
    }
    Ok(names)
}

/// Sends a list to its end.
pub(crate) fn send(link: &mut dyn Link, listed: &[Listed]) -> Result<(), LinkError> {
    let mut page = PageBuilder::default();
    for one in listed {
        page.push(&one.entry());
        if page.is_full() {
            link.send(&Message::Entries(page.page()))?;
            page.clear();
        }
    }
    if !page.is_empty() {
        link.send(&Message::Entries(page.page()))?;
    }
    link.send(&Message::End(Part::Listing))
}

/// Reads a directory and sends what is in it: how many things that is, or why it can't be had.
pub(crate) fn answer(
    link: &mut dyn Link,
    root: &Dir,
    path: &Path,
) -> Result<Result<u64, SourceError>, LinkError> {
    let mut pulse = Pulse::new();
    match list(root, path, &mut || pulse.beat(link))? {
        Ok(listed) => send(link, &listed).map(|()| Ok(listed.len() as u64)),
        Err(error) => Ok(Err(error)),
    }
}

/// A list as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    listed: Vec<Listed>,
    names_len: usize,
}

impl Incoming {
    /// Takes a message of it: the whole list, once it is at its end.
    pub(crate) fn take(&mut self, message: &Message<'_>) -> Result<Option<Vec<Listed>>, LinkError> {
        match message {
            Message::Entries(page) => {
                page.iter().try_for_each(|entry| self.push(&entry))?;
                Ok(None)
            }
            Message::End(Part::Listing) => Ok(Some(std::mem::take(&mut self.listed))),
            other => Err(crate::hello::out_of_place(other)),
        }
    }

    fn push(&mut self, entry: &Entry<'_>) -> Result<(), LinkError> {
        let is_name = !matches!(entry.path, b"" | b"." | b"..") && !entry.path.contains(&b'/');
        if !is_name {
            return Err(misbehaved("it listed something that is no name"));
        }
        self.names_len += entry.path.len();
        if self.listed.len() as u64 == MAX_ENTRIES || self.names_len > MAX_NAMES_LEN {
            return Err(misbehaved("it listed too many files"));
        }
        self.listed.push(Listed {
            name: OsString::from_vec(entry.path.to_vec()),
            is_directory: entry.kind == EntryKind::Directory,
            len: entry.len(),
            mode: entry.mode,
            mtime: entry.mtime,
            mtime_nanos: entry.mtime_nanos,
        });
        Ok(())
    }
}
