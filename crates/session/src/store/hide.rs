//! What a store does so that who sends to it does not learn what it has: see [`IfExists::Hide`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use framing::{Entry, EntryKind};

use super::name::{numbered, tagged};
use super::{IfExists, NameError, SafePath, Store};

/// How many numbers are tried to find a directory's name that no file has.
const MAX_NUMBER: u32 = 1000;
/// So much of what a partial file holds must be known to who wants to go on with it: 7 chunks of 8.
const MOST: (u64, u64) = (7, 8);

impl Store {
    /// Whether nobody learns what is there.
    pub(crate) fn is_hiding(&self) -> bool {
        self.options().if_exists == IfExists::Hide
    }

    /// Where an entry is kept, below the directory.
    pub(super) fn place_for(&self, entry: &Entry<'_>) -> Result<SafePath, NameError> {
        let path = self.place_of(entry.path)?;
        Ok(if self.is_hiding() { self.around_files(&path, entry.kind == EntryKind::Directory) } else { path })
    }

    /// The name that the sender is told: of the true one, which tells what is there, only as much as it knows already.
    pub(crate) fn name_to_tell(&self, offered: &[u8], name: &OsStr, is_damaged: bool) -> Vec<u8> {
        if !self.is_hiding() || name.is_empty() {
            return name.as_bytes().to_vec();
        }
        let Ok(path) = self.place_of(offered) else { return Vec::new() };
        let told =
            if is_damaged { path.with_name(&tagged(path.name(), ".damaged")) } else { path.as_path().into() };
        told.into_os_string().into_encoded_bytes()
    }

    /// The same path, with a number in the name of each directory that something else has the name of.
    fn around_files(&self, path: &SafePath, is_directory: bool) -> SafePath {
        let mut around = PathBuf::new();
        let mut parts = path.as_path().iter().peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() || is_directory {
                let numbers = (1..=MAX_NUMBER).map(|number| numbered(part, number));
                let mut names = std::iter::once(part.to_owned()).chain(numbers);
                let name = names.find(|name| self.can_be_directory(&around.join(name)));
                around.push(name.unwrap_or_else(|| part.to_owned()));
            } else {
                around.push(part);
            }
        }
        SafePath::parse(around.as_os_str().as_bytes()).unwrap_or_else(|_| path.clone())
    }

    /// Whether this is a directory, or nothing yet.
    fn can_be_directory(&self, path: &std::path::Path) -> bool {
        match self.dir().metadata(path) {
            Ok(there) => there.is_dir(),
            Err(_) => self.dir().symlink_metadata(path).is_err(),
        }
    }
}

/// Whether who knows so many chunks of a partial file, and is wrong about so many others, may learn which ones they are.
pub(crate) const fn knows_enough(known: u64, wrong: u64) -> bool {
    known.saturating_mul(MOST.1) >= known.saturating_add(wrong).saturating_mul(MOST.0)
}
