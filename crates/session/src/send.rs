//! The sending side of a transfer.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::ops::{ControlFlow, Range};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use framing::{
    CHUNK_LEN, Checksum, ChunkSet, Decision, Digest, EntryKind, Feature, MAX_RANGES, MAX_SUMS, Manifest,
    Message, Offer, Page, PageBuilder, Part, Sent, SentOutcome, Stored, Sums, Verdict, crc32c,
};
use link::{ChunkRun, ChunkSource, Filled, IDLE_LIMIT, Link, LinkError, Talk};

use crate::events::{Event, FileReport, Outcome, Side, Summary};
use crate::hashing::{Hashing, Report};
use crate::hello::{greet, meet, out_of_place};
use crate::source::{SourceFile, Sources};
use crate::{Caller, PutJob, SessionError};

/// How often a side that is busy with its disk says so.
pub(crate) const WORKING_INTERVAL: Duration = Duration::from_secs(5);
/// Files that the follower may have open at a time.
const MAX_FOLLOWED: usize = 32;
/// How often a receiver may ask again.
const MAX_ROUNDS: u32 = 1000;
/// Chunks that are read at a time for their sums.
const STEP: u64 = 64;

impl PutJob {
    /// Prepares to send these files, proving each with this checksum.
    #[must_use]
    pub fn new(sources: Sources, checksum: Checksum) -> Self {
        let (unreadable, skipped) = sources.left_out();
        Self { sources, checksum, summary: Summary { unreadable, skipped, ..Summary::default() } }
    }
}

/// Sends files. After an error that [may pass](SessionError::is_passing) it can be called again with a new link, and goes
/// on with what is not done.
pub fn put(link: &mut dyn Link, job: &mut PutJob, caller: Caller<'_>) -> Result<Summary, SessionError> {
    let began = Instant::now();
    greet(link, caller.software, &[Feature::Blake3])?;
    let announced = Sending::announce(link, &mut job.sources, job.checksum, Message::Put, caller);
    if let Err(SessionError::Link(refused @ LinkError::Refused { .. })) = announced {
        return Err(refused.into());
    }
    // When the peer would not hear it to the end, its greeting still says more than a broken pipe.
    let greeting = meet(link, caller.observer)?;
    greeting.must_have(Feature::Put)?;
    if job.checksum == Checksum::Blake3 {
        greeting.must_have(Feature::Blake3)?;
    }
    let mut sending = announced?;
    let sent = sending.run(link);
    job.summary.add(&sending.summary);
    job.summary.elapsed += began.elapsed();
    sent?;
    link.finish();
    Ok(job.summary.clone())
}

/// Sends what a `Get` asked for.
pub(crate) fn answer_get(
    link: &mut dyn Link,
    sources: &mut Sources,
    checksum: Checksum,
    caller: Caller<'_>,
) -> Result<Summary, SessionError> {
    let began = Instant::now();
    let (unreadable, skipped) = sources.left_out();
    let mut sending = Sending::announce(link, sources, checksum, Message::Offer, caller)?;
    sending.run(link)?;
    let mut summary = Summary { unreadable, skipped, elapsed: began.elapsed(), ..Summary::default() };
    summary.add(&sending.summary);
    Ok(summary)
}

struct Sending<'a> {
    sources: &'a mut Sources,
    caller: Caller<'a>,
    checksum: Checksum,
    manifest: Manifest,
    /// The item of each entry.
    items: Vec<u32>,
    decisions: Vec<Decision>,
    /// Chunks that are zero and never sent.
    holes: ChunkSet,
    /// Bytes of each file that the receiver has already, where it has some.
    held: BTreeMap<u32, u64>,
    /// Entries that the receiver has given its verdict on.
    judged: Vec<bool>,
    hashing: Hashing,
    hashed: Receiver<(u32, io::Result<Digest>)>,
    /// What is to be sent now.
    wanted: ChunkSet,
    round: u32,
    /// The file that was read last.
    open: Option<(u32, SourceFile)>,
    /// Files between their first chunk and their digest.
    reading: BTreeMap<u32, SourceFile>,
    /// Files that are hashed by reading them, of those that have been begun.
    followed: BTreeSet<u32>,
    /// The next entry that may have to be hashed that way.
    next_followed: u32,
    /// Outcomes that the receiver was not told yet.
    untold: Vec<(u32, Ending)>,
    /// Files whose outcome is still to be told in this round.
    outstanding: u32,
    told: BTreeMap<u32, Ending>,
    moved: BTreeMap<u32, u64>,
    began: Instant,
    summary: Summary,
}

