//! What a store takes in at most, and what it leaves free of its disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framing::{Checksum, Hasher};

use super::{PartFile, Store, Target};

/// What a file takes of the disk is a multiple of this, and every file takes some.
const BLOCK_LEN: u64 = 4096;
/// So many bytes are written from one look at the free part of the disk to the next.
const LOOK_LEN: u64 = 4 << 20;

/// What a store takes in at most. By default there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// The most bytes of a file.
    pub max_file_len: Option<u64>,
    /// The most bytes of all files together that are taken in while the store is open.
    pub max_total: Option<u64>,
    /// The bytes that stay free in the file system of the store's directory.
    pub min_free: Option<u64>,
}

/// The limit that is in the way of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// It is too long.
    #[error("it has {len} bytes, and a file may have at most {most} here (--max-file-size)")]
    FileLen {
        /// Bytes of it.
        len: u64,
        /// The most.
        most: u64,
    },
    /// It has become too long.
    #[error("it has more than {most} bytes, and a file may not have more here (--max-file-size)")]
    Grown {
        /// The most.
        most: u64,
    },
    /// All files together would be too much.
    #[error(
        "it is more than what is left of the {most} bytes that are taken in altogether here (--max-total)"
    )]
    Total {
        /// The most bytes of all files.
        most: u64,
    },
    /// Too little of the disk would stay free.
    #[error("fewer than {least} bytes of the disk would stay free here (--min-free)")]
    Free {
        /// Bytes that stay free.
        least: u64,
    },
}

impl LimitError {
    /// The limit behind an error, if it is one of these.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<LimitError> for io::Error {
    fn from(error: LimitError) -> Self {
        Self::new(io::ErrorKind::StorageFull, error)
    }
}

/// What a file of so many bytes takes of the disk, of which it has some already.
pub(crate) const fn room_for(len: u64, taken: u64) -> u64 {
    let len = if len == 0 { 1 } else { len };
    len.div_ceil(BLOCK_LEN).saturating_mul(BLOCK_LEN).saturating_sub(taken)
}

impl Store {
    /// Bytes that are free beside those that stay free; `None` where nobody cares, or nobody knows.
    pub(crate) fn spare_room(&self) -> Option<u64> {
        let least = self.options().limits.min_free?;
        self.free_room().map(|free| free.saturating_sub(least))
    }

    /// Fails when so many bytes more would leave too few of the disk free.
    pub(crate) fn check_spare_room(&self, needed: u64) -> io::Result<()> {
        let Some(least) = self.options().limits.min_free else { return Ok(()) };
        match self.free_room() {
            Some(free) if free < least.saturating_add(needed) => Err(LimitError::Free { least }.into()),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Has the room for a whole partial file set aside ([`PartFile::reserve`]), unless that would leave too few of the disk free.
    pub(crate) fn set_aside(&self, part: &PartFile) -> io::Result<()> {
        // One after the other: what is set aside for one is no longer free for the next.
        let _turn = self.options().limits.min_free.map(|_| self.turn());
        self.check_spare_room(room_for(part.len(), part.room_taken()))?;
        part.reserve()
    }
}

/// Looks at the free part of the disk now and then, while a store is written to.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    unseen: u64,
}

impl Lookout {
    /// Takes note that so many bytes are to be written. Fails when too few of the disk are free.
    pub(crate) fn pass(&mut self, store: &Store, len: u64) -> io::Result<()> {
        self.unseen = self.unseen.saturating_add(len);
        if self.unseen < LOOK_LEN {
            return Ok(());
        }
        store.check_spare_room(0)?;
        // Only then: where too few are free, every byte more is looked at.
        self.unseen = 0;
        Ok(())
    }
}

/// A file by its target, its partial file and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileKey([u8; 32], u64);

impl FileKey {
    pub(crate) fn of(store: &Store, target: &Target, len: u64) -> Self {
        let path = store.path_in_whole(target.path.as_path().as_os_str());
        let mut hasher = Hasher::new(Checksum::Blake3);
        hasher.update(&target.part.bytes());
        hasher.update(path.as_encoded_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(hasher.finish().as_bytes());
        Self(key, len)
    }
}

/// What all clients of a store have sent and may still send, in bytes of files. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    /// Of files that are stored, on their way, or left unfinished.
    taken: u64,
    /// Partial files that nobody is at, and their number where the same file is there more than once.
    left: HashMap<FileKey, u32>,
}

impl Ledger {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets bytes aside, for whatever comes.
    pub(crate) fn take(&self, len: u64, most: u64) -> Result<(), LimitError> {
        self.account().take(len, most)
    }

    /// Gives bytes back that were set aside.
    pub(crate) fn give_back(&self, len: u64) {
        let mut account = self.account();
        account.taken = account.taken.saturating_sub(len);
    }

    /// Sets the bytes of a file aside, unless that was done when an earlier transfer of it was cut off.
    pub(crate) fn begin(&self, key: FileKey, most: u64) -> Result<(), LimitError> {
        let mut account = self.account();
        let Entry::Occupied(mut left) = account.left.entry(key) else { return account.take(key.1, most) };
        *left.get_mut() -= 1;
        if *left.get() == 0 {
            left.remove();
        }
        Ok(())
    }

