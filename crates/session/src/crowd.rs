//! How many files all transfers of a server together are about: what is known of each takes memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use framing::MAX_ENTRIES;

/// Files and directories that a transfer may be about however many others are about.
const FREE: u64 = 4096;

/// Too many files are on their way at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many files are on their way here at the same time")]
pub struct Crowded;

/// The transfers of a server. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd(Arc<AtomicU64>);

impl Crowd {
    /// A transfer more.
    pub(crate) fn join(&self) -> Share {
        Share { crowd: self.clone(), own: 0, counted: 0 }
    }
}

/// What one transfer is about, until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    crowd: Crowd,
    own: u64,
    /// How many of them count with those of others.
    counted: u64,
}

impl Share {
    /// Takes so many files or directories more.
    pub(crate) fn add(&mut self, entries: u64) -> Result<(), Crowded> {
        self.own += entries;
        let more = self.own.saturating_sub(FREE) - self.counted;
        self.counted += more;
        let before = self.crowd.0.fetch_add(more, Ordering::Relaxed);
        if more > 0 && before + more > MAX_ENTRIES { Err(Crowded) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.crowd.0.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_files_always_find_room() {
        let crowd = Crowd::default();
        let mut big = crowd.join();
        assert_eq!(big.add(MAX_ENTRIES), Ok(()));
        let mut other = crowd.join();
        assert_eq!((other.add(FREE), other.add(FREE)), (Ok(()), Ok(())));
        assert_eq!(other.add(1), Err(Crowded));
        drop(big);
        let mut third = crowd.join();
        assert_eq!(third.add(MAX_ENTRIES - 1), Ok(()));
        drop((other, third));
        assert_eq!(crowd.0.load(Ordering::Relaxed), 0);
    }
}