#[derive(Debug)]
enum Ending {
    Digest(Digest),
    Changed,
    Unreadable(String),
}

impl<'a> Sending<'a> {
    /// Tells the receiver what there is to send.
    fn announce(
        link: &mut dyn Link,
        sources: &'a mut Sources,
        checksum: Checksum,
        head: fn(Offer) -> Message<'static>,
        caller: Caller<'a>,
    ) -> Result<Self, SessionError> {
        let (manifest, items) = sources.manifest()?;
        let holes = sources.holes(&manifest, &items);
        let directories =
            manifest.iter().filter(|(_, entry)| entry.kind == EntryKind::Directory).count() as u64;
        caller.observer.event(&Event::Planned {
            side: Side::Sender,
            files: u64::from(manifest.len()) - directories,
            directories,
            bytes: manifest.bytes(),
            name: sources.title(),
        });
        link.send(&head(Offer { checksum, entries: manifest.len(), bytes: manifest.bytes() }))?;
        let mut entries = PageBuilder::default();
        for (_, entry) in manifest.iter() {
            entries.push(&entry);
            if entries.is_full() {
                link.send(&Message::Entries(entries.page()))?;
                entries.clear();
            }
        }
        if !entries.is_empty() {
            link.send(&Message::Entries(entries.page()))?;
        }
        send_set(link, &holes, SetOf::Holes)?;
        link.send(&Message::End(Part::Manifest))?;

        let (hash, hashed) = channel();
        let report: Report = Arc::new(move |file, digest| {
            // Nobody listens any more when the session is over.
            let _ = hash.send((file, digest));
        });
        let hashing = Hashing::start(checksum, &report).map_err(SessionError::Thread)?;
        let entries = manifest.len() as usize;
        Ok(Self {
            sources,
            caller,
            checksum,
            manifest,
            items,
            decisions: Vec::new(),
            holes,
            held: BTreeMap::new(),
            judged: vec![false; entries],
            hashing,
            hashed,
            wanted: ChunkSet::new(),
            round: 0,
            open: None,
            reading: BTreeMap::new(),
            followed: BTreeSet::new(),
            next_followed: 0,
            untold: Vec::new(),
            outstanding: 0,
            told: BTreeMap::new(),
            moved: BTreeMap::new(),
            began: Instant::now(),
            summary: Summary::default(),
        })
    }

    /// Does what the receiver asks for, until it says that the transfer is over.
    fn run(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        let mut compare = ChunkSet::new();
        loop {
            match link.recv(IDLE_LIMIT)? {
                Message::Compare(page) => self.ask(&mut compare, page)?,
                Message::End(Part::Compare) => self.send_sums(link, &std::mem::take(&mut compare))?,
                Message::Decisions(page) if self.round == 0 => {
                    for run in page.iter() {
                        let left = self.manifest.len() - self.decisions.len() as u32;
                        if run.count > left {
                            return Err(misbehaved("it decided about more files than there are").into());
                        }
                        self.decisions.extend((0..run.count).map(|_| run.decision));
                    }
                }
                Message::Want(page) => {
                    let mut wanted = std::mem::take(&mut self.wanted);
                    self.ask(&mut wanted, page)?;
                    self.wanted = wanted;
                }
                Message::End(Part::Want) => self.send_wanted(link)?,
                Message::Stored(page) => self.hear_verdicts(page)?,
                Message::Working => {}
                Message::End(Part::Transfer) => {
                    if self.judged.iter().all(|judged| *judged) {
                        return Ok(());
                    }
                    return Err(misbehaved("it ended the transfer without a verdict on each file").into());
                }
                other => return Err(out_of_place(&other).into()),
            }
        }
    }

    /// Takes in which chunks the receiver asks for.
    fn ask(&self, set: &mut ChunkSet, page: Page<'_, Range<u64>>) -> Result<(), LinkError> {
        set.extend(page.iter());
        if set.end() > self.manifest.chunks() {
            return Err(misbehaved("it asked for a chunk that there is not"));
        }
        if set.range_count() > MAX_RANGES {
            return Err(misbehaved("it asked for too many separate chunks"));
        }
        Ok(())
    }

