//! The sending side of a transfer.

mod chunks;
mod outcomes;
mod sums;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use framing::{
    Checksum, ChunkSet, Decision, Digest, EntryKind, MAX_RANGES, Manifest, Message, Offer, Page, PageBuilder,
    Part,
};
use link::{Link, LinkError};

use crate::allowance::Allowance;
use crate::events::{Event, Faults, PathTeller, Side, Summary};
use crate::hashing::{Hashing, Report};
use crate::hello::{WORKING_INTERVAL, misbehaved, out_of_place};
use crate::history::{History, Progress};
use crate::sets::{SetOf, bytes_of, send_set};
use crate::source::{SourceFile, Sources};
use crate::{Caller, How, PutJob, SessionError};

/// How often a receiver may ask again.
const MAX_ROUNDS: u32 = 1000;

impl PutJob {
    /// Prepares to send these files, proving each with this checksum.
    #[must_use]
    pub fn new(sources: Sources, checksum: Checksum) -> Self {
        let skipped = sources.left_out();
        let summary = Summary { skipped, ..Summary::default() };
        let how = How { checksum, plain: false };
        Self { sources, how, history: History::default(), began: None, summary }
    }

    /// Sends each chunk once and repairs nothing: a demonstration of what a path does to what is sent over it. Only over UDP.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.how.plain = true;
        self
    }
}

/// Sends what a `Get` asked for. `patience`: how long the receiver may say that it works while it asks for nothing, its disk's
/// work not counted.
pub(crate) fn answer_get(
    link: &mut dyn Link,
    sources: &mut Sources,
    how: How,
    patience: Duration,
    caller: Caller<'_>,
) -> Result<Summary, SessionError> {
    let began = Instant::now();
    let skipped = sources.left_out();
    let mut history = History::default();
    let mut sending = Sending::announce(link, sources, &mut history, how, Message::Offer, caller)?;
    sending.patience = Some(patience);
    sending.run(link)?;
    let mut summary = Summary { skipped, elapsed: began.elapsed(), ..Summary::default() };
    summary.add(&sending.summary);
    Ok(summary)
}

pub(crate) struct Sending<'a> {
    sources: &'a mut Sources,
    history: &'a mut History,
    caller: Caller<'a>,
    how: How,
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
    /// Files that were begun since the last time there was something to tell.
    begun: usize,
    /// The file that was read last.
    open: Option<(u32, SourceFile)>,
    /// The file that was read again last, to repair what was lost on the way.
    again: Option<(u32, SourceFile)>,
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
    moved: BTreeMap<u32, Progress>,
    /// What the receiver says became of the chunks of a plain transfer.
    faults: Faults,
    /// Whether the receiver has said that the transfer is over.
    is_over: bool,
    /// How the link failed, when only the end of the chunks could not be told.
    lost: Option<LinkError>,
    began: Instant,
    path: PathTeller,
    /// How long the receiver may do nothing: `None` for ever.
    patience: Option<Duration>,
    pub(crate) summary: Summary,
}

#[derive(Debug)]
enum Ending {
    Digest(Digest),
    Changed,
    Unreadable(String),
}

impl Ending {
    /// How a file ended that could not be read to its end.
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Changed,
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// Tells each file and directory, and where the files have holes.
fn send_manifest(link: &mut dyn Link, manifest: &Manifest, holes: &ChunkSet) -> Result<(), LinkError> {
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
    send_set(link, holes, SetOf::Holes)?;
    link.send(&Message::End(Part::Manifest))
}

impl<'a> Sending<'a> {
    /// Tells the receiver what there is to send.
    pub(crate) fn announce(
        link: &mut dyn Link,
        sources: &'a mut Sources,
        history: &'a mut History,
        how: How,
        head: fn(Offer) -> Message<'static>,
        caller: Caller<'a>,
    ) -> Result<Self, SessionError> {
        let (manifest, items) = sources.manifest()?;
        // Plain: every chunk crosses the link, as a first program would do it.
        let holes = if how.plain { ChunkSet::new() } else { sources.holes(&manifest, &items) };
        let directories =
            manifest.iter().filter(|(_, entry)| entry.kind == EntryKind::Directory).count() as u64;
        caller.observer.event(&Event::Planned {
            side: Side::Sender,
            files: u64::from(manifest.len()) - directories,
            directories,
            bytes: manifest.bytes(),
            name: sources.title(),
        });
        // Before the first word of it, so that the path can be measured while the other side makes up its mind.
        link.expect_to_send(manifest.bytes() - bytes_of(&manifest, &holes));
        let How { checksum, plain } = how;
        link.begin_transfer(manifest.chunks())?;
        link.send(&head(Offer { checksum, plain, entries: manifest.len(), bytes: manifest.bytes() }))?;
        send_manifest(link, &manifest, &holes)?;

        let (hash, hashed) = channel();
        let report: Report = Arc::new(move |file, digest| {
            // Nobody listens any more when the session is over.
            let _ = hash.send((file, digest));
        });
        let hashing = Hashing::start(checksum, &report).map_err(SessionError::Thread)?;
        let entries = manifest.len() as usize;
        Ok(Self {
            sources,
            history,
            caller,
            how,
            faults: Faults { chunks: manifest.chunks(), ..Faults::default() },
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
            begun: 0,
            open: None,
            again: None,
            reading: BTreeMap::new(),
            followed: BTreeSet::new(),
            next_followed: 0,
            untold: Vec::new(),
            outstanding: 0,
            told: BTreeMap::new(),
            moved: BTreeMap::new(),
            is_over: false,
            lost: None,
            began: Instant::now(),
            path: PathTeller::default(),
            patience: None,
            summary: Summary::default(),
        })
    }

