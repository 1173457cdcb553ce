//! From the last chunk of a file to its verdict.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use framing::{ChunkSet, Message, Sent, SentOutcome, Verdict};
use link::{ChunkRun, Link, LinkError};

use super::Receiving;
use super::decide::from_start;
use super::open::{max_open, open_file};
use super::state::{Active, Phase};
use crate::SessionError;
use crate::compare::Comparison;
use crate::events::{Event, Outcome};
use crate::hello::{Pulse, WORKING_INTERVAL, misbehaved};
use crate::history::Progress;
use crate::intake::Happened;
use crate::store::{Committed, Finished, MANY, StoreError};

/// Files that may be verified where they lie at a time.
const MAX_VERIFYING: usize = 32;

impl Receiving<'_> {
    /// Hands bytes of one file to the writer.
    pub(super) fn write_file(&mut self, file: u32, run: ChunkRun) -> Result<(), LinkError> {
        if self.open_parts >= 4 * max_open()
            && self.active.get(&file).is_some_and(|active| active.is_closed())
        {
            self.wait_for_open()?;
        }
        // A file that failed is not active any more; what still comes for it is thrown away.
        let Some(active) = self.active.get_mut(&file) else { return Ok(()) };
        let Phase::Filling { left, open } = active.phase else { return Ok(()) };
        let complete = run.completes();
        let bytes = run.len();
        if !open {
            self.open_parts += 1;
            self.unfinished.insert(file);
            open_file(&self.intake, &self.manifest, file, active, self.plain);
        }
        active.moved.get_or_insert_with(Progress::begin).add(bytes);
        self.intake.write(file, active.chunks.start, run);
        let left = left.saturating_sub(complete.end.saturating_sub(complete.start));
        active.phase = Phase::Filling { left, open: true };
        if left == 0 {
            self.unfinished.remove(&file);
        }
        if left == 0 && self.open_parts > max_open() && (active.there.is_none() || self.plain) {
            // Too many wait for their digests, or for the end of a plain transfer: this one is closed, and read again then.
            self.open_parts -= 1;
            active.fill(ChunkSet::from(0..active.chunks.end - active.chunks.start));
            self.intake.drop_file(file, false);
        } else if left == 0 {
            active.phase = Phase::Hashing;
            self.intake.complete(file);
        }
        self.summary.moved += bytes;
        if let Some(entry) = self.manifest.get(file) {
            self.caller.observer.event(&Event::Moved { bytes, path: OsStr::from_bytes(entry.path) });
        }
        if !open && self.open_parts > max_open() {
            self.close_unfinished(file);
        }
        Ok(())
    }

    /// Takes in what the sender says of a file.
    pub(super) fn hear_sent(&mut self, sent: &Sent<'_>) -> Result<(), LinkError> {
        let file = sent.index;
        let Some(active) = self.active.get_mut(&file) else {
            // Of a file that this side has given up meanwhile.
            return if file < self.manifest.len() {
                Ok(())
            } else {
                Err(misbehaved("it sent the digest of no file"))
            };
        };
        let is_digest = matches!(sent.outcome, SentOutcome::Digest(_));
        if active.there.is_some() && (is_digest || matches!(active.phase, Phase::Committing)) {
            return Err(misbehaved("it sent a file's digest twice"));
        }
        match sent.outcome {
            SentOutcome::Digest(digest) => {
                active.there = Some(digest);
                self.begin_if_complete(file);
                self.finish(file);
            }
            SentOutcome::Changed if matches!(active.phase, Phase::Hashing) => {
                active.phase = Phase::Changed;
                self.intake.drop_file(file, true);
                self.finish(file);
            }
            SentOutcome::Changed => self.judge_not_sent(file, true, Outcome::Changed),
            SentOutcome::Unreadable(why) => self.judge_not_sent(file, false, Outcome::Unreadable(why)),
        }
        Ok(())
    }

    fn judge_not_sent(&mut self, file: u32, remove: bool, outcome: Outcome<'_>) {
        match self.active.get(&file) {
            Some(active) if remove => self.discard(file, active),
            _ => self.intake.drop_file(file, false),
        }
        self.judge_as(file, Verdict::NotSent, OsStr::new(""), outcome);
    }

    /// Has the partial file of a file removed that is not complete.
    pub(super) fn discard(&self, file: u32, active: &Active) {
        self.intake.drop_file(file, true);
        if active.begun && active.is_closed() {
            self.intake.remove(active.target.clone());
        }
    }

    /// Takes in what the threads have done since the last time.
    pub(super) fn absorb(&mut self) {
        while let Some(happened) = self.intake.happened() {
            self.take_in(happened);
        }
        self.verify_more();
        self.begin_waiting();
    }

    pub(super) fn take_in(&mut self, happened: Happened) {
        match happened {
            Happened::Written { file, part } => {
                if let Some(active) = self.active.get_mut(&file) {
                    active.part = Some(part);
                    self.finish(file);
                }
            }
            Happened::Hashed { file, digest } => {
                self.verifying.remove(&file);
                if let Some(active) = self.active.get_mut(&file) {
                    active.here = Some(digest);
                    self.finish(file);
                }
            }
            Happened::Failed { file, error } => self.fail(file, error),
            Happened::Committed { file, committed } => self.judge_commit(file, committed),
        }
    }

    /// Has more files verified where they lie.
    fn verify_more(&mut self) {
        while self.verifying.len() < MAX_VERIFYING {
            let next =
                self.active.range_mut(self.next_verified..).find_map(|(file, active)| match &active.phase {
                    Phase::Verifying(path) => Some((*file, path.clone())),
                    _ => None,
                });
            let Some((file, path)) = next else {
                // No file comes to be verified later. There may be a million to look through.
                self.next_verified = u32::MAX;
                return;
            };
            self.next_verified = file + 1;
            let len = self.manifest.get(file).map_or(0, |entry| entry.len());
            match self.store.open_file(&path) {
                Ok(there) => {
                    self.verifying.insert(file);
                    self.intake.verify(file, there, len);
                }
                Err(_) => self.refill(file),
            }
        }
    }

    /// A file that seemed to be there is to be sent after all.
    fn refill(&mut self, file: u32) {
        if let Err(limit) = self.book(file) {
            return self.judge(file, Verdict::Refused(&limit.to_string()), OsStr::new(""));
        }
        if let Some(active) = self.active.get_mut(&file) {
            active.fill(from_start(&self.holes.within(active.chunks.clone()), active.chunks.start));
        }
        self.begin_if_complete(file);
    }

    /// Whether it is not known yet what became of the chunks of a plain transfer.
    pub(super) const fn is_open_end(&self) -> bool {
        self.plain && self.faults.is_none()
    }

    /// Compares the digests once both are known.
    pub(super) fn finish(&mut self, file: u32) {
        let is_open_end = self.is_open_end();
        let Some(active) = self.active.get_mut(&file) else { return };
        if matches!(active.phase, Phase::Changed) {
            if let Some(part) = active.part.take() {
                // It is only left over, then.
                let _ = part.remove();
                self.judge_as(file, Verdict::NotSent, OsStr::new(""), Outcome::Changed);
            }
            return;
        }
        let (Some(here), Some(there)) = (active.here, active.there) else { return };
        if is_open_end {
            return;
        }
        match &active.phase {
            Phase::Verifying(path) if here == there => {
                let path = path.clone();
                // One that was killed after the file got its name may have been followed by one that was killed before it
                // saw that.
                self.intake.sweep(active.target.clone());
                if let Some(entry) = self.manifest.get(file) {
                    self.booking.was_there(&active.target, entry.len());
                }
                self.judge(file, Verdict::AlreadyThere(here), path.as_os_str());
            }
            Phase::Verifying(_) => self.refill(file),
            Phase::Hashing => {
                let Some(part) = active.part.take() else { return };
                if let Some(faults) = &self.faults {
                    active.is_damaged = here != there || !faults.is_whole_in(&active.chunks);
                } else if here != there {
                    active.part = Some(part);
                    active.phase = Phase::Differs;
                    self.begun.remove(&file);
                    return;
                }
                let Some(entry) = self.manifest.get(file) else { return };
                active.phase = Phase::Committing;
                let finished = Finished::new(file, part, active.target.clone(), &entry);
                let mtime = if self.is_made { now() } else { finished.mtime };
                self.intake.commit(Finished { is_damaged: active.is_damaged, mtime, ..finished });
            }
            Phase::Filling { .. } | Phase::Differs | Phase::Changed | Phase::Committing => {}
        }
    }

    fn fail(&mut self, file: u32, error: io::Error) {
        self.verifying.remove(&file);
        let Some(active) = self.active.get(&file) else { return };
        if matches!(active.phase, Phase::Verifying(_)) {
            self.refill(file);
            return;
        }
        let error = StoreError::Write { path: active.target.path.as_path().to_owned(), error };
        if error.is_no_space() {
            self.failure.get_or_insert(error);
        } else {
            self.intake.drop_file(file, false);
            self.judge_failed(file, &error.to_string());
        }
    }

    fn judge_commit(&mut self, file: u32, committed: Committed) {
        let Some(active) = self.active.get(&file) else { return };
        match (committed, active.here) {
            (Committed::Stored(path), Some(here)) if active.is_damaged => {
                self.judge(file, Verdict::Damaged(here), path.as_os_str());
            }
            (Committed::Stored(path), Some(here)) => {
                self.judge(file, Verdict::Stored(here), path.as_os_str());
            }
            (Committed::Kept(path), _) => self.judge(file, Verdict::Kept, path.as_os_str()),
            (Committed::Exists, _) => {
                self.judge(file, Verdict::Refused("a file of its name is there already"), OsStr::new(""));
            }
            (Committed::Unflushed(error), _) => {
                self.booking.stored(file);
                self.fail(file, error);
            }
            (Committed::Failed(error), _) => self.fail(file, error),
            (Committed::Stored(_), None) => {}
        }
    }

    /// Waits until every file has its verdict, or needs another round.
    pub(super) fn settle(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        loop {
            self.absorb();
            self.tell(&mut |message| link.send(message))?;
            if let Some(failure) = self.failure.take() {
                return Err(failure.into());
            }
            if self.active.values().all(|active| active.is_resting()) {
                return Ok(());
            }
            match self.intake.wait(WORKING_INTERVAL) {
                Some(happened) => self.take_in(happened),
                None if self.intake.is_broken() => {
                    return Err(SessionError::Thread(io::Error::other("a thread of the transfer ended")));
                }
                None => link.send(&Message::Working)?,
            }
        }
    }

    /// Finds out what is needed to repair the files that are not good yet; `missing` never came or came damaged.
    pub(super) fn wanted_again(
        &mut self,
        link: &mut dyn Link,
        missing: &ChunkSet,
    ) -> Result<ChunkSet, SessionError> {
        let mut wanted = ChunkSet::new();
        let mut comparisons = VecDeque::new();
        for (file, active) in &mut self.active {
            match (&active.phase, active.part.take()) {
                (Phase::Differs, Some(part)) => {
                    let len = self.manifest.get(*file).map_or(0, |entry| entry.len());
                    let part = Some(part);
                    comparisons.push_back(Comparison::new(
                        *file,
                        active.chunks.clone(),
                        len,
                        part,
                        Vec::new(),
                    ));
                }
                (Phase::Filling { open: false, .. }, part) if !active.was_closed => {
                    active.part = part;
                    wanted.extend(active.wanted().ranges());
                }
                (_, part) => {
                    active.part = part;
                    wanted.extend(missing.within(active.chunks.clone()).ranges());
                }
            }
        }
        for compared in self.compare(link, comparisons)? {
            let Some(active) = self.active.get_mut(&compared.file) else { continue };
            self.open_parts = self.open_parts.saturating_sub(1);
            active.part = compared.part;
            let mut held = compared.held;
            // Every sum is right and the digest is not: none of it can be trusted.
            if held.len() == active.chunks.end - active.chunks.start {
                held = ChunkSet::new();
            }
            held.extend(from_start(&self.holes.within(active.chunks.clone()), active.chunks.start).ranges());
            let here = active.here;
            active.fill(held);
            if let (Phase::Filling { left: 0, .. }, Some(here)) = (&active.phase, here) {
                // There is nothing that could be sent again.
                if let Some(part) = active.part.take() {
                    // It is only left over, then.
                    let _ = part.remove();
                }
                self.judge(compared.file, Verdict::Differs(here), OsStr::new(""));
                continue;
            }
            wanted.extend(active.wanted().ranges());
        }
        Ok(wanted)
    }

    /// Gives up the files that could not be repaired.
    pub(super) fn give_up(&mut self) {
        let files: Vec<u32> = self.active.keys().copied().collect();
        for file in files {
            self.intake.drop_file(file, false);
            match self.active.get(&file).and_then(|active| active.here) {
                Some(here) => self.judge(file, Verdict::Differs(here), OsStr::new("")),
                None => self.judge_failed(file, "its chunks came damaged again and again"),
            }
        }
    }

    /// Gives the directories their permissions and times, the inner ones first.
    pub(super) fn finish_directories(&mut self, link: &mut dyn Link) -> Result<(), LinkError> {
        let indices = std::mem::take(&mut self.directories);
        let many = indices.len() >= MANY;
        let mut pulse = Pulse::new();
        let mut finished = Vec::with_capacity(indices.len());
        for index in indices.into_iter().rev() {
            let Some(entry) = self.manifest.get(index) else { continue };
            finished.push((index, self.store.finish_directory(&entry, !many)));
            pulse.beat(link)?;
        }
        let flushed = if many { self.store.flush() } else { Ok(()) };
        for (index, finished) in finished {
            let error = match (finished, &flushed) {
                (Ok(path), Ok(())) => {
                    self.judge(index, Verdict::Directory, path.as_os_str());
                    continue;
                }
                (Err(error), _) => error.to_string(),
                (Ok(_), Err(error)) => error.to_string(),
            };
            let why = format!("its permissions or time cannot be set: {error}");
            self.judge_failed(index, &why);
        }
        Ok(())
    }
}

/// The time of now, as files have it.
fn now() -> (i64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_nanos())
}