    fn send_sums(&mut self, link: &mut dyn Link, set: &ChunkSet) -> Result<(), SessionError> {
        let mut sums = Vec::with_capacity(4 * MAX_SUMS);
        let mut buffer = vec![0; STEP as usize * CHUNK_LEN];
        for range in set.ranges() {
            let mut first = range.start;
            let mut at = range.start;
            while at < range.end {
                at = self.push_sums(at..range.end.min(at + STEP), &mut buffer, &mut sums);
                if at == range.end || sums.len() / 4 + STEP as usize > MAX_SUMS {
                    if let Some(sums) = Sums::new(first, &sums) {
                        link.send(&Message::Sums(sums))?;
                    }
                    let bytes = (at - first) * CHUNK_LEN as u64;
                    self.caller.observer.event(&Event::Compared { bytes });
                    sums.clear();
                    first = at;
                }
            }
        }
        link.send(&Message::End(Part::Sums))?;
        Ok(())
    }

    /// Appends the sums of these chunks as far as they belong to one file; gives the next chunk.
    ///
    /// A file that can't be read has the sum 0 here; what is wrong with it is told when it is to be sent.
    fn push_sums(&mut self, chunks: Range<u64>, buffer: &mut [u8], sums: &mut Vec<u8>) -> u64 {
        let Some(file) = self.manifest.file_of(chunks.start) else { return chunks.end };
        let own = self.manifest.chunks_of(file);
        let end = chunks.end.min(own.end);
        let last = self.manifest.chunk_len(end - 1);
        let buffer = &mut buffer[..(end - chunks.start - 1) as usize * CHUNK_LEN + last];
        let readable = self
            .opened(file)
            .and_then(|source| {
                source.file.read_exact_at(buffer, (chunks.start - own.start) * CHUNK_LEN as u64)
            })
            .is_ok();
        for chunk in buffer.chunks(CHUNK_LEN) {
            sums.extend_from_slice(&if readable { crc32c(chunk) } else { 0 }.to_be_bytes());
        }
        end
    }

