//! What a transfer has been promised of the store's limits.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::{FileKey, LimitError, PartFile, SafePath, Store, Target, room_for};

/// The promises to one transfer. What became neither a file nor a partial file is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Booking {
    store: Store,
    /// Bytes that may be taken of the disk and are not promised yet; `None` where nobody cares.
    spare: Option<u64>,
    /// The directory that was promised last, with all above it.
    promised: PathBuf,
    /// Files that were promised and are not stored.
    open: BTreeMap<u32, (Target, u64)>,
    /// Files that are not taken, and of which partial files may have been removed.
    swept: Vec<(Target, u64)>,
}

impl Booking {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            spare: store.spare_room(),
            promised: PathBuf::new(),
            open: BTreeMap::new(),
            swept: Vec::new(),
        }
    }

    /// Promises to take a file, once, of which so many bytes are on the disk already.
    pub(super) fn book(
        &mut self,
        file: u32,
        target: &Target,
        len: u64,
        on_disk: u64,
    ) -> Result<(), LimitError> {
        let limits = self.store.options().limits;
        if (limits.max_total, limits.min_free) == (None, None) || self.open.contains_key(&file) {
            return Ok(());
        }
        let parent = target.path.as_path().parent().unwrap_or(Path::new(""));
        let directories = self.room_for_directories(parent);
        let room = room_for(len, on_disk).saturating_add(directories);
        self.check_spare(room)?;
        if let Some(most) = limits.max_total {
            self.store.ledger().begin(FileKey::of(&self.store, target, len), most)?;
        }
        self.promise(room);
        self.note_promised(parent, directories);
        self.open.insert(file, (target.clone(), len));
        Ok(())
    }

    /// Promises to make a directory and those above it, as far as they are not there.
    pub(super) fn book_directory(&mut self, path: &SafePath) -> Result<(), LimitError> {
        let room = self.room_for_directories(path.as_path());
        self.check_spare(room)?;
        self.promise(room);
        self.note_promised(path.as_path(), room);
        Ok(())
    }

    /// What a directory and those above it take of the disk that are neither there nor promised.
    ///
    /// Where a manifest keeps no order some are promised twice, which only takes more than it must.
    fn room_for_directories(&self, path: &Path) -> u64 {
        if self.spare.is_none() {
            return 0;
        }
        let is_new =
            |dir: &&Path| !self.promised.starts_with(dir) && self.store.dir().symlink_metadata(dir).is_err();
        let levels: Vec<&Path> = path.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        // Below one that is new all are new, so few questions do for a deep one.
        levels.partition_point(is_new) as u64 * room_for(0, 0)
    }

    fn note_promised(&mut self, path: &Path, room: u64) {
        if room > 0 {
            path.clone_into(&mut self.promised);
        }
    }

    /// Takes note that a file is stored: it stays counted.
    pub(super) fn stored(&mut self, file: u32) {
        if let Some((target, len)) = self.open.remove(&file) {
            // What was left of it beside is gone.
            self.recount(&target, len);
        }
    }

    /// Takes note that a file was there already, and what was left of it beside is gone, or soon will be.
    pub(super) fn was_there(&mut self, target: &Target, len: u64) {
        if self.store.options().limits.max_total.is_some() {
            self.swept.push((target.clone(), len));
        }
    }

    fn check_spare(&self, room: u64) -> Result<(), LimitError> {
        match (self.spare, self.store.options().limits.min_free) {
            (Some(spare), Some(least)) if room > spare => Err(LimitError::Free { least }),
            _ => Ok(()),
        }
    }

    fn promise(&mut self, room: u64) {
        self.spare = self.spare.map(|spare| spare.saturating_sub(room));
    }

    fn recount(&self, target: &Target, len: u64) {
        if self.store.options().limits.max_total.is_some() {
            let key = FileKey::of(&self.store, target, len);
            self.store.ledger().recount(key, |left| self.parts(target, left));
        }
    }

    /// How many partial files there are of it; of more than `enough` it is not told.
    fn parts(&self, target: &Target, enough: u32) -> io::Result<u32> {
        let dir = match self.store.parent_of(&target.path, false) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        PartFile::count(&dir, target.path.name(), target.part, self.store.claim().twins(), enough)
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        if self.store.options().limits.max_total.is_none() {
            return;
        }
        for (target, len) in std::mem::take(&mut self.open).into_values() {
            let key = FileKey::of(&self.store, &target, len);
            self.store.ledger().leave(key, |left| self.parts(&target, left));
        }
        for (target, len) in std::mem::take(&mut self.swept) {
            self.recount(&target, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use framing::{Entry, EntryKind};

    use super::*;
    use crate::store::{IfExists, Limits, PartId, StoreOptions};

    const LEN: u64 = 100;
    const MOST: u64 = 4 * LEN;

    fn store(dir: &tempfile::TempDir, limits: Limits) -> Store {
        let options = StoreOptions {
            dir: dir.path().to_owned(),
            prefix: "".into(),
            if_exists: IfExists::Rename,
            limits,
        };
        Store::open(options).unwrap()
    }

    fn limited_to(max_total: u64) -> Limits {
        Limits { max_total: Some(max_total), ..Limits::default() }
    }

    fn target(store: &Store, path: &[u8]) -> Target {
        let entry = Entry { kind: EntryKind::File { len: LEN }, mode: 0o644, mtime: 0, mtime_nanos: 0, path };
        Target { path: store.place_of(path).unwrap(), part: PartId::of(&entry) }
    }

    /// A transfer that holds a partial file of this target.
    fn transfer(store: &Store, target: &Target) -> (Booking, PartFile) {
        let store = store.for_transfer(None);
        let mut booking = Booking::new(&store);
        booking.book(0, target, LEN, 0).unwrap();
        let dir = store.parent_of(&target.path, true).unwrap();
        let part = PartFile::open(&dir, target.path.name(), target.part, LEN, store.claim()).unwrap();
        (booking, part)
    }

    fn is_full(store: &Store, other: &Target) -> bool {
        Booking::new(store).book(0, other, LEN, 0).is_err()
    }

    #[test]
    fn each_of_many_partial_files_of_the_same_file_stays_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, limited_to(MOST));
        let (file, other) = (target(&store, b"d/f"), target(&store, b"other"));
        let transfers: Vec<_> = (0..4).map(|_| transfer(&store, &file)).collect();
        assert!(is_full(&store, &other));
        for (number, (booking, part)) in transfers.into_iter().enumerate() {
            if number < 2 {
                part.remove().unwrap();
            }
            drop(part);
            drop(booking);
        }
        assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 2);
        {
            // Two are gone on with, none is made beside them, and so there is room for two others.
            let _again: Vec<_> = (0..2).map(|_| transfer(&store, &file)).collect();
            assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 2);
            let mut others = Booking::new(&store);
            others.book(0, &other, LEN, 0).unwrap();
            others.book(1, &target(&store, b"another"), LEN, 0).unwrap();
            assert!(is_full(&store, &target(&store, b"too much")));
        }
        let parent = store.parent_of(&file.path, false).unwrap();
        PartFile::remove_leftovers(&parent, file.path.name(), file.part, store.claim().twins());
        assert_eq!(fs::read_dir(dir.path().join("d")).unwrap().count(), 0, "all twins are swept");
    }

    #[test]
    fn every_directory_that_is_to_be_made_takes_room() {
        let block = room_for(0, 0);
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, Limits { min_free: Some(1), ..Limits::default() });
        let path = |path: &str| store.place_of(path.as_bytes()).unwrap();
        let with_room = |blocks| {
            let mut booking = Booking::new(&store);
            booking.spare = Some(blocks * block);
            booking
        };
        let deep = ["d"; 128].join("/");
        with_room(127).book_directory(&path(&deep)).unwrap_err();
        with_room(128).book_directory(&path(&deep)).unwrap();
        fs::create_dir_all(dir.path().join(&deep)).unwrap();
        with_room(0).book_directory(&path(&deep)).unwrap();
        let mut booking = with_room(7);
        // Of the seven there are for a, a/b, a/b/c, and a/b/e, then the file a/b/e/f, at last g and the file g/h.
        for known in ["a/b/c", "a/b", "a/b/e"] {
            booking.book_directory(&path(known)).unwrap();
        }
        booking.book(0, &target(&store, b"a/b/e/f"), LEN, 0).unwrap();
        booking.book_directory(&path("a/b/e")).unwrap();
        booking.book(1, &target(&store, b"g/i/h"), LEN, 0).unwrap_err();
        booking.book(1, &target(&store, b"g/h"), LEN, 0).unwrap();
        assert_eq!(booking.spare, Some(0));
    }

    #[test]
    fn what_cannot_be_seen_stays_counted_and_what_is_gone_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir, limited_to(LEN));
        let (file, other) = (target(&store, b"d/f"), target(&store, b"other"));
        let (booking, part) = transfer(&store, &file);
        drop(part);
        fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
        // Whoever looks below a file is told that it is no directory, even where nothing is forbidden.
        fs::write(dir.path().join("d"), b"").unwrap();
        // Nor does it help to remember the directory.
        booking.store.parent_of(&target(&store, b"x/y").path, true).unwrap();
        drop(booking);
        assert!(is_full(&store, &other));
        fs::remove_file(dir.path().join("d")).unwrap();
        let mut swept = Booking::new(&store);
        swept.was_there(&file, LEN);
        drop(swept);
        assert!(!is_full(&store, &other));
    }
}
