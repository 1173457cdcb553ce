//! How far a transfer has come, seen from outside.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use lab::process::LIMIT;
use rustix::fs::{SeekFrom, seek};

/// Bytes of a partial file that something was written to; the room that is only set aside does not count.
///
/// `None` when there is no such file (any more).
pub(crate) fn written(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    let mut written = 0;
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        written += at - start;
    }
    Some(written)
}

/// Looks again and again until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
