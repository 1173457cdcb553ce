//! Deciding what to take, and what of it is here already.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::sync::Arc;

use framing::{
    CHUNK_LEN, ChunkSet, Decision, DecisionRun, MAX_RANGES, Manifest, Message, PageBuilder, Part, Verdict,
};
use link::{Link, LinkError};

use super::Receiving;
use super::state::{Active, Phase};
use crate::SessionError;
use crate::allowance::Allowance;
use crate::compare::{Compared, Comparison};
use crate::events::Event;
use crate::hello::{Pulse, misbehaved, out_of_place};
use crate::sets::{SetOf, held_of, send_set};
use crate::store::{IfExists, LimitError, PartFile, Plan, SafePath, StoreError, Target, room_for};

/// Partial files that may be open at a time before their chunks come.
const MAX_OPEN_PARTS: usize = 256;

/// Why a file is refused that must be a new one.
const IS_THERE: &str = "a file of its name is there already";

impl Receiving<'_> {
    /// Decides about every entry and tells the sender: the chunks that are wanted.
    pub(super) fn decide_all(&mut self, link: &mut dyn Link) -> Result<ChunkSet, SessionError> {
        let (mut decisions, comparisons) = self.decide()?;
        for compared in self.compare(link, comparisons)? {
            let index = compared.file;
            let decision = self.conclude(compared);
            if let Some(slot) = decisions.get_mut(index as usize) {
                *slot = decision;
            }
        }
        for active in self.active.values_mut().filter(|active| active.held.is_empty()) {
            if matches!(active.phase, Phase::Filling { .. }) {
                let holes = from_start(&self.holes.within(active.chunks.clone()), active.chunks.start);
                active.fill(holes);
            }
        }
        send_decisions(link, &decisions)?;
        let mut wanted = ChunkSet::new();
        self.active.values().for_each(|active| wanted.extend(active.wanted().ranges()));
        for (file, active) in &mut self.active {
            active.held_bytes = held_of(&self.manifest, *file, &wanted, &self.holes);
        }
        Ok(wanted)
    }

    /// Decides as far as that can be done without looking into files.
    fn decide(&mut self) -> Result<(Vec<Decision>, VecDeque<Comparison>), SessionError> {
        let mut decisions = Vec::with_capacity(self.manifest.len() as usize);
        let mut comparisons = VecDeque::new();
        if has_twins(&self.manifest) {
            return Err(misbehaved("it offered two files of the same name").into());
        }
        let mut directories = Vec::new();
        let mut open_parts = 0;
        for index in 0..self.manifest.len() {
            let Some(entry) = self.manifest.get(index) else { break };
            if self.history.is_done(entry.path) {
                self.repeat_verdict(index);
                decisions.push(Decision::Keep);
                continue;
            }
            decisions.push(match self.store.plan(&entry, open_parts < MAX_OPEN_PARTS && !self.plain) {
                Plan::Take { target, .. } if self.plain => self.take_plain(index, target),
                Plan::Take { target, part, lookalikes } => {
                    let (len, chunks) = (entry.len(), self.manifest.chunks_of(index));
                    let active = Box::new(Active::new(target, chunks.clone()));
                    let is_sure = part.is_none() && lookalikes.is_empty();
                    if !is_sure {
                        open_parts += usize::from(part.is_some());
                        comparisons.push_back(Comparison::new(index, chunks, len, part, lookalikes));
                    }
                    self.active.insert(index, active);
                    if is_sure { self.take(index) } else { Decision::Take }
                }
                Plan::Directory(path) => match self.booking.book_directory(&path) {
                    Ok(()) => {
                        directories.push((index, path));
                        Decision::Take
                    }
                    Err(limit) => self.refuse(index, &limit.to_string()),
                },
                Plan::Keep(name) => {
                    self.judge(index, Verdict::Kept, name.as_os_str());
                    Decision::Keep
                }
                Plan::Refuse(why) => self.refuse(index, &why),
            });
        }
        let is_new = |(index, path): &(u32, SafePath)| (!self.store.is_taken(path)).then_some(*index);
        let new: HashSet<u32> = directories.iter().filter_map(is_new).collect();
        for (index, made) in self.store.make_directories(directories) {
            match made {
                Ok(()) => {
                    self.summary.made += u64::from(new.contains(&index));
                    self.directories.push(index);
                }
                Err(error) => {
                    let why = format!("the directory cannot be made: {error}");
                    self.judge_failed(index, &why);
                    if let Some(decision) = decisions.get_mut(index as usize) {
                        *decision = Decision::Refuse;
                    }
                }
            }
        }
        Ok((decisions, comparisons))
    }

    /// Takes all of a file, whatever is there.
    fn take_plain(&mut self, index: u32, mut target: Target) -> Decision {
        if self.store.options().if_exists == IfExists::Fail && self.store.is_taken(&target.path) {
            return self.refuse(index, IS_THERE);
        }
        // What an ordinary transfer of it has left can still be gone on with.
        target.part = target.part.plain();
        self.active.insert(index, Box::new(Active::new(target, self.manifest.chunks_of(index))));
        self.take(index)
    }

    /// Takes a file, unless that is more than the store may take.
    fn take(&mut self, index: u32) -> Decision {
        match self.book(index) {
            Ok(()) => Decision::Take,
            Err(limit) => self.refuse(index, &limit.to_string()),
        }
    }

    fn refuse(&mut self, index: u32, why: &str) -> Decision {
        self.judge(index, Verdict::Refused(why), OsStr::new(""));
        Decision::Refuse
    }

    /// Has the store promise to take an active file.
    pub(super) fn book(&mut self, index: u32) -> Result<(), LimitError> {
        let (Some(active), Some(entry)) = (self.active.get(&index), self.manifest.get(index)) else {
            return Ok(());
        };
        let on_disk = active.part.as_ref().map_or(0, |part| part.room_taken());
        self.booking.book(index, &active.target, entry.len(), on_disk)
    }

    /// Has the sender tell the sums of what may be here already, and compares.
    pub(super) fn compare(
        &mut self,
        link: &mut dyn Link,
        mut waiting: VecDeque<Comparison>,
    ) -> Result<Vec<Compared>, SessionError> {
        let mut asked = ChunkSet::new();
        waiting.iter().for_each(|comparison| asked.extend(comparison.wanted().ranges()));
        asked.coarsen(MAX_RANGES / 2);
        let mut done = Vec::new();
        if !asked.is_empty() {
            send_set(link, &asked, SetOf::Compare)?;
            link.send(&Message::End(Part::Compare))?;
        }
        let mut over = asked.is_empty();
        let mut allowance = Allowance::new(self.patience, asked.len().saturating_mul(CHUNK_LEN as u64), 0);
        while !over {
            self.set_waiting(true);
            let message = allowance.recv(link)?;
            self.set_waiting(false);
            match message {
                Message::Sums(sums) => {
                    let chunks = sums.chunks();
                    match asked.first() {
                        Some(next) if next.start == chunks.start && chunks.end <= next.end => {
                            asked.remove(chunks.clone());
                        }
                        _ => return Err(misbehaved("it sent sums that nobody asked for").into()),
                    }
                    let mut over_with = Vec::new();
                    let mut at = chunks.start;
                    while at < chunks.end {
                        while let Some(passed) = waiting.pop_front_if(|next| next.chunks().end <= at) {
                            over_with.push(passed);
                        }
                        at = match waiting.front_mut() {
                            Some(next) if next.chunks().contains(&at) => next.compare(&self.store, &sums, at),
                            // Asked for only because sets of chunks may be coarse.
                            Some(next) => next.chunks().start.min(chunks.end),
                            None => chunks.end,
                        };
                    }
                    for passed in over_with {
                        done.push(self.finish_comparison(link, passed)?);
                    }
                    let bytes = (chunks.end - chunks.start) * CHUNK_LEN as u64;
                    self.caller.observer.event(&Event::Compared { bytes });
                }
                Message::End(Part::Sums) if asked.is_empty() => over = true,
                Message::Working => {}
                other => return Err(out_of_place(&other).into()),
            }
        }
        for comparison in waiting {
            done.push(self.finish_comparison(link, comparison)?);
        }
        Ok(done)
    }

    fn finish_comparison(
        &mut self,
        link: &mut dyn Link,
        comparison: Comparison,
    ) -> Result<Compared, SessionError> {
        let file = comparison.file;
        let holes = from_start(&self.holes.within(comparison.chunks().clone()), comparison.chunks().start);
        let (Some(active), Some(entry)) = (self.active.get(&file), self.manifest.get(file)) else {
            return Ok(Compared { file, part: None, held: holes, same: None });
        };
        let target = &active.target;
        let booking = &mut self.booking;
        let open_part = |part: Option<Arc<PartFile>>| {
            let on_disk = part.as_ref().map_or(0, |part| part.room_taken());
            booking.book(file, target, entry.len(), on_disk)?;
            self.store.check_spare_room(room_for(entry.len(), on_disk))?;
            if let Some(part) = part {
                return Ok(part);
            }
            let dir = self.store.parent_of(&target.path, true)?;
            PartFile::open(&dir, target.path.name(), target.part, entry.len(), self.store.claim())
                .map(Arc::new)
        };
        let mut pulse = Pulse::new();
        let mut lost = None;
        let mut go_on = || {
            lost = lost.take().or_else(|| pulse.beat(link).err());
            lost.is_none()
        };
        let finished = comparison.finish(&self.store, &holes, open_part, &mut go_on);
        if let Some(lost) = lost {
            return Err(lost.into());
        }
        match finished {
            Ok(compared) => Ok(compared),
            // It is refused when its turn comes.
            Err(error) if LimitError::of(&error).is_some() => {
                Ok(Compared { file, part: None, held: ChunkSet::new(), same: None })
            }
            Err(error) => {
                let error = StoreError::Write { path: target.path.as_path().to_owned(), error };
                // What can't be read or copied here is sent instead; what can't be written fails when it comes.
                if error.is_no_space() {
                    return Err(error.into());
                }
                Ok(Compared { file, part: None, held: ChunkSet::new(), same: None })
            }
        }
    }

    /// What the comparison means for the file.
    fn conclude(&mut self, compared: Compared) -> Decision {
        let Compared { file, part, held, same } = compared;
        let Some(active) = self.active.get_mut(&file) else { return Decision::Refuse };
        if let Some(same) = same {
            if let Some(part) = part {
                // What is left of an attempt to send what is here by now.
                let _ = part.remove();
                self.booking.was_there(&active.target, part.len());
            }
            active.phase = Phase::Verifying(same);
            return Decision::Verify;
        }
        if self.store.options().if_exists == IfExists::Fail && self.store.is_taken(&active.target.path) {
            return self.refuse(file, IS_THERE);
        }
        // Of too many, the part is found again by its name when its chunks come.
        self.held_parts += usize::from(part.is_some());
        active.part = part.filter(|_| self.held_parts <= MAX_OPEN_PARTS);
        let mut held = held;
        held.extend(from_start(&self.holes.within(active.chunks.clone()), active.chunks.start).ranges());
        active.fill(held);
        self.take(file)
    }
}

fn has_twins(manifest: &Manifest) -> bool {
    let mut paths = HashSet::with_capacity(manifest.len() as usize);
    !manifest.iter().all(|(_, entry)| paths.insert(entry.path))
}

/// Chunks by their numbers in the transfer, counted from their file's start.
pub(super) fn from_start(chunks: &ChunkSet, first: u64) -> ChunkSet {
    chunks.ranges().map(|range| range.start - first..range.end - first).collect()
}

fn send_decisions(link: &mut dyn Link, decisions: &[Decision]) -> Result<(), LinkError> {
    let mut page = PageBuilder::default();
    for run in decisions.chunk_by(|one, next| one == next) {
        if let Some(decision) = run.first() {
            page.push(&DecisionRun { count: run.len() as u32, decision: *decision });
        }
        if page.is_full() {
            link.send(&Message::Decisions(page.page()))?;
            page.clear();
        }
    }
    if page.is_empty() { Ok(()) } else { link.send(&Message::Decisions(page.page())) }
}
