//! Files that come without saying how long they will be.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use framing::{Checksum, Digest, Entry, EntryKind, Hasher, Refusal};

use crate::SessionError;
use crate::store::{
    self, Committed, Finished, Growth, LimitError, Lookout, NameError, PartFile, PartId, Placed, Plan,
    SafePath, Store, StoreError, Target, room_for,
};

/// Permission bits of what is kept: nobody said which ones it had.
const MODE: u16 = 0o644;

/// Keeps every file that comes under the same name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keeper {
    store: Store,
    name: Arc<[u8]>,
    path: SafePath,
}

/// A file that was kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its path below the store's directory.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
    /// Its MD5.
    pub digest: Digest,
    /// Pieces that it came in: datagrams, or what a stream happened to be read in.
    pub pieces: u64,
    /// How long it took to come.
    pub elapsed: Duration,
}

/// A file that is coming. What there is of it is removed unless it is committed.
#[derive(Debug)]
pub struct Intake {
    store: Store,
    target: Target,
    part: Arc<PartFile>,
    hasher: Hasher,
    len: u64,
    /// What of the store's limits is set aside for it.
    growth: Growth,
    lookout: Lookout,
    pieces: u64,
    /// When its first bytes came.
    began: Option<Instant>,
}

impl Keeper {
    /// Keeps files under this name, which gets the store's prefix.
    pub fn new(store: Store, name: &OsStr) -> Result<Self, NameError> {
        let path = store.place_of(name.as_bytes())?;
        Ok(Self { store, name: name.as_bytes().into(), path })
    }

    /// The path of a file when nothing else has that name, below the store's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.as_path()
    }

    /// Starts to take a file, unless one is there and the settings are against another.
    pub fn begin(&self) -> Result<Intake, SessionError> {
        let (mtime, mtime_nanos) = now();
        let kind = EntryKind::File { len: 0 };
        let entry = Entry { kind, mode: MODE, mtime, mtime_nanos, path: &self.name };
        let store = self.store.for_transfer(None);
        let target = match store.plan(&entry, false) {
            Plan::Take { target, .. } => Target { part: PartId::of_unknown(&self.name), ..target },
            Plan::Keep(path) => return Err(stays(&path)),
            Plan::Refuse(text) => return Err(SessionError::Declined { refusal: Refusal::Policy, text }),
            Plan::Directory(path) => return Err(stays(path.as_path())),
        };
        store.check_spare_room(room_for(0, 0)).map_err(|error| failed(&target, error))?;
        let part = store
            .parent_of(&target.path, true)
            .and_then(|dir| PartFile::fresh(&dir, target.path.name(), target.part))
            .map_err(|error| failed(&target, error))?;
        Ok(Intake {
            growth: Growth::new(&store),
            store,
            target,
            part: Arc::new(part),
            hasher: Hasher::new(Checksum::Md5),
            len: 0,
            lookout: Lookout::default(),
            pieces: 0,
            began: None,
        })
    }
}

impl Intake {
    /// Bytes so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.began.get_or_insert_with(Instant::now);
        let len = self.len + bytes.len() as u64;
        if let Some(most) = self.store.options().limits.max_file_len.filter(|most| len > *most) {
            return Err(declined(LimitError::Grown { most }));
        }
        self.growth.grow(bytes.len() as u64).map_err(declined)?;
        self.lookout
            .pass(&self.store, bytes.len() as u64)
            .and_then(|()| self.part.file().write_all_at(bytes, self.len))
            .map_err(|error| failed(&self.target, error))?;
        self.hasher.update(bytes);
        self.len = len;
        self.pieces += 1;
        Ok(())
    }

    /// Gives the file its name: it is whole.
    pub fn commit(mut self) -> Result<Kept, SessionError> {
        let digest = std::mem::replace(&mut self.hasher, Hasher::new(Checksum::Md5)).finish();
        let finished = Finished {
            index: 0,
            part: Arc::clone(&self.part),
            target: self.target.clone(),
            mode: MODE,
            mtime: now(),
            is_damaged: false,
        };
        let committed =
            store::commit(&[finished], self.store.options().if_exists, &mut Placed::default()).pop();
        match committed {
            Some(Committed::Stored(path)) => {
                self.growth.keep();
                Ok(Kept {
                    path,
                    len: self.len,
                    pieces: self.pieces,
                    digest,
                    elapsed: self.began.map_or(Duration::ZERO, |began| began.elapsed()),
                })
            }
            Some(Committed::Unflushed(error)) => {
                self.growth.keep();
                Err(failed(&self.target, error))
            }
            Some(Committed::Failed(error)) => Err(failed(&self.target, error)),
            Some(Committed::Kept(_) | Committed::Exists) | None => Err(stays(self.target.path.as_path())),
        }
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // When it has its final name there is nothing left to remove.
        let _ = self.part.discard();
    }
}

fn failed(target: &Target, error: io::Error) -> SessionError {
    match LimitError::of(&error) {
        Some(limit) => declined(limit),
        None => StoreError::Write { path: target.path.as_path().to_owned(), error }.into(),
    }
}

fn declined(limit: LimitError) -> SessionError {
    SessionError::Declined { refusal: Refusal::Policy, text: limit.to_string() }
}

fn stays(path: &Path) -> SessionError {
    let text = format!("{} is there already, and stays as it was (--if-exists)", path.display());
    SessionError::Declined { refusal: Refusal::Policy, text }
}

/// Seconds and nanoseconds since 1970.
fn now() -> (i64, u32) {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    (since.as_secs().cast_signed(), since.subsec_nanos())
}
