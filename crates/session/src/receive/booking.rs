//! What a transfer has been promised of the store's limits.

use std::collections::BTreeMap;

use crate::store::{FileKey, LimitError, PartFile, SafePath, Store, Target, room_for};

/// The promises to one transfer. What became neither a file nor a partial file is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Booking {
    store: Store,
    /// Bytes that may be taken of the disk and are not promised yet; `None` where nobody cares.
    spare: Option<u64>,
    /// Files that were promised and are not stored.
    open: BTreeMap<u32, (Target, u64)>,
    /// Files that are not taken, and of which partial files may have been removed.
    swept: Vec<(Target, u64)>,
}

impl Booking {
    pub(super) fn new(store: &Store) -> Self {
        Self { store: store.clone(), spare: store.spare_room(), open: BTreeMap::new(), swept: Vec::new() }
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
        let room = room_for(len, on_disk);
        self.check_spare(room)?;
        if let Some(most) = limits.max_total {
            self.store.ledger().begin(FileKey::of(&self.store, target, len), most)?;
        }
        self.promise(room);
        self.open.insert(file, (target.clone(), len));
        Ok(())
    }

    /// Promises to make a directory, if it is not there.
    pub(super) fn book_directory(&mut self, path: &SafePath) -> Result<(), LimitError> {
        if self.spare.is_none() || self.store.is_taken(path) {
            return Ok(());
        }
        let room = room_for(0, 0);
        self.check_spare(room)?;
        self.promise(room);
        Ok(())
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
            self.store.ledger().recount(key, || self.parts(target));
        }
    }

    /// How many partial files there are of it.
    fn parts(&self, target: &Target) -> u32 {
        let dir = self.store.parent_of(&target.path, false);
        dir.map_or(0, |dir| PartFile::count(&dir, target.path.name(), target.part))
    }
}

impl Drop for Booking {
    fn drop(&mut self) {
        if self.store.options().limits.max_total.is_none() {
            return;
        }
        for (target, len) in std::mem::take(&mut self.open).into_values() {
            let parts = self.parts(&target);
            self.store.ledger().leave(FileKey::of(&self.store, &target, len), parts);
        }
        for (target, len) in std::mem::take(&mut self.swept) {
            self.recount(&target, len);
        }
    }
}
