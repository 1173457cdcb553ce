//! How many partial files are open at a time.

use std::sync::LazyLock;

use framing::Manifest;
use link::{IDLE_LIMIT, LinkError};
use rustix::process::{Resource, getrlimit};

use super::Receiving;
use super::state::{Active, Phase};
use crate::intake::{Destination, Intake};

/// How many transfers that each have all the files open that they may shall find room in a process.
const SHARES: u64 = 128;

/// Partial files that may be open at a time in one transfer before some are closed. For moments there are up to four times as
/// many.
pub(super) fn max_open() -> usize {
    static MAX_OPEN: LazyLock<usize> = LazyLock::new(|| {
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        (most / SHARES).clamp(16, 1024) as usize
    });
    *MAX_OPEN
}

impl Receiving<'_> {
    /// Waits until fewer files are open: those that are complete are being hashed and flushed.
    pub(super) fn wait_for_open(&mut self) -> Result<(), LinkError> {
        while self.open_parts >= 4 * max_open() {
            match self.intake.wait(IDLE_LIMIT) {
                Some(happened) => self.take_in(happened),
                None => return Err(LinkError::Damaged("too many files are unfinished at the same time")),
            }
        }
        Ok(())
    }

    /// Closes an unfinished file until more of it comes, because too many are open. Where much is lost on the way, thousands of
    /// small files may each wait for a piece.
    pub(super) fn close_unfinished(&mut self, newest: u32) {
        // The one that was begun last before the newest: what it waits for will take longest to be sent again.
        let before = self.unfinished.range(..newest).next_back();
        let Some(&file) = before.or_else(|| self.unfinished.range(newest + 1..).next()) else { return };
        self.unfinished.remove(&file);
        if let Some(active) = self.active.get_mut(&file)
            && let Phase::Filling { left, open: true } = active.phase
        {
            active.phase = Phase::Filling { left, open: false };
            active.was_closed = true;
            self.open_parts -= 1;
            self.intake.drop_file(file, false);
        }
    }

    /// Begins with a file of which nothing has to come once its digest is known, so that not all of them are open at the
    /// same time.
    pub(super) fn begin_if_complete(&mut self, file: u32) {
        if self.is_open_end() {
            return;
        }
        let Some(active) = self.active.get_mut(&file).filter(|active| active.there.is_some()) else { return };
        if let Phase::Filling { left: 0, open: false } = active.phase {
            if self.begun.len() >= max_open() {
                self.waiting.push_back(file);
                return;
            }
            self.begun.insert(file);
            self.open_parts += 1;
            active.phase = Phase::Hashing;
            open_file(&self.intake, &self.manifest, file, active, self.plain);
            self.intake.complete(file);
        }
    }

    /// Begins with files that are not open, as many as may be.
    pub(super) fn begin_waiting(&mut self) {
        while self.begun.len() < max_open()
            && let Some(file) = self.waiting.pop_front()
        {
            self.begin_if_complete(file);
        }
    }
}

pub(super) fn open_file(intake: &Intake, manifest: &Manifest, file: u32, active: &mut Active, plain: bool) {
    let begun = std::mem::replace(&mut active.begun, true);
    intake.open(
        file,
        Destination {
            target: active.target.clone(),
            len: manifest.get(file).map_or(0, |entry| entry.len()),
            part: active.part.take(),
            held: active.held.clone(),
            hashed_last: active.was_closed,
            anew: plain && !begun,
        },
    );
}
