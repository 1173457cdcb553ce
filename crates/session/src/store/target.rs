//! What to do with a file that is offered.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::MetadataExt;
use framing::{Entry, EntryKind};

use super::name::numbered;
use super::{IfExists, LimitError, PartFile, PartId, SafePath, Store};

/// How many files with a number in their name are looked at to find the same content.
const MAX_LOOKALIKES: u32 = 16;

/// Where a file is to go.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its path below the store's directory.
    pub path: SafePath,
    /// What its partial file is known by.
    pub part: PartId,
}

/// What to do with something that is offered.
#[derive(Debug)]
pub enum Plan {
    /// Take it.
    Take {
        /// Where it goes.
        target: Target,
        /// What came of it earlier, if that was looked for.
        part: Option<Arc<PartFile>>,
        /// Files that are there and may hold some or all of its chunks.
        lookalikes: Vec<PathBuf>,
    },
    /// Make the directory.
    Directory(SafePath),
    /// Keep what is there.
    Keep(PathBuf),
    /// Refuse it, and why.
    Refuse(String),
}

impl Store {
    /// Decides about an entry, before anything is written. `find_part` says whether to look for its partial file, and to
    /// hold it open.
    #[must_use]
    pub fn plan(&self, entry: &Entry<'_>, find_part: bool) -> Plan {
        let path = match self.place_for(entry) {
            Ok(path) => path,
            Err(error) => return Plan::Refuse(error.to_string()),
        };
        match entry.kind {
            EntryKind::Directory => match self.dir.metadata(path.as_path()) {
                Ok(there) if !there.is_dir() => Plan::Refuse("a file of that name is in the way".to_owned()),
                _ => Plan::Directory(path),
            },
            EntryKind::File { len } => match self.options.limits.max_file_len {
                Some(most) if len > most => Plan::Refuse(LimitError::FileLen { len, most }.to_string()),
                _ => self.plan_file(entry, path, find_part),
            },
        }
    }

    fn plan_file(&self, entry: &Entry<'_>, path: SafePath, find_part: bool) -> Plan {
        let target = Target { part: PartId::of(entry), path };
        let dir = match self.parent_of(&target.path, false) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Plan::Take { target, part: None, lookalikes: Vec::new() };
            }
            Err(error) => return Plan::Refuse(format!("its directory cannot be used: {error}")),
        };
        // First the partial file, then its final name: another session that has just completed it, for a client that was
        // lost meanwhile, gives it that name before it lets go of it.
        //
        // One that can't be opened is left alone: then the file is written to a new one, or fails there.
        let part = if find_part {
            PartFile::find(&dir, target.path.name(), target.part, entry.len(), self.claim())
                .ok()
                .flatten()
                .map(Arc::new)
        } else {
            None
        };
        if self.is_hiding() {
            return Plan::Take { target, part, lookalikes: Vec::new() };
        }
        let there = match dir.symlink_metadata(target.path.name()) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Plan::Take { target, part, lookalikes: Vec::new() };
            }
            Err(error) => return Plan::Refuse(format!("its name cannot be used: {error}")),
        };
        let there_is_newer =
            (there.mtime(), there.mtime_nsec()) > (entry.mtime, i64::from(entry.mtime_nanos));
        match self.options.if_exists {
            IfExists::Skip => return Plan::Keep(target.path.as_path().to_owned()),
            IfExists::Update if there_is_newer => return Plan::Keep(target.path.as_path().to_owned()),
            IfExists::Overwrite | IfExists::Update if !there.is_file() && !there.is_symlink() => {
                return Plan::Refuse("something that is no file has its name".to_owned());
            }
            _ => {}
        }
        let any_length = self.options.if_exists == IfExists::Update;
        let lookalike = |name: &OsStr| {
            let about = dir.symlink_metadata(name).ok()?;
            (about.is_file() && (any_length || about.len() == entry.len()))
                .then(|| target.path.with_name(name))
        };
        let mut lookalikes: Vec<PathBuf> = lookalike(target.path.name()).into_iter().collect();
        if self.options.if_exists == IfExists::Rename {
            let numbers = (1..=MAX_LOOKALIKES).map(|number| numbered(target.path.name(), number));
            let taken = numbers.take_while(|name| dir.symlink_metadata(name).is_ok());
            lookalikes.extend(taken.filter_map(|name| lookalike(&name)));
        }
        if self.options.if_exists == IfExists::Fail && lookalikes.is_empty() {
            return Plan::Refuse("a file of its name is there already".to_owned());
        }
        Plan::Take { target, part, lookalikes }
    }
}
