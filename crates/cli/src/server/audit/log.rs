//! The file that the audit is written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use serde_json::Value;

/// A file that only grows, by one object a line.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Whether the last line was cut off, so that the next one needs a line of its own.
    is_cut: bool,
    /// Lines that could not be written since the last one that could.
    lost: u64,
}

/// What became of a line.
#[derive(Debug)]
pub(super) enum Written {
    /// It is there.
    Well,
    /// It is there, and so many before it are not.
    After(u64),
    /// It could not be written, as the one before it could.
    Failed(io::Error),
    /// It could not be written either.
    FailedAgain,
}

impl Log {
    /// Opens the file, or makes it, for the owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let state = Mutex::new(State { file: open(path)?, is_cut: false, lost: 0 });
        Ok(Self { path: path.to_owned(), state })
    }

    /// Appends an object, in one write, so that what several processes append does not mix. Where lines are missing before it,
    /// `gap` makes one of how many.
    pub(super) fn append(&self, object: &Value, gap: impl FnOnce(u64) -> Value) -> Written {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = state.lost;
        let filled = if lost == 0 { Ok(()) } else { state.append(&self.path, &gap(lost)) };
        if filled.is_ok() {
            state.lost = 0;
        }
        match filled.and_then(|()| state.append(&self.path, object)) {
            Ok(()) if lost == 0 => Written::Well,
            Ok(()) => Written::After(lost),
            Err(error) => {
                state.lost += 1;
                if state.lost == 1 { Written::Failed(error) } else { Written::FailedAgain }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl State {
    fn append(&mut self, path: &Path, object: &Value) -> io::Result<()> {
        // Whoever rotates logs moves the old one away.
        let there = fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        let here = self.file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
        if there != here {
            self.file = open(path)?;
            self.is_cut = false;
        }
        let start = if self.is_cut { "\n" } else { "" };
        let bytes = format!("{start}{object}\n").into_bytes();
        loop {
            match self.file.write(&bytes) {
                Ok(written) if written == bytes.len() => {
                    self.is_cut = false;
                    return Ok(());
                }
                Ok(written) => {
                    self.is_cut |= written > 0;
                    // The system says why only to who tries again.
                    return Err(rustix::io::Errno::NOSPC.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::thread;

    use serde_json::json;

    use super::*;

    #[test]
    fn it_only_grows_and_only_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for number in 0..2 {
            let log = Log::open(&path).unwrap();
            assert!(matches!(log.append(&json!({ "number": number }), Value::from), Written::Well));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"number\":0}\n{\"number\":1}\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_and_pipes_are_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("link")).unwrap();
        assert!(Log::open(&dir.path().join("link")).is_err());
        assert!(!dir.path().join("target").exists());
        assert!(Log::open(dir.path()).is_err());
        assert!(Log::open(Path::new("/dev/null")).unwrap_err().to_string().contains("regular"));
        assert!(Log::open(&dir.path().join("no/log")).is_err());
    }

    #[test]
    fn it_goes_on_after_it_was_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let log = Log::open(&path).unwrap();
        log.append(&json!(1), Value::from);
        fs::rename(&path, &old).unwrap();
        log.append(&json!(2), Value::from);
        assert_eq!(
            (fs::read_to_string(&old).unwrap(), fs::read_to_string(&path).unwrap()),
            ("1\n".into(), "2\n".into())
        );
        // Copied and emptied, as logrotate does with copytruncate.
        File::options().write(true).truncate(true).open(&path).unwrap();
        log.append(&json!(3), Value::from);
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        fs::remove_file(&path).unwrap();
        log.append(&json!(4), Value::from);
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
    }

    #[test]
    fn what_is_lost_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(log.append(&json!(1), Value::from), Written::Failed(_)));
        assert!(matches!(log.append(&json!(2), Value::from), Written::FailedAgain));
        fs::remove_dir(&path).unwrap();
        assert!(matches!(log.append(&json!(3), Value::from), Written::After(2)));
        assert!(matches!(log.append(&json!(4), Value::from), Written::Well));
        // How many are missing stands where they are missing.
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n3\n4\n");
    }

    #[test]
    fn lines_of_threads_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let logs: Vec<_> = (0..2).map(|_| Arc::new(Log::open(&path).unwrap())).collect();
        thread::scope(|scope| {
            for thread in 0..8 {
                let log = logs[thread % 2].clone();
                scope.spawn(move || {
                    for _ in 0..200 {
                        log.append(&json!({ "text": thread.to_string().repeat(500) }), Value::from);
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1600);
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    }
}
