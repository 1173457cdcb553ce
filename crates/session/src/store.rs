//! The store: what keeps files that arrive, and never lets a name or a link lead out of its directory.
//!
//! A file is written to a hidden partial file beside its target ([`PartFile`]), and gets its final name only when it is
//! complete, verified and flushed ([`commit`]).

mod commit;
mod hide;
mod holders;
mod limits;
mod name;
mod part;
mod target;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use framing::Entry;
use rustix::fs::{Mode, OFlags};

use crate::crowd::{Crowd, Share};

pub(crate) use commit::MANY;
use commit::flush_directory;
pub use commit::{Committed, Finished, Placed, commit};
pub(crate) use hide::knows_enough;
pub use holders::{Claim, Holder, Holders};
pub(crate) use limits::{FileKey, Growth, Ledger, Lookout, room_for};
pub use limits::{LimitError, Limits};
pub use name::{NameError, SafePath, is_part_name};
pub use part::{PartFile, PartId};
pub use target::{Plan, Target};

/// What to do when something of a file's name is there already, with other content. The same content is never stored
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfExists {
    /// Store the new file under a new name: `name-1.ext`, `name-2.ext` and so on.
    #[default]
    Rename,
    /// Keep what is there, unseen.
    Skip,
    /// Replace it.
    Overwrite,
    /// Replace it if the new file is not older, sending only what differs.
    Update,
    /// Refuse the new file.
    Fail,
    /// Store the new file under a new name, and tell its sender nothing of what is there: neither that name nor whether the
    /// same content is there already, which is then stored twice. Of a partial file only who has most of its content learns.
    Hide,
}

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The directory that holds everything.
    pub dir: PathBuf,
    /// What the names of received files and trees begin with.
    pub prefix: OsString,
    /// What to do when a name is taken.
    pub if_exists: IfExists,
    /// What it takes in at most.
    pub limits: Limits,
}

/// Why a store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory can't be opened.
    #[error("{dir}: cannot be used as a directory for files: {error}", dir = dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The prefix can't be the start of a name.
    #[error("{0:?} cannot be the beginning of a file name")]
    Prefix(OsString),
    /// A file can't be written.
    #[error("{path}: cannot be written: {error}", path = path.display())]
    Write {
        /// The file, below the directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// There is not enough room.
    #[error("{dir}: not enough room: {needed} bytes are needed, {free} are free", dir = dir.display())]
    NoSpace {
        /// The directory.
        dir: PathBuf,
        /// Bytes that are missing in the store.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
}

impl StoreError {
    /// Whether it is for want of room.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } => true,
            Self::Open { error, .. } | Self::Write { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Self::Prefix(_) => false,
        }
    }
}

/// A directory that keeps what arrives. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    dir: Arc<Dir>,
    /// Where that directory lies in the whole store; empty when it is the whole store's.
    base: PathBuf,
    options: Arc<StoreOptions>,
    /// The only name that is given, if there is one.
    name: Option<Arc<OsStr>>,
    /// The directory that was used last: files of a tree mostly share it.
    parent: Arc<Mutex<Option<Parent>>>,
    claim: Claim,
    holders: Holders,
    ledger: Ledger,
    /// Whoever has it may look at the free part of the disk and then take of it.
    turn: Arc<Mutex<()>>,
    crowd: Crowd,
}

#[derive(Debug)]
struct Parent {
    path: PathBuf,
    dir: Arc<Dir>,
}

