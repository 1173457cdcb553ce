//! Where fetched files go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use session::{IfExists, Limits, Store, StoreOptions};
use tempfile::TempDir;

use crate::escape;
use crate::exit::{self, Exit, Problem};
use crate::interrupt::Line;

/// Where fetched files go.
#[derive(Debug)]
pub(crate) struct Landing<'a> {
    /// The directory; it is created if missing.
    pub(crate) dir: &'a Path,
    /// What their names begin with.
    pub(crate) prefix: &'a str,
    /// What to do when a name is taken.
    pub(crate) if_exists: IfExists,
}

impl Landing<'_> {
    /// The store there.
    pub(super) fn store(&self) -> anyhow::Result<Store> {
        if self.dir != Path::new(".") {
            fs::create_dir_all(self.dir).map_err(|error| {
                let dir = escape::name(self.dir.as_os_str());
                let why = exit::plain_words(&error.to_string());
                Problem::new(Exit::LocalFile, format!("cannot create the directory {dir}: {why}"))
            })?;
        }
        open(self.dir, self.prefix, self.if_exists)
    }
}

/// A store for one file, which gets exactly this path.
pub(super) fn store_of_one(path: &Path, if_exists: IfExists) -> anyhow::Result<Store> {
    let shown = escape::name(path.as_os_str());
    let refuse = |why: &str| Problem::new(Exit::LocalFile, format!("cannot write {shown}: {why}"));
    if path.is_dir() {
        return Err(refuse("it is a directory").into());
    }
    let name = path.file_name().ok_or_else(|| refuse("it is not the name of a file"))?;
    let store = open(dir_of(path), "", if_exists)?;
    Ok(store.named(name).map_err(|error| refuse(&error.to_string()))?)
}

/// A store for what is not kept.
pub(super) fn passing_store(dir: &Path) -> anyhow::Result<Store> {
    open(dir, "", IfExists::Fail)
}

/// The directory that a path's file lies in.
fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}

fn open(dir: &Path, prefix: &str, if_exists: IfExists) -> anyhow::Result<Store> {
    Ok(Store::open(StoreOptions {
        dir: dir.to_owned(),
        prefix: prefix.into(),
        if_exists,
        limits: Limits::default(),
    })?)
}

/// What the names of temporary directories begin with.
const TEMPORARY: &str = "tandem-generate-";
/// A temporary directory that is older and that nobody holds was left by a program that was killed.
const LEFT_AFTER: Duration = Duration::from_secs(60);

/// A directory that is gone when this is, or when the program is interrupted. When it is killed, the next one removes it.
#[derive(Debug)]
pub(super) struct Temporary {
    dir: TempDir,
    line: Arc<Line>,
    /// Says that it is in use, as long as it is locked.
    _lock: File,
}

impl Temporary {
    pub(super) fn new(line: Arc<Line>) -> anyhow::Result<Self> {
        // What can't be removed is only left over.
        let _ = sweep(&std::env::temp_dir(), SystemTime::now());
        let made = tempfile::Builder::new().prefix(TEMPORARY).tempdir();
        let made = made.and_then(|dir| {
            let lock = File::open(dir.path())?;
            lock.try_lock()?;
            Ok((dir, lock))
        });
        let (dir, lock) = made.map_err(|error| {
            let why = exit::plain_words(&error.to_string());
            Problem::new(Exit::LocalFile, format!("cannot make a temporary directory: {why}"))
        })?;
        line.set_temporary(Some(PathBuf::from(dir.path())));
        Ok(Self { dir, line, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.line.set_temporary(None);
    }
}

/// Removes temporary directories that programs left which were killed.
fn sweep(parent: &Path, now: SystemTime) -> io::Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if is_ours && is_left(&entry.path(), now).unwrap_or(false) {
            // It may be somebody else's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn is_left(path: &Path, now: SystemTime) -> io::Result<bool> {
    let about = fs::symlink_metadata(path)?;
    // A young one may not be locked yet.
    if !about.is_dir() || now.duration_since(about.modified()?).is_ok_and(|age| age < LEFT_AFTER) {
        return Ok(false);
    }
    Ok(File::open(path)?.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_goes_with_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("generated-5.txt"), b"12345").unwrap();
            path
        };
        let [held, left, other] = ["tandem-generate-a", "tandem-generate-b", "tandem-else"].map(make);
        let lock = File::open(&held).unwrap();
        lock.try_lock().unwrap();
        let now = SystemTime::now();
        sweep(parent.path(), now).unwrap();
        assert!(held.exists() && left.exists() && other.exists(), "they are young");
        sweep(parent.path(), now + 2 * LEFT_AFTER).unwrap();
        assert!(held.exists() && !left.exists() && other.exists());
        drop(lock);
        sweep(parent.path(), now + 2 * LEFT_AFTER).unwrap();
        assert!(!held.exists() && other.exists());
    }

    #[test]
    fn a_file_gets_a_name_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert!(store_of_one(&dir.path().join("a.txt"), IfExists::Fail).is_ok());
        for path in
            [dir.path().to_owned(), dir.path().join(".."), dir.path().join("none/a"), dir.path().join("a\n")]
        {
            let error = store_of_one(&path, IfExists::Fail).unwrap_err();
            assert_eq!(Exit::of_error(&error), Exit::LocalFile, "{error}");
        }
        assert_eq!(dir_of(Path::new("a.txt")), Path::new("."));
        assert_eq!(dir_of(Path::new("/a.txt")), Path::new("/"));
    }

    #[test]
    fn what_is_temporary_goes() {
        let line = Arc::new(Line::default());
        let temporary = Temporary::new(line).unwrap();
        let path = temporary.path().to_owned();
        assert!(path.is_dir());
        drop(temporary);
        assert!(!path.exists());
    }
}
