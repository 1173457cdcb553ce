//! Chunk numbers of one transfer, and those of the connection.
//!
//! The transfers of a connection share one row of numbers, so that a late part of one can't be taken for a part of
//! another. Source and sink count from the start of their transfer; all else here counts from the start of the connection.

use std::io::IoSliceMut;
use std::ops::ControlFlow;

use framing::packet::MAX_CHUNK;
use framing::{ChunkSet, Message};

use crate::block::ChunkRun;
use crate::{ChunkSink, ChunkSource, Filled, LinkError, LinkStats, Talk};

/// Which numbers the transfer of now has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    /// The number of its first chunk.
    base: u64,
    /// The number after its last one.
    end: u64,
}

impl Numbers {
    /// Goes on to a transfer of so many chunks.
    pub(super) fn advance(&mut self, chunks: u64) -> Result<(), LinkError> {
        let end = self.end.checked_add(chunks).filter(|end| *end <= MAX_CHUNK);
        let end = end.ok_or(LinkError::TooManyChunks)?;
        *self = Self { base: self.end, end };
        Ok(())
    }

    /// Whether no transfer has taken any.
    pub(super) const fn is_unused(self) -> bool {
        self.end == 0
    }

    /// The number of the transfer's first chunk.
    pub(super) const fn base(self) -> u64 {
        self.base
    }

    /// The same chunks, counted from the start of the connection.
    pub(super) fn absolute(self, chunks: &ChunkSet) -> ChunkSet {
        chunks.ranges().map(|range| range.start + self.base..range.end + self.base).collect()
    }

    /// The same chunks, counted from the start of the transfer.
    pub(super) fn relative(self, chunks: &ChunkSet) -> ChunkSet {
        let own = chunks.within(self.base..u64::MAX);
        own.ranges().map(|range| range.start - self.base..range.end - self.base).collect()
    }
}

/// A source or sink that is spoken to in the connection's numbers.
pub(super) struct Shifted<'a, T: ?Sized> {
    inner: &'a mut T,
    base: u64,
}

impl<'a, T: ?Sized> Shifted<'a, T> {
    pub(super) const fn new(inner: &'a mut T, numbers: Numbers) -> Self {
        Self { inner, base: numbers.base }
    }
}

impl<T: Talk + ?Sized> Talk for Shifted<'_, T> {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.inner.outgoing(send)
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        self.inner.incoming(message)
    }

    fn stats(&mut self, stats: &LinkStats) {
        self.inner.stats(stats);
    }
}

impl<T: ChunkSource + ?Sized> ChunkSource for Shifted<'_, T> {
    fn chunk_len(&self, chunk: u64) -> usize {
        chunk.checked_sub(self.base).map_or(0, |chunk| self.inner.chunk_len(chunk))
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        match self.inner.read(first.saturating_sub(self.base), slots) {
            Filled::Skip(next) => Filled::Skip(next.saturating_add(self.base)),
            filled => filled,
        }
    }

    fn sent(&mut self, run: ChunkRun) {
        self.inner.sent(run.down_by(self.base));
    }

    fn reread(&mut self, chunk: u64, buffer: &mut [u8]) -> bool {
        chunk.checked_sub(self.base).is_some_and(|chunk| self.inner.reread(chunk, buffer))
    }
}

impl<T: ChunkSink + ?Sized> ChunkSink for Shifted<'_, T> {
    fn chunk_len(&self, chunk: u64) -> usize {
        chunk.checked_sub(self.base).map_or(0, |chunk| self.inner.chunk_len(chunk))
    }

    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError> {
        self.inner.write(run.down_by(self.base))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_transfers_share_a_number() {
        let mut numbers = Numbers::default();
        numbers.advance(10).unwrap();
        assert_eq!((numbers.base(), numbers.end), (0, 10));
        numbers.advance(0).unwrap();
        numbers.advance(3).unwrap();
        assert_eq!((numbers.base(), numbers.end), (10, 13));
        let own = ChunkSet::from(0..3);
        assert_eq!(numbers.absolute(&own), ChunkSet::from(10..13));
        assert_eq!(numbers.relative(&numbers.absolute(&own)), own);
        assert!(matches!(numbers.advance(MAX_CHUNK), Err(LinkError::TooManyChunks)));
        assert!(matches!(numbers.advance(u64::MAX), Err(LinkError::TooManyChunks)));
        numbers.advance(MAX_CHUNK - 13).unwrap();
        assert!(matches!(numbers.advance(1), Err(LinkError::TooManyChunks)));
    }
}
