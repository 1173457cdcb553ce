//! Reading chunks for the link, and what is said between them.

use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use framing::{CHUNK_LEN, Message};
use link::{ChunkRun, ChunkSource, Filled, LinkError, Talk};

use super::{Ending, Sending};
use crate::events::Event;
use crate::hello::out_of_place;
use crate::history::Progress;
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
        self.moved.entry(file).or_insert_with(Progress::begin).add(bytes);
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