    /// Ends a transfer of a file that was not stored. `count` says how many partial files of it there are now, if it can:
    /// more than it is asked for are of no interest.
    pub(crate) fn leave(&self, key: FileKey, count: impl FnOnce(u32) -> io::Result<u32>) {
        *self.account().left.entry(key).or_default() += 1;
        self.recount(key, count);
    }

    /// Gives back what was counted for partial files of a file that are gone. What `count` can't see may be there.
    pub(crate) fn recount(&self, key: FileKey, count: impl FnOnce(u32) -> io::Result<u32>) {
        let mut account = self.account();
        let Entry::Occupied(mut left) = account.left.entry(key) else { return };
        let Ok(there) = count(*left.get()) else { return };
        let gone = left.get().saturating_sub(there);
        *left.get_mut() -= gone;
        if *left.get() == 0 {
            left.remove();
        }
        account.taken = account.taken.saturating_sub(u64::from(gone).saturating_mul(key.1));
    }
}

/// Bytes that are set aside for a file whose length is not known. They are given back when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Growth {
    ledger: Ledger,
    most: Option<u64>,
    len: u64,
}

impl Growth {
    pub(crate) fn new(store: &Store) -> Self {
        Self { ledger: store.ledger().clone(), most: store.options().limits.max_total, len: 0 }
    }

    /// Sets so many bytes more aside.
    pub(crate) fn grow(&mut self, len: u64) -> Result<(), LimitError> {
        if let Some(most) = self.most {
            self.ledger.take(len, most)?;
            self.len += len;
        }
        Ok(())
    }

    /// Takes note that the file is stored: it stays counted.
    pub(crate) const fn keep(&mut self) {
        self.len = 0;
    }
}

impl Drop for Growth {
    fn drop(&mut self) {
        self.ledger.give_back(self.len);
    }
}

impl Account {
    fn take(&mut self, len: u64, most: u64) -> Result<(), LimitError> {
        match self.taken.checked_add(len).filter(|taken| *taken <= most) {
            Some(taken) => self.taken = taken,
            None => return Err(LimitError::Total { most }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: u8, len: u64) -> FileKey {
        FileKey([of; 32], len)
    }

    fn taken(ledger: &Ledger) -> u64 {
        ledger.account().taken
    }

    #[test]
    fn the_last_byte_counts() {
        let ledger = Ledger::default();
        ledger.begin(key(1, 60), 100).unwrap();
        let most = LimitError::Total { most: 100 };
        assert_eq!(ledger.begin(key(2, 41), 100), Err(most));
        ledger.begin(key(3, 40), 100).unwrap();
        ledger.begin(key(4, 0), 100).unwrap();
        assert_eq!(ledger.take(1, 100), Err(most));
        assert_eq!(ledger.take(u64::MAX, 100), Err(most));
        assert_eq!(taken(&ledger), 100);
    }

    #[test]
    fn what_is_left_is_counted_once_and_given_back_when_it_is_gone() {
        let ledger = Ledger::default();
        let file = key(1, 60);
        ledger.begin(file, 100).unwrap();
        ledger.leave(file, |_| Ok(1));
        assert_eq!(taken(&ledger), 60);
        // It goes on, and somebody else sends the same.
        ledger.begin(file, 100).unwrap();
        assert_eq!(taken(&ledger), 60);
        assert!(ledger.begin(file, 100).is_err());
        ledger.leave(file, |_| Ok(0));
        assert_eq!(taken(&ledger), 0);
        assert!(ledger.account().left.is_empty());
        for _ in 0..2 {
            ledger.begin(file, 200).unwrap();
        }
        ledger.leave(file, |_| Ok(2));
        ledger.leave(file, |_| Ok(2));
        assert_eq!(taken(&ledger), 120);
        ledger.recount(file, |left| {
            assert_eq!(left, 2);
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!(taken(&ledger), 120, "what can't be seen may be there");
        ledger.recount(file, |_| Ok(1));
        assert_eq!(taken(&ledger), 60);
        ledger.recount(key(2, 60), |_| Ok(0));
        assert_eq!(taken(&ledger), 60);
    }

    #[test]
    fn every_file_takes_a_block() {
        assert_eq!(room_for(0, 0), 4096);
        assert_eq!(room_for(4097, 0), 8192);
        assert_eq!(room_for(8192, 4096), 4096);
        assert_eq!(room_for(1, 8192), 0);
        assert!(room_for(u64::MAX, 0) > u64::MAX / 2);
    }

    #[test]
    fn a_limit_is_known_behind_an_error() {
        let error = io::Error::from(LimitError::Free { least: 7 });
        assert_eq!(LimitError::of(&error), Some(LimitError::Free { least: 7 }));
        assert_eq!(LimitError::of(&io::ErrorKind::StorageFull.into()), None);
        assert_eq!(error.to_string(), "fewer than 7 bytes of the disk would stay free here (--min-free)");
    }
}
