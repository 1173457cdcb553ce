//! Telling the sums of chunks that the receiver may have already.

use std::ops::Range;

use framing::{CHUNK_LEN, ChunkSet, MAX_SUMS, Message, Part, Sums, crc32c};
use link::Link;

use super::Sending;
use crate::SessionError;
use crate::events::Event;

/// Chunks that are read at a time for their sums.
const STEP: u64 = 64;

impl Sending<'_> {
    pub(super) fn send_sums(&mut self, link: &mut dyn Link, set: &ChunkSet) -> Result<(), SessionError> {
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
    pub(super) fn push_sums(&mut self, chunks: Range<u64>, buffer: &mut [u8], sums: &mut Vec<u8>) -> u64 {
        let Some(file) = self.manifest.file_of(chunks.start) else { return chunks.end };
        let own = self.manifest.chunks_of(file);
        let end = chunks.end.min(own.end);
        let last = self.manifest.chunk_len(end - 1);
        let buffer = &mut buffer[..(end - chunks.start - 1) as usize * CHUNK_LEN + last];
        let readable = self
            .opened(file)
            .and_then(|source| {
                source.content.read_exact_at(buffer, (chunks.start - own.start) * CHUNK_LEN as u64)
            })
            .is_ok();
        for chunk in buffer.chunks(CHUNK_LEN) {
            sums.extend_from_slice(&if readable { crc32c(chunk) } else { 0 }.to_be_bytes());
        }
        end
    }
}
