//! Partial files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use framing::{CHUNK_LEN, Checksum, ChunkSet, Entry, EntryKind, Hasher};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, SeekFrom};

use super::holders::{Claim, Hold};
use super::name::{MAX_NAME_LEN, PART_ID_LEN, PART_SUFFIX, cut};

/// How many transfers of the same file may go on at a time.
const MAX_TWINS: u32 = 1000;
/// How often to look at a lock that is waited for.
const LOCK_POLL: Duration = Duration::from_millis(5);
/// The most ranges that are told apart in a partial file.
const MAX_RANGES: usize = 1 << 16;

/// Tells the partial files of different files apart that would get the same name: a digest of path, length and time of the
/// file on the sender's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartId([u8; PART_ID_LEN / 2]);

impl PartId {
    /// The one of this entry.
    #[must_use]
    pub fn of(entry: &Entry<'_>) -> Self {
        let mut hasher = Hasher::new(Checksum::Md5);
        hasher.update(&entry.len().to_be_bytes());
        hasher.update(&entry.mtime.to_be_bytes());
        hasher.update(&entry.mtime_nanos.to_be_bytes());
        hasher.update(entry.path);
        let mut id = [0; PART_ID_LEN / 2];
        id.copy_from_slice(&hasher.finish().as_bytes()[..PART_ID_LEN / 2]);
        Self(id)
    }

    /// The one of a file of which nothing is known but its name: what is left of it is never gone on with.
    #[must_use]
    pub fn of_unknown(path: &[u8]) -> Self {
        let entry = Entry { kind: EntryKind::File { len: 0 }, mode: 0, mtime: 0, mtime_nanos: 0, path };
        // Not the one of an empty file, which may be just as old.
        Self(Self::of(&entry).0.map(|byte| byte ^ 0x55))
    }

    /// The one of a plain transfer of the same file: what that leaves is no part of the file that can be gone on with.
    #[must_use]
    pub fn plain(self) -> Self {
        Self(self.0.map(|byte| !byte))
    }

    pub(super) const fn bytes(self) -> [u8; PART_ID_LEN / 2] {
        self.0
    }

    fn name(self, target: &OsStr, twin: u32) -> OsString {
        let id: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let number = if twin == 0 { String::new() } else { format!("-{twin}") };
        let tail = format!(".{id}{number}{PART_SUFFIX}");
        let mut name = vec![b'.'];
        name.extend_from_slice(cut(target.as_bytes(), MAX_NAME_LEN - 1 - tail.len()));
        name.extend(tail.into_bytes());
        OsString::from_vec(name)
    }
}

/// A partial file. Nobody else writes to it while this exists: it is locked.
#[derive(Debug)]
pub struct PartFile {
    /// Goes before the lock does, so that it is never the next holder's.
    hold: Hold,
    _lock: Lock,
    file: Arc<File>,
    dir: Arc<Dir>,
    name: OsString,
    len: u64,
}