    fn send_wanted(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        if self.decisions.len() < self.manifest.len() as usize {
            return Err(misbehaved("it decided about fewer files than there are").into());
        }
        if self.round == MAX_ROUNDS {
            return Err(misbehaved("it asked again too often").into());
        }
        let wanted = std::mem::take(&mut self.wanted);
        self.check_wanted(&wanted)?;
        let bytes = bytes_of(&self.manifest, &wanted);
        if self.round == 0 {
            let held = self.count_files(&wanted);
            self.caller.observer.event(&Event::Wanted { bytes, held, round: 0 });
        } else {
            self.caller.observer.event(&Event::AskedAgain { chunks: wanted.len() });
            self.caller.observer.event(&Event::Wanted { bytes, held: 0, round: self.round });
        }
        self.wanted = wanted.clone();
        link.send_chunks(&wanted, self)?;
        while self.outstanding > 0 {
            self.follow_more();
            match self.hashed.recv_timeout(WORKING_INTERVAL) {
                Ok((file, digest)) => {
                    self.take_digest(file, digest);
                    self.tell(&mut |message| link.send(message))?;
                }
                Err(RecvTimeoutError::Timeout) => link.send(&Message::Working)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SessionError::Thread(io::Error::other("the hashing thread ended")));
                }
            }
            self.tell(&mut |message| link.send(message))?;
        }
        self.wanted = ChunkSet::new();
        self.open = None;
        self.round += 1;
        link.send(&Message::End(Part::Chunks))?;
        Ok(())
    }

    /// Counts the files whose outcome is to be told, and the bytes of them that the receiver has already.
    fn count_files(&mut self, wanted: &ChunkSet) -> u64 {
        let mut all_held = 0;
        for (index, entry) in self.manifest.iter() {
            let held = match self.decisions.get(index as usize) {
                _ if entry.kind == EntryKind::Directory => continue,
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

    /// The receiver may only want chunks of files that it takes, or finds different after all.
    fn check_wanted(&self, wanted: &ChunkSet) -> Result<(), LinkError> {
        let mut at = 0;
        while let Some(range) = wanted.next_from(at) {
            let Some(file) = self.manifest.file_of(range.start) else { break };
            let taken = match self.decisions.get(file as usize) {
                Some(Decision::Take) => true,
                Some(Decision::Verify) => self.round > 0,
                _ => false,
            };
            if !taken || self.is_judged(file) {
                return Err(misbehaved("it asked for chunks of a file that it did not take"));
            }
            at = self.manifest.chunks_of(file).end;
        }
        Ok(())
    }

    fn opened(&mut self, file: u32) -> io::Result<SourceFile> {
        if let Some((open, source)) = &self.open
            && *open == file
        {
            return Ok(source.clone());
        }
        let item = self.items.get(file as usize).copied().unwrap_or_default();
        let source = self.sources.open(item)?;
        self.open = Some((file, source.clone()));
        Ok(source)
    }

    fn is_judged(&self, file: u32) -> bool {
        self.judged.get(file as usize).copied().unwrap_or_default()
    }

    /// Whether all of a file crosses the link in this first round, so that it can be hashed on its way.
    fn is_streamed(&self, file: u32) -> bool {
        let chunks = self.manifest.chunks_of(file);
        self.round == 0 && self.wanted.range_at(chunks.start).is_some_and(|range| range.end >= chunks.end)
    }

    /// Has more files hashed that don't cross the link from end to end.
    fn follow_more(&mut self) {
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
                    self.hashing.follow(file, &source.file, len, all, self.checksum);
                    self.followed.insert(file);
                    self.reading.insert(file, source);
                }
                Err(error) => self.untold.push((file, Ending::Unreadable(error.to_string()))),
            }
        }
    }

    fn take_digest(&mut self, file: u32, digest: io::Result<Digest>) {
        self.followed.remove(&file);
        let Some(source) = self.reading.remove(&file) else { return };
        let ending = match digest {
            Ok(digest) if source.is_unchanged() => Ending::Digest(digest),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Ending::Unreadable(error.to_string())
            }
            Ok(_) | Err(_) => Ending::Changed,
        };
        self.untold.push((file, ending));
    }

    /// Tells the receiver the outcomes that are known by now.
    fn tell(&mut self, send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>) -> Result<(), LinkError> {
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

    fn hear_verdicts(&mut self, page: Page<'_, Stored<'_>>) -> Result<(), LinkError> {
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
    fn is_outstanding(&self, file: u32) -> bool {
        let taken = matches!(self.decisions.get(file as usize), Some(Decision::Take | Decision::Verify));
        let is_file = self.manifest.get(file).is_some_and(|entry| entry.kind != EntryKind::Directory);
        taken && is_file && !self.told.contains_key(&file)
    }

    fn report(&mut self, stored: &Stored<'_>) -> Result<(), LinkError> {
        let Some(entry) = self.manifest.get(stored.index) else { return Ok(()) };
        let told = self.told.remove(&stored.index);
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
            (Verdict::NotSent, Some(Ending::Changed)) => Outcome::Changed,
            (Verdict::NotSent, Some(Ending::Unreadable(why))) => Outcome::Unreadable(why),
            (Verdict::Refused(why), _) => Outcome::Refused(why),
            (Verdict::Kept, _) => Outcome::Kept,
            (Verdict::Directory, None) if entry.kind == EntryKind::Directory => Outcome::Directory,
            _ => return Err(misbehaved("its verdict on a file does not fit what it was sent")),
        };
        let report = FileReport {
            side: Side::Sender,
            path: OsStr::from_bytes(entry.path),
            name: OsStr::from_bytes(stored.name),
            len: entry.len(),
            moved: self.moved.remove(&stored.index).unwrap_or_default(),
            held: self.held.remove(&stored.index).unwrap_or_default(),
            elapsed: self.began.elapsed(),
            outcome,
        };
        self.summary.count(&report);
        self.caller.observer.event(&Event::File(&report));
        if let Some(item) = self.items.get(stored.index as usize) {
            self.sources.set_done(*item);
        }
        Ok(())
    }
}

