//! The manifest: what a transfer is made of, and the chunk numbers of it all.

use std::ops::Range;

use crate::{CHUNK_LEN, chunks_in};

/// The most files and directories in one transfer.
pub const MAX_ENTRIES: u64 = 1 << 20;
/// The most bytes of all paths of one transfer.
pub const MAX_NAMES_LEN: usize = 64 << 20;
/// The most bytes of one path.
pub const MAX_PATH_LEN: usize = 4096;
/// The most bytes of one file: 256 TiB.
pub const MAX_FILE_LEN: u64 = 1 << 48;

/// What an entry of a manifest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file of so many bytes.
    File {
        /// Bytes of the file.
        len: u64,
    },
    /// A directory.
    Directory,
}

/// One file or directory of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// File or directory.
    pub kind: EntryKind,
    /// Permission bits, 0 to 0o777.
    pub mode: u16,
    /// Time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// The rest of that time, in nanoseconds.
    pub mtime_nanos: u32,
    /// Relative path with `/` between its parts, as bytes of the sender's system: not to be trusted.
    pub path: &'a [u8],
}

impl Entry<'_> {
    /// Bytes of the file; a directory has none.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self.kind {
            EntryKind::File { len } => len,
            EntryKind::Directory => 0,
        }
    }

    /// Whether it holds no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why an entry does not fit into a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More entries than [`MAX_ENTRIES`].
    #[error("more than {MAX_ENTRIES} files and directories in one transfer")]
    TooManyEntries,
    /// More bytes of paths than [`MAX_NAMES_LEN`].
    #[error("more than {MAX_NAMES_LEN} bytes of file names in one transfer")]
    TooManyNames,
    /// A path that is empty or longer than [`MAX_PATH_LEN`].
    #[error("a path of {0} bytes; 1 to {MAX_PATH_LEN} are possible")]
    PathLength(usize),
    /// A file longer than [`MAX_FILE_LEN`].
    #[error("a file of {0} bytes, more than the limit of {MAX_FILE_LEN}")]
    FileTooLong(u64),
    /// More bytes in all than chunk numbers are kept for.
    #[error("more than {} bytes in one transfer", u64::MAX / 2)]
    TransferTooLong,
}

#[derive(Debug, Clone)]
struct Slot {
    kind: EntryKind,
    first_chunk: u64,
    mtime: i64,
    mtime_nanos: u32,
    path_start: u32,
    path_len: u16,
    mode: u16,
}

/// A list of files and directories, with one chunk number space over all of them; each file starts at a fresh chunk.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    slots: Vec<Slot>,
    paths: Vec<u8>,
    chunks: u64,
    bytes: u64,
}

impl Manifest {
    /// An empty manifest.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: Vec::new(), paths: Vec::new(), chunks: 0, bytes: 0 }
    }

    /// Adds an entry and gives its index.
    pub fn push(&mut self, entry: Entry<'_>) -> Result<u32, ManifestError> {
        let index = self.slots.len();
        if index as u64 >= MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries);
        }
        if entry.path.is_empty() || entry.path.len() > MAX_PATH_LEN {
            return Err(ManifestError::PathLength(entry.path.len()));
        }
        if self.paths.len() + entry.path.len() > MAX_NAMES_LEN {
            return Err(ManifestError::TooManyNames);
        }
        if entry.len() > MAX_FILE_LEN {
            return Err(ManifestError::FileTooLong(entry.len()));
        }
        let bytes = self.bytes + entry.len();
        if bytes > u64::MAX / 2 {
            return Err(ManifestError::TransferTooLong);
        }
        self.slots.push(Slot {
            kind: entry.kind,
            first_chunk: self.chunks,
            mtime: entry.mtime,
            mtime_nanos: entry.mtime_nanos,
            path_start: self.paths.len() as u32,
            path_len: entry.path.len() as u16,
            mode: entry.mode,
        });
        self.paths.extend_from_slice(entry.path);
        self.chunks += chunks_in(entry.len());
        self.bytes = bytes;
        Ok(index as u32)
    }

    /// How many files and directories it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of all files.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Chunks of all files.
    #[must_use]
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// The entry with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<Entry<'_>> {
        self.slots.get(index as usize).map(|slot| self.entry(slot))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Entry<'_>)> {
        self.slots.iter().zip(0..).map(|(slot, index)| (index, self.entry(slot)))
    }

    /// The numbers of a file's chunks; an empty range for a directory or an empty file.
    #[must_use]
    pub fn chunks_of(&self, index: u32) -> Range<u64> {
        match self.slots.get(index as usize) {
            Some(slot) => slot.first_chunk..slot.first_chunk + chunks_in(self.entry(slot).len()),
            None => 0..0,
        }
    }

    /// The file that a chunk belongs to: `None` for a number outside the manifest.
    #[must_use]
    pub fn file_of(&self, chunk: u64) -> Option<u32> {
        if chunk >= self.chunks {
            return None;
        }
        // Entries without chunks share their first number with the next one, so the last that starts here is it.
        let after = self.slots.partition_point(|slot| slot.first_chunk <= chunk);
        after.checked_sub(1).map(|index| index as u32)
    }

    /// Bytes of a chunk: [`CHUNK_LEN`], less for the last one of a file, 0 outside the manifest.
    #[must_use]
    pub fn chunk_len(&self, chunk: u64) -> usize {
        let Some(slot) = self.file_of(chunk).and_then(|index| self.slots.get(index as usize)) else {
            return 0;
        };
        let offset = (chunk - slot.first_chunk) * CHUNK_LEN as u64;
        (self.entry(slot).len() - offset).min(CHUNK_LEN as u64) as usize
    }

    fn entry<'a>(&'a self, slot: &Slot) -> Entry<'a> {
        let start = slot.path_start as usize;
        Entry {
            kind: slot.kind,
            mode: slot.mode,
            mtime: slot.mtime,
            mtime_nanos: slot.mtime_nanos,
            path: &self.paths[start..start + usize::from(slot.path_len)],
        }
    }
}
