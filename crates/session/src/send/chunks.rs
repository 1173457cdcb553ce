//! Reading chunks for the link, and what is said between them.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use framing::{CHUNK_LEN, Message, Part};
use link::{ChunkRun, ChunkSource, Filled, LinkError, LinkStats, Talk};

use super::{Ending, Sending};
use crate::events::Event;
use crate::hello::out_of_place;
use crate::history::Progress;
use crate::sets::cut_file;
use crate::source::SourceFile;

/// Files that are begun before what is known of the earlier ones is told.
const MAX_BEGUN: usize = 64;

impl Talk for Sending<'_> {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.begun = 0;
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
            // The receiver may have all that it wants before this side knows.
            Message::End(Part::Transfer) => {
                self.hear_end()?;
                return Ok(ControlFlow::Break(()));
            }
            other => return Err(out_of_place(&other)),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn stats(&mut self, stats: &LinkStats) {
        self.path.tell(self.caller.observer, stats);
    }
}

impl ChunkSource for Sending<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.manifest.chunk_len(chunk)
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        let Some(file) = self.manifest.file_of(first) else { return Filled::Skip(self.manifest.chunks()) };
        let chunks = self.manifest.chunks_of(file);
        if self.is_judged(file) || self.has_failed(file) {
            self.reading.remove(&file);
            return Filled::Skip(chunks.end);
        }
        // So many small files at a time, and their digests in between: neither side has more of them open than that.
        let is_new = self.open.as_ref().is_none_or(|(open, _)| *open != file);
        if is_new && self.begun == MAX_BEGUN {
            return Filled::Pause;
        }
        self.begun += usize::from(is_new);
        let streamed = self.is_streamed(file);
        let count = slots.len().min((chunks.end - first) as usize);
        let offset = (first - chunks.start) * CHUNK_LEN as u64;
        let ending = match self.opened(file) {
            Ok(source) if source.changed => Ending::Changed,
            Ok(source) => match source.content.read_slots(offset, &mut slots[..count]) {
                Ok(()) => {
                    if streamed {
                        self.reading.entry(file).or_insert(source);
                    }
                    return Filled::Slots(count);
                }
                Err(error) => Ending::of(&error),
            },
            Err(error) => Ending::of(&error),
        };
        self.give_up(file, ending);
        Filled::Skip(chunks.end)
    }

    fn sent(&mut self, run: ChunkRun) {
        let mut rest = Some(run);
        while let Some((file, run, after)) = rest.and_then(|run| cut_file(&self.manifest, run)) {
            self.sent_of(file, run);
            rest = after;
        }
    }

    fn reread(&mut self, chunk: u64, buffer: &mut [u8]) -> bool {
        let Some(file) = self.manifest.file_of(chunk) else { return false };
        if self.is_judged(file) || self.has_failed(file) {
            return false;
        }
        let offset = (chunk - self.manifest.chunks_of(file).start) * CHUNK_LEN as u64;
        let read = self.reopened(file).and_then(|source| {
            source.content.read_exact_at(buffer, offset)?;
            Ok(source)
        });
        let ending = match read {
            // Once the digest is known it decides: the receiver may have the chunk already, and only its word of that was
            // lost. If it has not, it asks in the next round, and hears then what is wrong.
            Ok(_) if self.has_digest(file) => return true,
            Err(_) if self.has_digest(file) => return false,
            Ok(source) if source.is_unchanged() => return true,
            Ok(_) => Ending::Changed,
            Err(error) => Ending::of(&error),
        };
        self.give_up(file, ending);
        false
    }
}

impl Sending<'_> {
    /// Takes note that bytes of one file were handed to the link.
    fn sent_of(&mut self, file: u32, run: ChunkRun) {
        let bytes = run.len();
        self.moved.entry(file).or_insert_with(Progress::begin).add(bytes);
        self.summary.moved += bytes;
        if let Some(entry) = self.manifest.get(file) {
            self.caller.observer.event(&Event::Moved { bytes, path: OsStr::from_bytes(entry.path) });
        }
        if self.is_streamed(file) && self.reading.contains_key(&file) {
            let end = run.offset_from(self.manifest.chunks_of(file).start) + bytes;
            self.hashing.stream(file, run);
            if self.manifest.get(file).is_some_and(|entry| entry.len() == end) {
                self.hashing.finish_stream(file);
            }
        }
    }

    /// A file's source, to read chunks of it again: it neither counts as begun nor takes the place of the one that is read.
    fn reopened(&mut self, file: u32) -> io::Result<SourceFile> {
        if let Some(source) = self.reading.get(&file) {
            return Ok(source.clone());
        }
        for known in [&self.open, &self.again] {
            if let Some((open, source)) = known
                && *open == file
            {
                return Ok(source.clone());
            }
        }
        let item = self.items.get(file as usize).copied().unwrap_or_default();
        let source = self.sources.open(item)?;
        self.again = Some((file, source.clone()));
        Ok(source)
    }

    /// Sends nothing more of a file that can't be had any more, and tells the receiver so.
    fn give_up(&mut self, file: u32, ending: Ending) {
        self.reading.remove(&file);
        self.hashing.forget(file);
        self.followed.remove(&file);
        self.untold.push((file, ending));
    }

    fn endings_of(&self, file: u32) -> impl Iterator<Item = &Ending> {
        let untold = self.untold.iter().filter(move |(known, _)| *known == file).map(|(_, ending)| ending);
        self.told.get(&file).into_iter().chain(untold)
    }

    /// Whether it is known that a file has changed or can't be read.
    fn has_failed(&self, file: u32) -> bool {
        self.endings_of(file).any(|ending| !matches!(ending, Ending::Digest(_)))
    }

    /// Whether a file's digest is known.
    fn has_digest(&self, file: u32) -> bool {
        self.endings_of(file).any(|ending| matches!(ending, Ending::Digest(_)))
    }
}