impl Talk for Sending<'_> {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.follow_more();
        while let Ok((file, digest)) = self.hashed.try_recv() {
            self.take_digest(file, digest);
        }
        self.tell(send)
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        match message {
            Message::Stored(page) => self.hear_verdicts(page)?,
            Message::Working => {}
            other => return Err(out_of_place(&other)),
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl ChunkSource for Sending<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.manifest.chunk_len(chunk)
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        let Some(file) = self.manifest.file_of(first) else { return Filled::Skip(self.manifest.chunks()) };
        let chunks = self.manifest.chunks_of(file);
        if self.is_judged(file) {
            return Filled::Skip(chunks.end);
        }
        let streamed = self.is_streamed(file);
        let count = slots.len().min((chunks.end - first) as usize);
        let offset = (first - chunks.start) * CHUNK_LEN as u64;
        let ending = match self.opened(file) {
            Ok(source) if source.changed => Ending::Changed,
            Ok(source) => match read_slots(&source, offset, &mut slots[..count]) {
                Ok(()) => {
                    if streamed {
                        self.reading.entry(file).or_insert(source);
                    }
                    return Filled::Slots(count);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ending::Changed,
                Err(error) => Ending::Unreadable(error.to_string()),
            },
            Err(error) => Ending::Unreadable(error.to_string()),
        };
        self.reading.remove(&file);
        self.hashing.forget(file);
        self.followed.remove(&file);
        self.untold.push((file, ending));
        Filled::Skip(chunks.end)
    }

    fn sent(&mut self, run: ChunkRun) {
        // The link reads the chunks of one file at a time, so a run belongs to one file.
        let Some(file) = self.manifest.file_of(run.chunks().start) else { return };
        let bytes = run.len();
        *self.moved.entry(file).or_default() += bytes;
        self.summary.moved += bytes;
        if let Some(entry) = self.manifest.get(file) {
            self.caller.observer.event(&Event::Moved { bytes, path: OsStr::from_bytes(entry.path) });
        }
        if self.is_streamed(file) && self.reading.contains_key(&file) {
            let last = run.chunks().end == self.manifest.chunks_of(file).end;
            self.hashing.stream(file, run);
            if last {
                self.hashing.finish_stream(file);
            }
        }
    }
}

fn read_slots(source: &SourceFile, mut offset: u64, slots: &mut [IoSliceMut<'_>]) -> io::Result<()> {
    let mut rest = slots;
    while !rest.is_empty() {
        match rustix::io::preadv(&source.file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                offset += read as u64;
                IoSliceMut::advance_slices(&mut rest, read);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What a set of chunks is told for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SetOf {
    Holes,
    Compare,
    Want,
}

/// Tells a set of chunks, in as many messages as it takes.
pub(crate) fn send_set(link: &mut dyn Link, set: &ChunkSet, of: SetOf) -> Result<(), LinkError> {
    let mut page = PageBuilder::default();
    let mut ranges = set.ranges().peekable();
    while let Some(range) = ranges.next() {
        page.push(&range);
        if page.is_full() || ranges.peek().is_none() {
            link.send(&match of {
                SetOf::Holes => Message::Holes(page.page()),
                SetOf::Compare => Message::Compare(page.page()),
                SetOf::Want => Message::Want(page.page()),
            })?;
            page.clear();
        }
    }
    Ok(())
}

/// Bytes of a file that are neither wanted nor holes.
pub(crate) fn held_of(manifest: &Manifest, file: u32, wanted: &ChunkSet, holes: &ChunkSet) -> u64 {
    let chunks = manifest.chunks_of(file);
    let len = manifest.get(file).map_or(0, |entry| entry.len());
    let missing =
        bytes_of(manifest, &wanted.within(chunks.clone())) + bytes_of(manifest, &holes.within(chunks));
    len.saturating_sub(missing)
}

/// Bytes of these chunks.
pub(crate) fn bytes_of(manifest: &Manifest, chunks: &ChunkSet) -> u64 {
    let mut bytes = 0;
    let mut at = 0;
    while let Some(range) = chunks.next_from(at) {
        let Some(file) = manifest.file_of(range.start) else { break };
        let own = manifest.chunks_of(file);
        let end = range.end.min(own.end);
        bytes += (end - range.start) * CHUNK_LEN as u64;
        if end == own.end {
            bytes -= CHUNK_LEN as u64 - manifest.chunk_len(end - 1) as u64;
        }
        at = end;
    }
    bytes
}

pub(crate) fn misbehaved(what: &str) -> LinkError {
    LinkError::Misbehaved(what.to_owned())
}
