//! Where files come from: paths that a person named, or paths below a served directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::{Dir, MetadataExt as _, OpenOptionsExt as _};
use framing::{
    CHUNK_LEN, ChunkSet, Entry, EntryKind, MAX_ENTRIES, MAX_PATH_LEN, Manifest, ManifestError, chunks_in,
};
use rustix::fs::{OFlags, SeekFrom};

use crate::content::{Content, Made};
use crate::crowd::{Crowded, Share};
use crate::events::{Event, Observer};
use crate::store::{SafePath, is_part_name};

/// The most ranges of zeros that a transfer tells of; what is more is sent as ordinary chunks.
const MAX_HOLES: usize = 1 << 16;
/// How deep a tree may be.
const MAX_DEPTH: usize = 128;

/// Why files can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing there.
    #[error("{path}: no such file or directory", path = .0.display())]
    NotFound(PathBuf),
    /// It can't be read.
    #[error("{path}: cannot be read: {error}", path = path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is neither a file nor a directory.
    #[error("{path}: neither a file nor a directory{hint}", path = path.display())]
    Special {
        /// What.
        path: PathBuf,
        /// What to do about it, with a leading separator.
        hint: &'static str,
    },
    /// Two things would have the same name on the other side.
    #[error("{first} and {second} would have the same name on the other side; send them one after the other",
        first = first.display(), second = second.display())]
    SameName {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Other clients' transfers are about so many files already.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// It has no name of its own, as `/` has none.
    #[error("{path}: has no name to send it under; name what is in it instead", path = .0.display())]
    Nameless(PathBuf),
}

/// What is known of a file before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    kind: FileKind,
    len: u64,
    mode: u16,
    mtime: i64,
    mtime_nanos: u32,
    /// Blocks of 512 bytes that it takes on the disk.
    blocks: u64,
    identity: (u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    File,
    Directory,
    Link,
    Special,
}

impl Facts {
    fn of_open(content: &Content) -> io::Result<Self> {
        match content {
            Content::File(file) => Ok(Self::from_std(&file.metadata()?)),
            Content::Made(made) => Ok(Self::of_made(*made)),
        }
    }

    /// Its time is the same whenever it is made, and not that of the text of another seed: by that a receiver finds again
    /// what it has of it.
    const fn of_made(made: Made) -> Self {
        Self {
            kind: FileKind::File,
            len: made.length,
            mode: 0o644,
            mtime: 0,
            mtime_nanos: (made.seed % 1_000_000_000) as u32,
            blocks: u64::MAX,
            identity: (0, 0),
        }
    }

    fn from_std(metadata: &std::fs::Metadata) -> Self {
        let kind = metadata.file_type();
        Self {
            kind: FileKind::new(kind.is_file(), kind.is_dir(), kind.is_symlink()),
            len: metadata.len(),
            mode: (metadata.mode() & 0o777) as u16,
            mtime: metadata.mtime(),
            mtime_nanos: metadata.mtime_nsec().clamp(0, 999_999_999) as u32,
            blocks: MetadataExt::blocks(metadata),
            identity: (MetadataExt::dev(metadata), MetadataExt::ino(metadata)),
        }
    }

    fn from_cap(metadata: &cap_std::fs::Metadata) -> Self {
        let kind = metadata.file_type();
        Self {
            kind: FileKind::new(kind.is_file(), kind.is_dir(), kind.is_symlink()),
            len: metadata.len(),
            mode: (metadata.mode() & 0o777) as u16,
            mtime: metadata.mtime(),
            mtime_nanos: metadata.mtime_nsec().clamp(0, 999_999_999) as u32,
            blocks: metadata.blocks(),
            identity: (metadata.dev(), metadata.ino()),
        }
    }

    /// Of something that nothing can be found out about: it is offered, and then can't be read.
    const UNKNOWN: Self =
        Self { kind: FileKind::File, len: 0, mode: 0, mtime: 0, mtime_nanos: 0, blocks: 0, identity: (0, 0) };

    const fn as_unreadable(self) -> Self {
        Self { kind: FileKind::File, len: 0, ..self }
    }

    /// Whether the file is, as far as its length and time can tell, what it was.
    const fn is_unchanged(&self, since: &Self) -> bool {
        self.len == since.len && self.mtime == since.mtime && self.mtime_nanos == since.mtime_nanos
    }
}