    /// Remembers what was moved of files that have no verdict yet.
    pub(crate) fn keep_history(&mut self) {
        for (file, progress) in std::mem::take(&mut self.moved) {
            if let Some(entry) = self.manifest.get(file) {
                self.history.keep(entry.path, progress);
            }
        }
    }

    /// Does what the receiver asks for, until it says that the transfer is over.
    pub(crate) fn run(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        let mut compare = ChunkSet::new();
        let mut allowance = Allowance::new(self.patience, self.manifest.bytes(), self.manifest.len());
        while !self.is_over {
            let message = allowance.recv(link).map_err(|error| self.lost.take().unwrap_or(error))?;
            match message {
                Message::Compare(page) if !self.how.plain => self.ask(&mut compare, page)?,
                Message::End(Part::Compare) if !self.how.plain => {
                    self.send_sums(link, &std::mem::take(&mut compare))?;
                }
                Message::Decisions(page) if self.round == 0 => {
                    for run in page.iter() {
                        let left = self.manifest.len() - self.decisions.len() as u32;
                        if run.count > left {
                            return Err(misbehaved("it decided about more files than there are").into());
                        }
                        allowance.told(run.count);
                        self.decisions.extend((0..run.count).map(|_| run.decision));
                    }
                }
                Message::Want(page) => {
                    let mut wanted = std::mem::take(&mut self.wanted);
                    self.ask(&mut wanted, page)?;
                    self.wanted = wanted;
                }
                Message::End(Part::Want) => {
                    let has_more = !self.wanted.is_empty();
                    self.send_wanted(link)?;
                    if has_more {
                        allowance.renew();
                    }
                }
                Message::Faults(fault, page) if self.how.plain => self.faults.hear(fault, page)?,
                Message::Stored(page) => {
                    self.hear_verdicts(page)?;
                    if page.iter().next().is_some() {
                        allowance.renew();
                    }
                }
                Message::Working => {}
                // Late words of a transfer that went the other way.
                Message::Sent(_) | Message::End(Part::Chunks) if self.decisions.is_empty() => {}
                Message::End(Part::Transfer) => self.hear_end()?,
                Message::Declined { refusal, text } => {
                    return Err(SessionError::Declined { refusal, text: text.to_owned() });
                }
                other => return Err(out_of_place(&other).into()),
            }
        }
        Ok(())
    }

    fn hear_end(&mut self) -> Result<(), LinkError> {
        self.is_over = true;
        if self.judged.iter().all(|judged| *judged) {
            return Ok(());
        }
        Err(misbehaved("it ended the transfer without a verdict on each file"))
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

    fn send_wanted(&mut self, link: &mut dyn Link) -> Result<(), SessionError> {
        if self.decisions.len() < self.manifest.len() as usize {
            return Err(misbehaved("it decided about fewer files than there are").into());
        }
        if self.how.plain && self.round > 0 {
            return Err(misbehaved("it asked again in a plain transfer").into());
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
        if self.how.plain {
            link.send_plain(&wanted, self)?;
        } else {
            link.send_chunks(&wanted, self)?;
        }
        while !self.is_over {
            self.follow_more();
            // What ended with the last chunk, too.
            self.tell(&mut |message| link.send(message))?;
            if self.outstanding == 0 {
                break;
            }
            match self.hashed.recv_timeout(WORKING_INTERVAL) {
                Ok((file, digest)) => self.take_digest(file, digest),
                Err(RecvTimeoutError::Timeout) => link.send(&Message::Working)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(SessionError::Thread(io::Error::other("the hashing thread ended")));
                }
            }
        }
        self.wanted = ChunkSet::new();
        self.open = None;
        self.again = None;
        self.round += 1;
        if !self.is_over
            && let Err(error) = link.send(&Message::End(Part::Chunks))
        {
            if !error.is_passing() {
                return Err(error.into());
            }
            // The receiver does not wait for it when it has everything: its last words may be here already.
            self.lost = Some(error);
        }
        Ok(())
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Made;
    use crate::script::{Deaf, Script, encoded};

    #[test]
    fn who_only_says_that_it_works_is_given_nothing_for_long() {
        let how = How { checksum: Checksum::Md5, plain: false };
        let caller = Caller { software: "test", observer: &Deaf };
        let mut sources = Sources::made(Made { length: 5, seed: 1 });
        let mut link = Script::new(std::iter::repeat_with(|| encoded(&Message::Working)));
        let given = answer_get(&mut link, &mut sources, how, Duration::ZERO, caller);
        assert!(matches!(given, Err(SessionError::Link(LinkError::Stalled(_)))), "{given:?}");
    }
}
