//! Verdicts: who is told of them, and what.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use framing::{Message, PageBuilder, Stored, Verdict};
use link::LinkError;

use super::Receiving;
use super::state::Phase;
use crate::events::{Event, Faults, FileReport, Outcome, Side};

/// Verdicts that the sender has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    full: Vec<PageBuilder>,
    last: PageBuilder,
}

impl Verdicts {
    fn push(&mut self, stored: &Stored<'_>) {
        if self.last.is_full() {
            self.full.push(std::mem::take(&mut self.last));
        }
        self.last.push(stored);
    }
}

impl Receiving<'_> {
    /// Gives the verdict on an entry.
    pub(super) fn judge(&mut self, index: u32, verdict: Verdict<'_>, name: &OsStr) {
        let there = |here| self.active.get(&index).and_then(|active| active.there).unwrap_or(here);
        let faults = self.faults_of(index).unwrap_or_default();
        let outcome = match verdict {
            Verdict::Damaged(here) => Outcome::Damaged { here, there: there(here), report: &faults },
            Verdict::Stored(digest) => Outcome::Verified(digest),
            Verdict::AlreadyThere(digest) => Outcome::AlreadyThere(digest),
            Verdict::Directory => Outcome::Directory,
            Verdict::Kept => Outcome::Kept,
            Verdict::Differs(here) => Outcome::Differs { here, there: there(here) },
            Verdict::NotSent => Outcome::Changed,
            Verdict::Refused(why) => Outcome::Refused(why),
        };
        self.judge_as(index, verdict, name, outcome);
    }

    /// What became of a file's chunks in a plain transfer.
    fn faults_of(&self, file: u32) -> Option<Faults> {
        self.faults.as_ref().map(|faults| faults.of_file(self.manifest.chunks_of(file)))
    }

    /// Gives the verdict on an entry that this side would store and can't.
    pub(super) fn judge_failed(&mut self, index: u32, why: &str) {
        self.judge_as(index, Verdict::Refused(why), OsStr::new(""), Outcome::Failed(why));
    }

    pub(super) fn judge_as(&mut self, index: u32, verdict: Verdict<'_>, name: &OsStr, outcome: Outcome<'_>) {
        self.verifying.remove(&index);
        self.begun.remove(&index);
        if matches!(verdict, Verdict::Stored(_) | Verdict::Damaged(_)) {
            self.booking.stored(index);
        }
        let active = self.active.remove(&index);
        if let Some(active) = &active {
            let opened = !matches!(active.phase, Phase::Filling { open: false, .. } | Phase::Verifying(_));
            self.open_parts = self.open_parts.saturating_sub(usize::from(opened));
            self.unfinished.remove(&index);
        }
        let Some(entry) = self.manifest.get(index) else { return };
        let is_damaged = matches!(verdict, Verdict::Damaged(_));
        let told = OsString::from_vec(self.store.name_to_tell(entry.path, name, is_damaged));
        let told = self.store.path_in_whole(&told);
        self.verdicts.push(&Stored { index, verdict, name: told.as_bytes() });
        let name = &*self.store.path_in_whole(name);
        let (now, held) = active.map_or((None, 0), |active| (active.moved, active.held_bytes));
        let account = self.history.settle(entry.path, now, held, self.began);
        let faults = if outcome.has_faults() { self.faults_of(index) } else { None };
        let report = FileReport {
            side: Side::Receiver,
            path: OsStr::from_bytes(entry.path),
            name,
            len: entry.len(),
            moved: account.moved,
            held: account.held,
            elapsed: account.elapsed,
            outcome,
            faults: faults.as_ref(),
        };
        self.summary.count(&report);
        self.caller.observer.event(&Event::File(&report));
    }

    /// Says again that an entry needs nothing more, one that had its verdict on an earlier connection.
    pub(super) fn repeat_verdict(&mut self, index: u32) {
        self.verdicts.push(&Stored { index, verdict: Verdict::Kept, name: b"" });
    }

    /// Tells the sender the verdicts that are known by now.
    pub(super) fn tell(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        for page in self.verdicts.full.drain(..) {
            send(&Message::Stored(page.page()))?;
        }
        if !self.verdicts.last.is_empty() {
            send(&Message::Stored(self.verdicts.last.page()))?;
            self.verdicts.last.clear();
        }
        Ok(())
    }
}