impl FileKind {
    const fn new(file: bool, directory: bool, link: bool) -> Self {
        match (file, directory, link) {
            (true, ..) => Self::File,
            (_, true, _) => Self::Directory,
            (_, _, true) => Self::Link,
            _ => Self::Special,
        }
    }
}

/// A part of a file system that can be walked.
trait Place: Send + Sync + std::fmt::Debug {
    fn facts(&self, path: &Path, follow: bool) -> io::Result<Facts>;
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    fn open(&self, path: &Path) -> io::Result<Content>;
}

/// Everything that this process may see: for paths that its user named.
#[derive(Debug)]
struct Everywhere;

impl Place for Everywhere {
    fn facts(&self, path: &Path, follow: bool) -> io::Result<Facts> {
        let metadata = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        metadata.map(|metadata| Facts::from_std(&metadata))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Content> {
        // Not blocking: opening a pipe that took the file's place must not wait for a writer.
        let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
        Ok(Content::File(Arc::new(file)))
    }
}

/// A directory that no path and no link leaves: for paths that came from the network.
#[derive(Debug)]
struct Below(Arc<Dir>);

impl Place for Below {
    fn facts(&self, path: &Path, follow: bool) -> io::Result<Facts> {
        let metadata = if follow { self.0.metadata(path) } else { self.0.symlink_metadata(path) };
        metadata.map(|metadata| Facts::from_cap(&metadata))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        // Of more than one transfer may have not all are remembered: it is refused then.
        let names = self.0.read_dir(path)?.take(MAX_ENTRIES as usize + 1);
        names.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Content> {
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = self.0.open_with(path, &options)?;
        Ok(Content::File(Arc::new(file.into_std())))
    }
}

/// Nowhere: one text that is made up.
impl Place for Made {
    fn facts(&self, _path: &Path, _follow: bool) -> io::Result<Facts> {
        Ok(Facts::of_made(*self))
    }

    fn list(&self, _path: &Path) -> io::Result<Vec<OsString>> {
        Ok(Vec::new())
    }

    fn open(&self, _path: &Path) -> io::Result<Content> {
        Ok(Content::Made(*self))
    }
}

#[derive(Debug)]
struct Item {
    /// What the person named: its last part is the first part of `path`.
    base: Arc<Path>,
    /// Path in the transfer.
    path: Vec<u8>,
    facts: Facts,
    done: bool,
}

impl Item {
    fn local_path(&self) -> PathBuf {
        match self.path.iter().position(|byte| *byte == b'/') {
            Some(slash) => self.base.join(OsStr::from_bytes(&self.path[slash + 1..])),
            None => self.base.to_path_buf(),
        }
    }
}

/// Files and directories that are to be sent.
#[derive(Debug)]
pub struct Sources {
    place: Arc<dyn Place>,
    items: Vec<Item>,
    skipped: u64,
    /// Where they count, on a server.
    share: Option<Share>,
}

impl Sources {
    /// Takes files and whole directory trees that the user named.
    ///
    /// Links and special files below a directory are left out with an [`Event::Skipped`], unless `follow` says to take
    /// what a link points to.
    pub fn local(paths: &[PathBuf], follow: bool, observer: &dyn Observer) -> Result<Self, SourceError> {
        let mut walk = Walk::new(Arc::new(Everywhere), follow, observer);
        for path in paths {
            let named = plain_name(path);
            let named = if named.is_some() { Ok(path.clone()) } else { std::fs::canonicalize(path) };
            let base = named.map_err(|error| missing(path, error))?;
            let name = plain_name(&base).ok_or_else(|| SourceError::Nameless(path.clone()))?.to_owned();
            walk.take(&base, &name)?;
        }
        Ok(walk.finish())
    }

    /// Takes files and trees below a served directory.
    pub(crate) fn below(
        dir: Arc<Dir>,
        paths: &[SafePath],
        follow: bool,
        share: Share,
        observer: &dyn Observer,
    ) -> Result<Self, SourceError> {
        let mut walk = Walk::new(Arc::new(Below(dir)), follow, observer);
        walk.sources.share = Some(share);
        for path in paths {
            walk.take(path.as_path(), path.name())?;
        }
        Ok(walk.finish())
    }

    /// Takes a text that is made up.
    pub(crate) fn made(made: Made) -> Self {
        let name = format!("generated-{}.txt", made.length);
        let base = Arc::from(Path::new(&name));
        let item = Item { base, path: name.into_bytes(), facts: Facts::of_made(made), done: false };
        Self { place: Arc::new(made), items: vec![item], skipped: 0, share: None }
    }