impl Store {
    /// Opens the directory, which must be there.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        if !name::is_prefix(&options.prefix) {
            return Err(StoreError::Prefix(options.prefix));
        }
        match Dir::open_ambient_dir(&options.dir, ambient_authority()) {
            Ok(dir) => {
                let holders = Holders::default();
                Ok(Self {
                    dir: Arc::new(dir),
                    base: PathBuf::new(),
                    options: Arc::new(options),
                    name: None,
                    parent: Arc::new(Mutex::new(None)),
                    claim: Claim::new(holders.clone(), None),
                    holders,
                    ledger: Ledger::default(),
                    turn: Arc::default(),
                    crowd: Crowd::default(),
                })
            }
            Err(error) => Err(StoreError::Open { dir: options.dir, error }),
        }
    }

    /// The same store, in which what arrives is called exactly so: for one file, or one tree.
    pub fn named(self, name: &OsStr) -> Result<Self, NameError> {
        match Path::new(name).file_name() {
            Some(part) if part == name => SafePath::parse(name.as_bytes())?,
            _ => return Err(NameError::Empty),
        };
        Ok(Self { name: Some(name.into()), ..self })
    }

    /// Where what came under this path is kept, below the directory.
    pub(crate) fn place_of(&self, path: &[u8]) -> Result<SafePath, NameError> {
        let path = SafePath::parse(path)?;
        match &self.name {
            Some(name) => path.with_first(name),
            None => path.with_prefix(&self.options.prefix),
        }
    }

    /// The part of the store below this directory, which must be there and not lie outside.
    pub(crate) fn below(&self, path: &SafePath) -> io::Result<Self> {
        let dir = Arc::new(self.dir.open_dir(path.as_path())?);
        let base = self.base.join(path.as_path());
        Ok(Self { dir, base, parent: Arc::default(), ..self.clone() })
    }

    /// A path of this part of the store, as it is in the whole store.
    pub(crate) fn path_in_whole<'a>(&self, path: &'a OsStr) -> Cow<'a, OsStr> {
        if self.base.as_os_str().is_empty() || path.is_empty() {
            Cow::Borrowed(path)
        } else {
            Cow::Owned(self.base.join(path).into_os_string())
        }
    }

    /// The same store for one transfer: `holder` is who holds its partial files.
    pub(crate) fn for_transfer(&self, holder: Option<Arc<Holder>>) -> Self {
        let claim = Claim::new(self.holders.clone(), holder);
        Self { parent: Arc::default(), claim, ..self.clone() }
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer more, of files that come or go.
    pub(crate) fn join(&self) -> Share {
        self.crowd.join()
    }

    pub(crate) const fn claim(&self) -> &Claim {
        &self.claim
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    pub(crate) const fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// The directory that a path's last part lies in.
    pub(crate) fn parent_of(&self, path: &SafePath, create: bool) -> io::Result<Arc<Dir>> {
        let Some(parent) = path.as_path().parent().filter(|parent| *parent != Path::new("")) else {
            return Ok(Arc::clone(&self.dir));
        };
        let mut last = self.parent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last
            && last.path == parent
        {
            return Ok(Arc::clone(&last.dir));
        }
        if create {
            self.dir.create_dir_all(parent)?;
        }
        let dir = Arc::new(self.dir.open_dir(parent)?);
        *last = Some(Parent { path: parent.to_owned(), dir: Arc::clone(&dir) });
        Ok(dir)
    }

    /// Bytes that are free; `None` when nobody knows.
    fn free_room(&self) -> Option<u64> {
        let about = rustix::fs::fstatvfs(&*self.dir).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// Fails when fewer than `needed` bytes are free.
    pub(crate) fn check_room(&self, needed: u64) -> Result<(), StoreError> {
        match self.free_room() {
            Some(free) if needed > free => {
                Err(StoreError::NoSpace { dir: self.options.dir.clone(), needed, free })
            }
            _ => Ok(()),
        }
    }

    /// Whether something has this name.
    pub(crate) fn is_taken(&self, path: &SafePath) -> bool {
        self.dir.symlink_metadata(path.as_path()).is_ok()
    }

    /// Makes directories, and makes those last that are new: what became of each.
    pub(crate) fn make_directories(&self, paths: Vec<(u32, SafePath)>) -> Vec<(u32, io::Result<()>)> {
        let many = paths.len() >= MANY;
        let mut new = false;
        let mut lookout = Lookout::default();
        let mut made: Vec<(u32, io::Result<()>)> = paths
            .into_iter()
            .map(|(index, path)| {
                if self.dir.metadata(path.as_path()).is_ok_and(|there| there.is_dir()) {
                    return (index, Ok(()));
                }
                new = true;
                let most = path.as_path().components().count() as u64 * room_for(0, 0);
                let look = lookout.pass(self, most);
                let made = look.and_then(|()| self.dir.create_dir_all(path.as_path())).and_then(|()| {
                    if many {
                        Ok(())
                    } else {
                        self.parent_of(&path, false).and_then(|dir| flush_directory(&dir))
                    }
                });
                (index, made)
            })
            .collect();
        if new
            && many
            && let Err(error) = self.flush()
        {
            made.iter_mut()
                .for_each(|(_, made)| *made = Err(io::Error::new(error.kind(), error.to_string())));
        }
        made
    }

    /// Gives a directory its permissions and time: its path. One that may hold what others sent keeps its own.
    pub(crate) fn finish_directory(&self, entry: &Entry<'_>, flush: bool) -> io::Result<PathBuf> {
        let path = self.place_for(entry).map_err(io::Error::other)?;
        let mut options = OpenOptions::new();
        // Not blocking: a pipe that took its place must not wait for a writer.
        options.read(true).custom_flags((OFlags::DIRECTORY | OFlags::NONBLOCK).bits() as i32);
        let dir = self.dir.open_with(path.as_path(), &options)?.into_std();
        if !self.is_hiding() {
            rustix::fs::fchmod(&dir, Mode::from_raw_mode(entry.mode.into()))?;
            commit::set_mtime(&dir, (entry.mtime, entry.mtime_nanos))?;
        }
        if flush {
            dir.sync_all()?;
        }
        Ok(path.as_path().to_owned())
    }

    /// Opens a file to read it, whatever has come in its place since it was looked at.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NONBLOCK.bits() as i32);
        let file = self.dir.open_with(path, &options)?.into_std();
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Flushes everything on the store's file system.
    pub(crate) fn flush(&self) -> io::Result<()> {
        // The directory's own handle may only name it; `.` opened for reading can be flushed.
        self.dir.open(".").and_then(commit::flush_file_system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_no_longer_made_once_too_little_of_the_disk_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { min_free: Some(1 << 60), ..Limits::default() };
        let options = StoreOptions {
            dir: dir.path().to_owned(),
            prefix: "".into(),
            if_exists: IfExists::Rename,
            limits,
        };
        let store = Store::open(options).unwrap();
        let deep = ["d"; 127].join("/");
        let paths = (0..30).map(|index| (index, format!("{index}/{deep}")));
        let paths = paths.map(|(index, path)| (index, SafePath::parse(path.as_bytes()).unwrap())).collect();
        let made: Vec<bool> =
            store.make_directories(paths).into_iter().map(|(_, made)| made.is_ok()).collect();
        let before = made.iter().take_while(|made| **made).count();
        assert!(before < 10, "{made:?}");
        assert!(made.iter().skip(before).all(|made| !made), "{made:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), before);
    }

    #[test]
    fn what_arrives_can_be_called_exactly_so() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions {
            dir: dir.path().to_owned(),
            prefix: "received-".into(),
            if_exists: IfExists::Fail,
            limits: Limits::default(),
        };
        let place = |store: &Store, path: &[u8]| store.place_of(path).unwrap().as_path().to_owned();
        let store = Store::open(options.clone()).unwrap();
        assert_eq!(place(&store, b"a/b"), Path::new("received-a/b"));
        let store = store.named(OsStr::new("it")).unwrap();
        assert_eq!((place(&store, b"a"), place(&store, b"a/b")), ("it".into(), "it/b".into()));
        for bad in ["", ".", "..", "a/b", "/a", "a/", "a\n", "nul"] {
            assert!(Store::open(options.clone()).unwrap().named(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
