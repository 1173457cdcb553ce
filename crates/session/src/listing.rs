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

/// The names in a directory, one after the other in one piece of memory: there may be a million.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    /// Where each begins and how long it is.
    places: Vec<(u32, u16)>,
}

impl Names {
    /// Those of everything but partial files, in their order.
    fn of(root: &Dir, path: &Path, beat: &mut dyn FnMut() -> Result<(), LinkError>) -> Result<Self, Failed> {
        let mut names = Self::default();
        for entry in root.read_dir(path)? {
            let name = entry?.file_name();
            if !is_part_name(&name) {
                names.push(name.as_bytes())?;
                beat()?;
            }
        }
        let bytes = &names.bytes;
        names.places.sort_unstable_by_key(|place| name_at(bytes, *place));
        Ok(names)
    }

    fn push(&mut self, name: &[u8]) -> io::Result<()> {
        let too_many = |what: &str| io::Error::other(format!("it holds more than {what}"));
        if self.places.len() as u64 == MAX_ENTRIES {
            return Err(too_many(&format!("{MAX_ENTRIES} files")));
        }
        if self.bytes.len() + name.len() > MAX_NAMES_LEN {
            return Err(too_many(&format!("{MAX_NAMES_LEN} bytes of names")));
        }
        let len =
            u16::try_from(name.len()).map_err(|_| io::Error::other("it holds a name that is too long"))?;
        self.places.push((self.bytes.len() as u32, len));
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    fn iter(&self) -> impl Iterator<Item = &OsStr> {
        self.places.iter().map(|place| OsStr::from_bytes(name_at(&self.bytes, *place)))
    }
}

fn name_at(bytes: &[u8], (start, len): (u32, u16)) -> &[u8] {
    let start = start as usize;
    &bytes[start..start + usize::from(len)]
}

/// Why a list does not come about.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Here(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Sends what is in a directory below `root`, or the file of that path, in the order of the names: how many things that is,
/// or why it can't be had.
///
/// A link counts as what it points to; where that is not there, or not below `root`, it is left out.
pub(crate) fn answer(
    link: &mut dyn Link,
    root: &Dir,
    path: &Path,
) -> Result<Result<u64, SourceError>, LinkError> {
    let about = match root.metadata(path) {
        Ok(about) => about,
        Err(error) => return Ok(Err(missing(path, error))),
    };
    if !about.is_dir() {
        let Some(listed) = Listed::new(path.file_name().unwrap_or_default(), &about) else {
            return Ok(Err(SourceError::Special { path: path.to_owned(), hint: "" }));
        };
        return send(link, std::iter::once(listed)).map(Ok);
    }
    let mut pulse = Pulse::new();
    let names = match Names::of(root, path, &mut || pulse.beat(link)) {
        Ok(names) => names,
        Err(Failed::Here(error)) => return Ok(Err(missing(path, error))),
        Err(Failed::Link(error)) => return Err(error),
    };
    // What is gone by now, or can't be looked at, is left out.
    let look = |name: &OsStr| root.metadata(path.join(name)).ok().and_then(|about| Listed::new(name, &about));
    send(link, names.iter().filter_map(look)).map(Ok)
}

/// Sends a list to its end, each page as soon as it is full: how long it is.
fn send(link: &mut dyn Link, listed: impl Iterator<Item = Listed>) -> Result<u64, LinkError> {
    let mut page = PageBuilder::default();
    let mut pulse = Pulse::new();
    let mut count = 0;
    for one in listed {
        count += 1;
        page.push(&one.entry());
        if page.is_full() {
            link.send(&Message::Entries(page.page()))?;
            page.clear();
        }
        pulse.beat(link)?;
    }
    if !page.is_empty() {
        link.send(&Message::Entries(page.page()))?;
    }
    link.send(&Message::End(Part::Listing))?;
    Ok(count)
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