    /// How many links and special files were left out.
    pub(crate) const fn left_out(&self) -> u64 {
        self.skipped
    }

    /// The manifest of what is not done yet, and each entry's item.
    pub(crate) fn manifest(&self) -> Result<(Manifest, Vec<u32>), ManifestError> {
        let mut manifest = Manifest::new();
        let mut items = Vec::new();
        for (item, index) in self.items.iter().zip(0..).filter(|(item, _)| !item.done) {
            let kind = match item.facts.kind {
                FileKind::Directory => EntryKind::Directory,
                _ => EntryKind::File { len: item.facts.len },
            };
            manifest.push(Entry {
                kind,
                mode: item.facts.mode,
                mtime: item.facts.mtime,
                mtime_nanos: item.facts.mtime_nanos,
                path: &item.path,
            })?;
            items.push(index);
        }
        Ok((manifest, items))
    }

    /// Which chunks of the manifest hold nothing but zeros because nothing was ever written there.
    pub(crate) fn holes(&self, manifest: &Manifest, items: &[u32]) -> ChunkSet {
        let mut holes = ChunkSet::new();
        for (&item, index) in items.iter().zip(0..) {
            let facts = self.items[item as usize].facts;
            let sparse = facts.kind == FileKind::File && facts.blocks.saturating_mul(512) < facts.len;
            if sparse && let Ok(file) = self.open(item) {
                let first = manifest.chunks_of(index).start;
                for hole in holes_of(&file.content, facts.len) {
                    if holes.range_count() >= MAX_HOLES {
                        return holes;
                    }
                    holes.insert(first + hole.start..first + hole.end);
                }
            }
        }
        holes
    }

    /// Opens an item's file, which must still be what it was when it was found.
    pub(crate) fn open(&self, item: u32) -> io::Result<SourceFile> {
        let item = &self.items[item as usize];
        let content = self.place.open(&item.local_path())?;
        let found = Facts::of_open(&content)?;
        if found.kind != FileKind::File {
            return Err(io::Error::other("it is not a file any more"));
        }
        Ok(SourceFile { changed: !found.is_unchanged(&item.facts), content, facts: item.facts })
    }

    /// Takes note that nothing is left to be done about an item.
    pub(crate) fn set_done(&mut self, item: u32) {
        self.items[item as usize].done = true;
    }

    /// How to call it all.
    pub(crate) fn title(&self) -> &OsStr {
        let first = self.items.iter().find(|item| !item.done).or_else(|| self.items.first());
        first.map_or(OsStr::new(""), |item| {
            let top = item.path.split(|byte| *byte == b'/').next();
            OsStr::from_bytes(top.unwrap_or_default())
        })
    }
}

/// A file that is being read.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) content: Content,
    /// Whether it was another one already when it was opened.
    pub(crate) changed: bool,
    facts: Facts,
}

impl SourceFile {
    /// Whether it is still what it was when it was found.
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.changed && Facts::of_open(&self.content).is_ok_and(|facts| facts.is_unchanged(&self.facts))
    }
}

struct Walk<'a> {
    sources: Sources,
    follow: bool,
    observer: &'a dyn Observer,
    /// What was taken under each name at the top.
    tops: HashMap<OsString, (PathBuf, (u64, u64))>,
    /// The directories that the walk is in, so that a link can't lead it round and round.
    inside: Vec<(u64, u64)>,
}

impl<'a> Walk<'a> {
    fn new(place: Arc<dyn Place>, follow: bool, observer: &'a dyn Observer) -> Self {
        let sources = Sources { place, items: Vec::new(), skipped: 0, share: None };
        Self { sources, follow, observer, tops: HashMap::new(), inside: Vec::new() }
    }

    fn finish(self) -> Sources {
        self.sources
    }

    /// Takes something that was named: it must be there. What a person names is followed if it is a link.
    fn take(&mut self, base: &Path, name: &OsStr) -> Result<(), SourceError> {
        let place = Arc::clone(&self.sources.place);
        let facts = place.facts(base, true).map_err(|error| missing(base, error))?;
        if let Some((first, identity)) = self.tops.get(name) {
            if *identity == facts.identity {
                self.skip(base.as_os_str(), "named twice, sent once");
                return Ok(());
            }
            return Err(SourceError::SameName { first: first.clone(), second: base.to_owned() });
        }
        match facts.kind {
            FileKind::File => {
                place.open(base).map_err(|error| missing(base, error))?;
            }
            FileKind::Directory => {
                place.list(base).map_err(|error| missing(base, error))?;
            }
            FileKind::Link | FileKind::Special => {
                return Err(SourceError::Special { path: base.to_owned(), hint: "" });
            }
        }
        self.tops.insert(name.to_owned(), (base.to_owned(), facts.identity));
        Ok(self.add(&Arc::from(base), name.as_bytes().to_vec(), facts)?)
    }