/// The lock on a partial file. It goes with its [`PartFile`], even while a thread still reads the open file.
#[derive(Debug)]
struct Lock(Arc<File>);

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails it goes when the file is closed.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl PartFile {
    /// Opens the partial file of this target and id if there is one that nobody else is writing to.
    pub fn find(
        dir: &Arc<Dir>,
        target: &OsStr,
        id: PartId,
        len: u64,
        claim: &Claim,
    ) -> io::Result<Option<Self>> {
        Self::find_twin(dir, target, id, len, claim, true)
    }

    /// The same; `patient` waits a while for the very first.
    fn find_twin(
        dir: &Arc<Dir>,
        target: &OsStr,
        id: PartId,
        len: u64,
        claim: &Claim,
        patient: bool,
    ) -> io::Result<Option<Self>> {
        for twin in claim.twins() {
            let name = id.name(target, twin);
            match open(dir, &name, false) {
                Ok(file) => {
                    if let Some(hold) = lock(dir, &name, &file, claim, patient && twin == 0)? {
                        return Self::new(file, dir, name, len, hold).map(Some);
                    }
                }
                // One may be done while a later one was interrupted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Opens the partial file of this target and id, a new one if need be.
    pub fn open(dir: &Arc<Dir>, target: &OsStr, id: PartId, len: u64, claim: &Claim) -> io::Result<Self> {
        Self::take(dir, target, id, len, claim, true)
    }

    /// Opens an empty partial file of this target and id, whoever else may have one.
    pub fn fresh(dir: &Arc<Dir>, target: &OsStr, id: PartId) -> io::Result<Self> {
        Self::take(dir, target, id, 0, &Claim::default(), false)
    }

    /// Opens the first partial file that nobody else has; `patient` waits a while for the very first.
    fn take(
        dir: &Arc<Dir>,
        target: &OsStr,
        id: PartId,
        len: u64,
        claim: &Claim,
        patient: bool,
    ) -> io::Result<Self> {
        // One that was left is gone on with, rather than another made beside it: what is counted of a file is its number.
        if let Some(part) = Self::find_twin(dir, target, id, len, claim, patient)? {
            return Ok(part);
        }
        let mut twin = 0;
        while twin < MAX_TWINS {
            let name = id.name(target, twin);
            claim.note_twin(twin);
            let file = match open(dir, &name, true) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open(dir, &name, false) {
                    Ok(file) => file,
                    // Gone since: it got its final name.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error),
            };
            if let Some(hold) = lock(dir, &name, &file, claim, false)? {
                return Self::new(file, dir, name, len, hold);
            }
            twin += 1;
        }
        Err(io::Error::other("too many transfers of the same file at once"))
    }

    fn new(file: File, dir: &Arc<Dir>, name: OsString, len: u64, hold: Hold) -> io::Result<Self> {
        if file.metadata()?.len() != len {
            file.set_len(len)?;
        }
        let file = Arc::new(file);
        let lock = Lock(Arc::clone(&file));
        Ok(Self { hold, _lock: lock, file, dir: Arc::clone(dir), name, len })
    }

    /// The open file.
    #[must_use]
    pub const fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(super) const fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Bytes of the whole file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the whole file has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Chunks, counted from the file's start, that something was ever written to.
    #[must_use]
    pub fn written(&self) -> ChunkSet {
        let mut written = ChunkSet::new();
        let mut at = 0;
        while at < self.len {
            let Ok(start) = rustix::fs::seek(&self.file, SeekFrom::Data(at)) else { break };
            let end = rustix::fs::seek(&self.file, SeekFrom::Hole(start)).unwrap_or(self.len);
            written.insert(start / CHUNK_LEN as u64..end.min(self.len).div_ceil(CHUNK_LEN as u64));
            at = end.max(start + 1);
        }
        written.coarsen(MAX_RANGES);
        written
    }

    /// Bytes that it takes on the disk.
    pub(crate) fn room_taken(&self) -> u64 {
        self.file.metadata().map_or(0, |about| MetadataExt::blocks(&about).saturating_mul(512).min(self.len))
    }

    /// Has the file system set the room for the whole file aside, in one piece if it can.
    ///
    /// Fails only for want of room: file systems that can't do it, or keep files in memory, go without.
    pub fn reserve(&self) -> io::Result<()> {
        const TMPFS_MAGIC: u32 = 0x0102_1994;
        if self.len == 0
            || rustix::fs::fstatfs(&self.file).is_ok_and(|about| about.f_type as u32 == TMPFS_MAGIC)
        {
            return Ok(());
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, self.len) {
            Err(error @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Writes bytes in a row, the first of them byte `offset` of this file.
    pub fn write(&self, mut offset: u64, payloads: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut rest = payloads;
        while !rest.is_empty() {
            match rustix::io::pwritev(&self.file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes all of it zero.
    pub fn wipe(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.set_len(self.len)
    }

    /// Makes a chunk zero, wholly.
    pub fn clear(&self, chunk: u64) -> io::Result<()> {
        let offset = chunk * CHUNK_LEN as u64;
        let len = self.len.saturating_sub(offset).min(CHUNK_LEN as u64);
        self.file.write_all_at(&[0; CHUNK_LEN][..len as usize], offset)
    }

    /// Removes what interrupted transfers left of the same file beside it, now that it is in place.
    pub(super) fn remove_twins(&self, target: &OsStr, id: PartId) {
        Self::remove_leftovers(&self.dir, target, id, self.hold.twins());
    }

    /// Removes what interrupted transfers left of a file that is in place, as far as it has one of these numbers.
    pub(crate) fn remove_leftovers(dir: &Dir, target: &OsStr, id: PartId, twins: Range<u32>) {
        for twin in twins {
            let name = id.name(target, twin);
            let Ok(file) = open(dir, &name, false) else { continue };
            if let Ok(Some(_hold)) = lock(dir, &name, &file, &Claim::default(), false) {
                // What can't be removed is only in the way.
                let _ = dir.remove_file(&name);
            }
        }
    }

    /// How many partial files there are of this target and id that have one of these numbers. It stops at `enough`.
    ///
    /// Fails when that can't be seen.
    pub(crate) fn count(
        dir: &Dir,
        target: &OsStr,
        id: PartId,
        twins: Range<u32>,
        enough: u32,
    ) -> io::Result<u32> {
        let mut count = 0;
        for twin in twins {
            if count >= enough {
                break;
            }
            match dir.symlink_metadata(id.name(target, twin)) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Removes it, if it still has its name: another may have that by now.
    pub(crate) fn discard(&self) -> io::Result<()> {
        // While it is locked nobody else takes its name.
        if self.is_called(&self.name)? {
            self.remove()?;
        }
        Ok(())
    }

    /// Whether this name in its directory is its own, and no link's or another file's.
    pub(super) fn is_called(&self, name: &OsStr) -> io::Result<bool> {
        Ok(is_same(&self.dir.symlink_metadata(name)?, &self.file.metadata()?))
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        self.dir.remove_file(&self.name)
    }
}

fn open(dir: &Dir, name: &OsStr, new: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(new).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    let file = match dir.open_with(name, &options) {
        // It got its final permissions, and then something came between it and its final name.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !new => {
            use cap_std::fs::MetadataExt as _;
            let about = dir.symlink_metadata(name)?;
            if !about.is_file() || about.nlink() > 1 {
                return Err(error);
            }
            dir.set_permissions(name, Permissions::from_mode(0o600))?;
            dir.open_with(name, &options)?
        }
        opened => opened?,
    };
    let file = file.into_std();
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("something else has the name of its partial file"));
    }
    Ok(file)
}

/// Locks a partial file: `None` when somebody else has it, or it has another name by now, or a second one.
fn lock(dir: &Dir, name: &OsStr, file: &File, claim: &Claim, patient: bool) -> io::Result<Option<Hold>> {
    let wait = claim.wait(file)?;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if patient && wait.is_worthwhile() => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let ours = file.metadata()?;
    match dir.symlink_metadata(name) {
        // With a second name it may lie elsewhere too: what is there is not to be written to.
        Ok(there) if is_same(&there, &ours) && cap_std::fs::MetadataExt::nlink(&there) == 1 => {
            claim.hold(file).map(Some)
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(there: &Metadata, ours: &std::fs::Metadata) -> bool {
    use cap_std::fs::MetadataExt as _;
    (there.dev(), there.ino()) == (MetadataExt::dev(ours), MetadataExt::ino(ours))
}
