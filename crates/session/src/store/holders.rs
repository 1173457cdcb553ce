//! Who writes to which partial file, so that a client that comes again need not wait for the session of one that is gone.
//!
//! A client whose power or cable failed says no goodbye: its session waits for it until the idle limit, and keeps its
//! partial file locked. When the same file is offered again meanwhile and the old session hears nothing, it is closed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use link::Closer;

/// How many partial files of the same file are looked for though no session here made so many: what was left before.
const LEFTOVERS: u32 = 2;
/// How long a session must have heard nothing to make way for another one.
const SILENCE: Duration = Duration::from_secs(2);
/// How long to wait for a lock whose holder is not known (it is in another process, or just about to let go), and to see
/// whether a known one is alive.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// How long to wait for a holder that is busy with its disk.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// How long to wait for a holder to fall silent and to let go.
const LONG_WAIT: Duration = Duration::from_secs(6);

/// A session that holds partial files.
#[derive(Debug)]
pub struct Holder {
    /// When it last heard from its peer; `None` while it is busy with something else than waiting for it.
    heard: Mutex<Option<Instant>>,
    closer: Closer,
}

impl Holder {
    /// A session whose link `closer` closes.
    #[must_use]
    pub fn new(closer: Closer) -> Self {
        Self { heard: Mutex::new(None), closer }
    }

    /// Takes note that the session has heard from its peer, and waits for more.
    pub fn wait(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Takes note that it is the session itself that is busy.
    pub fn work(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn heard(&self) -> Option<Instant> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file, whatever its name.
type Identity = (u64, u64);

/// The sessions that hold partial files. Cheap to clone; all clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Holders(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    by_file: HashMap<Identity, Arc<Holder>>,
    /// The highest number of a twin that a partial file was ever to have.
    highest_twin: u32,
}

impl Holders {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of twins that a partial file of these sessions may have, or one that was left before them.
    pub(super) fn twins(&self) -> Range<u32> {
        0..LEFTOVERS.max(self.table().highest_twin + 1)
    }
}

/// A session's right to hold partial files.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    holders: Holders,
    holder: Option<Arc<Holder>>,
}

impl Claim {
    /// The claim of this session.
    #[must_use]
    pub const fn new(holders: Holders, holder: Option<Arc<Holder>>) -> Self {
        Self { holders, holder }
    }

    /// The numbers of twins that there may be of any partial file.
    pub(crate) fn twins(&self) -> Range<u32> {
        self.holders.twins()
    }

    /// Takes note that a partial file is to have this number among its twins.
    pub(super) fn note_twin(&self, twin: u32) {
        let mut table = self.holders.table();
        table.highest_twin = table.highest_twin.max(twin);
    }

    /// Takes note that the session holds a file, until the result is dropped.
    pub(super) fn hold(&self, file: &File) -> io::Result<Hold> {
        let identity = identity(file)?;
        if let Some(holder) = &self.holder {
            self.holders.table().by_file.insert(identity, Arc::clone(holder));
        }
        Ok(Hold { holders: self.holders.clone(), identity })
    }

    /// Starts waiting for somebody else's lock on a file.
    pub(super) fn wait(&self, file: &File) -> io::Result<Wait<'_>> {
        Ok(Wait { claim: self, identity: identity(file)?, began: Instant::now() })
    }
}

fn identity(file: &File) -> io::Result<Identity> {
    file.metadata().map(|about| (about.dev(), about.ino()))
}

/// A file that a session holds.
#[derive(Debug)]
pub(super) struct Hold {
    holders: Holders,
    identity: Identity,
}

impl Hold {
    /// The numbers of twins that there may be of the file.
    pub(super) fn twins(&self) -> Range<u32> {
        self.holders.twins()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.holders.table().by_file.remove(&self.identity);
    }
}

/// Waiting for somebody else's lock.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    claim: &'a Claim,
    identity: Identity,
    began: Instant,
}

impl Wait<'_> {
    /// Whether it is worth to look at the lock again. Closes the holder's link when it has been silent for long.
    pub(super) fn is_worthwhile(&self) -> bool {
        let holder = self.claim.holders.table().by_file.get(&self.identity).cloned();
        let Some(holder) = holder else { return self.began.elapsed() < SHORT_WAIT };
        // One that is busy may be about to let go: its client may be gone since, and its file about to be complete.
        let Some(heard) = holder.heard() else { return self.began.elapsed() < BUSY_WAIT };
        // What was under way when its client died may still come; what comes later comes from one that is alive.
        if heard.saturating_duration_since(self.began) > SHORT_WAIT {
            return false;
        }
        if heard.elapsed() > SILENCE {
            holder.closer.close();
        }
        self.began.elapsed() < LONG_WAIT
    }
}