    fn add(&mut self, base: &Arc<Path>, path: Vec<u8>, facts: Facts) -> Result<(), Crowded> {
        if path.len() > MAX_PATH_LEN {
            self.skip(OsStr::from_bytes(&path), "its path is too long");
            return Ok(());
        }
        if let Some(share) = &mut self.sources.share {
            share.add(1)?;
        }
        let item = Item { base: Arc::clone(base), path, facts, done: false };
        let path = item.path.clone();
        let local = item.local_path();
        self.sources.items.push(item);
        if facts.kind == FileKind::Directory {
            self.inside.push(facts.identity);
            self.add_all_in(base, &path, &local)?;
            self.inside.pop();
        }
        Ok(())
    }

    fn add_all_in(&mut self, base: &Arc<Path>, path: &[u8], local: &Path) -> Result<(), Crowded> {
        if self.inside.len() > MAX_DEPTH {
            self.skip(local.as_os_str(), "the tree is too deep here");
            return Ok(());
        }
        let mut names = match self.sources.place.list(local) {
            Ok(names) => names,
            Err(error) => {
                // It is offered as a file that can't be read, so that the other side hears of it.
                if let Some(item) = self.sources.items.last_mut() {
                    item.facts = item.facts.as_unreadable();
                }
                self.note_unreadable(local, &error);
                return Ok(());
            }
        };
        names.sort();
        for name in names {
            let local = local.join(&name);
            if is_part_name(&name) {
                self.skip(local.as_os_str(), "a partial file of a transfer");
                continue;
            }
            let facts = match self.sources.place.facts(&local, self.follow) {
                Ok(facts) => facts,
                Err(error) => {
                    self.note_unreadable(&local, &error);
                    Facts::UNKNOWN
                }
            };
            match facts.kind {
                FileKind::Link => {
                    self.skip(local.as_os_str(), "a symbolic link (--follow takes what it points to)");
                }
                FileKind::Special => self.skip(local.as_os_str(), "neither a file nor a directory"),
                FileKind::Directory if self.inside.contains(&facts.identity) => {
                    self.skip(local.as_os_str(), "a link to a directory that it is in");
                }
                FileKind::File | FileKind::Directory => {
                    let mut path = path.to_vec();
                    path.push(b'/');
                    path.extend(name.into_vec());
                    self.add(base, path, facts)?;
                }
            }
        }
        Ok(())
    }

    fn skip(&mut self, path: &OsStr, why: &str) {
        self.sources.skipped += 1;
        self.observer.event(&Event::Skipped { path, why });
    }

    fn note_unreadable(&self, path: &Path, error: &io::Error) {
        self.observer
            .event(&Event::Skipped { path: path.as_os_str(), why: &format!("cannot be read: {error}") });
    }
}

pub(crate) fn missing(path: &Path, error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::NotFound => SourceError::NotFound(path.to_owned()),
        _ => SourceError::Unreadable { path: path.to_owned(), error },
    }
}

/// The last part of a path, if it is a name and not `.`, `..` or a root.
fn plain_name(path: &Path) -> Option<&OsStr> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}

/// Chunks of a file, counted from its start, that lie in holes altogether.
fn holes_of(content: &Content, len: u64) -> Vec<std::ops::Range<u64>> {
    let mut holes = Vec::new();
    let Content::File(file) = content else { return holes };
    let mut at = 0;
    while at < len && holes.len() < MAX_HOLES {
        let Ok(start) = rustix::fs::seek(file, SeekFrom::Hole(at)) else { break };
        if start >= len {
            break;
        }
        // No data behind the hole: it reaches to the end.
        let end = rustix::fs::seek(file, SeekFrom::Data(start)).unwrap_or(len).min(len);
        let chunks = start.div_ceil(CHUNK_LEN as u64)..if end == len {
            chunks_in(len)
        } else {
            end / CHUNK_LEN as u64
        };
        if !chunks.is_empty() {
            holes.push(chunks);
        }
        at = end;
    }
    holes
}
