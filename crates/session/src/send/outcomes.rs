//! From the last chunk of a file to the receiver's verdict on it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use framing::{
    ChunkSet, Decision, Digest, EntryKind, Message, Page, PageBuilder, Sent, SentOutcome, Stored, Verdict,
};
use link::LinkError;

use super::{Ending, Sending};
use crate::events::{Event, FileReport, Outcome, Side};
use crate::hello::misbehaved;
use crate::sets::held_of;

/// Files that the follower may have open at a time.
const MAX_FOLLOWED: usize = 32;

impl Sending<'_> {
    /// Counts the files whose outcome is to be told, and the bytes of them that the receiver has already.
    pub(super) fn count_files(&mut self, wanted: &ChunkSet) -> u64 {
        let mut all_held = 0;
        for (index, entry) in self.manifest.iter() {
            let held = match self.decisions.get(index as usize) {
                _ if entry.kind == EntryKind::Directory || self.is_judged(index) => continue,
                Some(Decision::Take) => held_of(&self.manifest, index, wanted, &self.holes),
                Some(Decision::Verify) => entry.len(),
                _ => continue,
            };
            self.outstanding += 1;
            if held > 0 {
                self.held.insert(index, held);
                all_held += held;
            }
        }
        all_held
    }

    /// Has more files hashed that don't cross the link from end to end.
    pub(super) fn follow_more(&mut self) {
        while self.round == 0
            && self.followed.len() < MAX_FOLLOWED
            && self.next_followed < self.manifest.len()
        {
            let file = self.next_followed;
            self.next_followed += 1;
            let Some(entry) = self.manifest.get(file) else { break };
            let decision = self.decisions.get(file as usize);
            let needed = matches!(decision, Some(Decision::Take | Decision::Verify));
            if entry.kind == EntryKind::Directory || !needed {
                continue;
            }
            let len = entry.len();
            let chunks = self.manifest.chunks_of(file);
            if decision == Some(&Decision::Take) && !chunks.is_empty() && self.is_streamed(file) {
                continue;
            }
            let item = self.items.get(file as usize).copied().unwrap_or_default();
            match self.sources.open(item) {
                Ok(source) if source.changed => self.untold.push((file, Ending::Changed)),
                Ok(source) => {
                    let all = ChunkSet::from(0..chunks.end - chunks.start);
                    self.hashing.follow(file, source.content.clone(), len, all, self.how.checksum);
                    self.followed.insert(file);
                    self.reading.insert(file, source);
                }
                Err(error) => self.untold.push((file, Ending::Unreadable(error.to_string()))),
            }
        }
    }

    pub(super) fn take_digest(&mut self, file: u32, digest: io::Result<Digest>) {
        self.followed.remove(&file);
        let Some(source) = self.reading.remove(&file) else { return };
        let ending = match digest {
            Ok(digest) if source.is_unchanged() => Ending::Digest(digest),
            Ok(_) => Ending::Changed,
            Err(error) => Ending::of(&error),
        };
        self.untold.push((file, ending));
    }

    /// Tells the receiver the outcomes that are known by now.
    pub(super) fn tell(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let mut page = PageBuilder::default();
        for (file, ending) in std::mem::take(&mut self.untold) {
            // A digest is told once; that a file has changed, or can't be read any more, may come after it.
            let told_before = self.told.contains_key(&file);
            if self.is_judged(file) || told_before && matches!(ending, Ending::Digest(_)) {
                continue;
            }
            let outcome = match &ending {
                Ending::Digest(digest) => SentOutcome::Digest(*digest),
                Ending::Changed => SentOutcome::Changed,
                Ending::Unreadable(why) => SentOutcome::Unreadable(why),
            };
            page.push(&Sent { index: file, outcome });
            if page.is_full() {
                send(&Message::Sent(page.page()))?;
                page.clear();
            }
            self.outstanding -= u32::from(!told_before).min(self.outstanding);
            self.told.insert(file, ending);
        }
        if page.is_empty() { Ok(()) } else { send(&Message::Sent(page.page())) }
    }

    pub(super) fn hear_verdicts(&mut self, page: Page<'_, Stored<'_>>) -> Result<(), LinkError> {
        for stored in page.iter() {
            match self.judged.get_mut(stored.index as usize) {
                Some(judged) if !*judged => *judged = true,
                _ => return Err(misbehaved("it gave a verdict twice, or on no file of this transfer")),
            }
            if self.is_outstanding(stored.index) {
                self.outstanding = self.outstanding.saturating_sub(1);
            }
            self.report(&stored)?;
        }
        Ok(())
    }

    /// Whether the receiver took a file and was not told its digest yet.
    pub(super) fn is_outstanding(&self, file: u32) -> bool {
        let taken = matches!(self.decisions.get(file as usize), Some(Decision::Take | Decision::Verify));
        let is_file = self.manifest.get(file).is_some_and(|entry| entry.kind != EntryKind::Directory);
        taken && is_file && !self.told.contains_key(&file)
    }

    pub(super) fn report(&mut self, stored: &Stored<'_>) -> Result<(), LinkError> {
        let Some(entry) = self.manifest.get(stored.index) else { return Ok(()) };
        let told = self.told.remove(&stored.index);
        let chunks = self.manifest.chunks_of(stored.index);
        let faults = self.how.plain.then(|| self.faults.of_file(chunks));
        let outcome = match (stored.verdict, &told) {
            (Verdict::Stored(there), Some(Ending::Digest(here))) if there == *here => {
                Outcome::Verified(there)
            }
            (Verdict::AlreadyThere(there), Some(Ending::Digest(here))) if there == *here => {
                Outcome::AlreadyThere(there)
            }
            (
                Verdict::Stored(there) | Verdict::AlreadyThere(there) | Verdict::Differs(there),
                Some(Ending::Digest(here)),
            ) => Outcome::Differs { here: *here, there },
            (Verdict::Damaged(there), Some(Ending::Digest(here))) if let Some(report) = &faults => {
                Outcome::Damaged { here: *here, there, report }
            }
            (Verdict::NotSent, Some(Ending::Changed)) => Outcome::Changed,
            (Verdict::NotSent, Some(Ending::Unreadable(why))) => Outcome::Unreadable(why),
            (Verdict::Refused(why), _) => Outcome::Refused(why),
            (Verdict::Kept, _) => Outcome::Kept,
            (Verdict::Directory, None) if entry.kind == EntryKind::Directory => Outcome::Directory,
            _ => return Err(misbehaved("its verdict on a file does not fit what it was sent")),
        };
        let (now, held) = (self.moved.remove(&stored.index), self.held.remove(&stored.index));
        let account = self.history.settle(entry.path, now, held.unwrap_or_default(), self.began);
        let report = FileReport {
            side: Side::Sender,
            path: OsStr::from_bytes(entry.path),
            name: OsStr::from_bytes(stored.name),
            len: entry.len(),
            moved: account.moved,
            held: account.held,
            elapsed: account.elapsed,
            outcome,
            faults: faults.as_ref().filter(|_| outcome.has_faults()),
        };
        self.summary.count(&report);
        self.caller.observer.event(&Event::File(&report));
        if let Some(item) = self.items.get(stored.index as usize) {
            self.sources.set_done(*item);
        }
        Ok(())
    }
}
