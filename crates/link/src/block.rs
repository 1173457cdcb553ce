//! Blocks of memory that hold many frames, and that the socket, the disk and the hasher share without copying.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use framing::CHUNK_LEN;
use framing::frame::HEADER_LEN;

/// Chunks that fit a block.
pub(crate) const BLOCK_CHUNKS: usize = 64;
/// Bytes of a block: 64 chunk frames. Large enough that system calls don't count, small enough to stay in a core's cache.
pub(crate) const BLOCK_LEN: usize = BLOCK_CHUNKS * (HEADER_LEN + CHUNK_LEN);
/// The most blocks that a pool keeps for later.
const POOL_LEN: usize = 16;

/// A block of frames or datagrams. Shared by reference count; written only while nobody else holds it.
pub struct Block {
    bytes: Box<[u8]>,
}

impl Block {
    /// A block of these bytes, as many as they are.
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into_boxed_slice() })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Block")
    }
}

/// Blocks of [`BLOCK_LEN`] bytes that come back by themselves once nobody holds them any more.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    blocks: Vec<Arc<Block>>,
}

impl Pool {
    /// A block that nobody else holds.
    pub(crate) fn take(&mut self) -> Arc<Block> {
        match self.blocks.iter().position(|block| Arc::strong_count(block) == 1) {
            Some(free) => self.blocks.swap_remove(free),
            None => Block::from_vec(vec![0; BLOCK_LEN]),
        }
    }

    /// Gives a block back, whoever still holds it.
    pub(crate) fn give(&mut self, block: Arc<Block>) {
        if self.blocks.len() < POOL_LEN {
            self.blocks.push(block);
        }
    }
}

/// Bytes in a row of the chunk space, in a block that can be kept and handed on without copying them.
///
/// A run may begin and end inside a chunk. A slice of its bytes may hold several chunks, or a piece of one. It passes over
/// the end of a chunk that is shorter than [`CHUNK_LEN`], the last one of a file, only where that chunk is
/// [complete](Self::completes).
#[derive(Debug, Clone)]
pub struct ChunkRun {
    block: Arc<Block>,
    first: u64,
    skip: u32,
    payloads: Vec<Range<u32>>,
    complete: Range<u64>,
}

impl ChunkRun {
    /// A run of the bytes in these `payloads` of a block, the first of them byte `skip` of chunk `first`. With it nothing is
    /// missing any more of the chunks `complete`.
    pub(crate) fn new(
        block: &Arc<Block>,
        first: u64,
        skip: u32,
        payloads: Vec<Range<u32>>,
        complete: Range<u64>,
    ) -> Self {
        Self { block: Arc::clone(block), first, skip, payloads, complete }
    }

    /// A run in a block of its own: see [`ChunkRun::first`], [`ChunkRun::skip`] and [`ChunkRun::completes`].
    #[must_use]
    pub fn of_bytes(bytes: Vec<u8>, first: u64, skip: u32, complete: Range<u64>) -> Self {
        let all = 0..bytes.len() as u32;
        let payloads = if all.is_empty() { Vec::new() } else { vec![all] };
        Self { block: Block::from_vec(bytes), first, skip, payloads, complete }
    }

    /// The number of the chunk that it begins in.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of that chunk that lie before it.
    #[must_use]
    pub const fn skip(&self) -> u32 {
        self.skip
    }

    /// Where it begins, in bytes from the start of its file, whose first chunk is `file`.
    #[must_use]
    pub const fn offset_from(&self, file: u64) -> u64 {
        (self.first - file) * CHUNK_LEN as u64 + self.skip as u64
    }

    /// The numbers of the chunks that it has bytes of.
    #[must_use]
    pub fn chunks(&self) -> Range<u64> {
        // Where all of them are complete some may be short; elsewhere only the last one is.
        let touched = (u64::from(self.skip) + self.len()).div_ceil(CHUNK_LEN as u64);
        self.first..(self.first + touched).max(self.complete.end)
    }

    /// The numbers of the chunks of which nothing is missing any more, with this run. A run of pieces may complete none.
    #[must_use]
    pub fn completes(&self) -> Range<u64> {
        self.complete.clone()
    }

    /// The same bytes under chunk numbers that are lower by `base`.
    pub(crate) const fn down_by(mut self, base: u64) -> Self {
        self.first = self.first.saturating_sub(base);
        self.complete.start = self.complete.start.saturating_sub(base);
        self.complete.end = self.complete.end.saturating_sub(base);
        self
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.payloads.iter().map(|payload| u64::from(payload.end - payload.start)).sum()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// The bytes, in order.
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.payloads.iter().map(|payload| &self.block.bytes()[payload.start as usize..payload.end as usize])
    }

    /// The first `len` bytes of it, and the rest if there is one, which starts with chunk `next`.
    #[must_use]
    pub fn split_at(mut self, len: u64, next: u64) -> (Self, Option<Self>) {
        let mut before = 0;
        for at in 0..self.payloads.len() {
            let payload = self.payloads[at].clone();
            let end = before + u64::from(payload.end - payload.start);
            if end > len {
                let cut = payload.start + (len - before) as u32;
                let mut payloads = self.payloads.split_off(at);
                payloads[0].start = cut;
                if cut > payload.start {
                    self.payloads.push(payload.start..cut);
                }
                let complete = self.complete.start.max(next)..self.complete.end;
                self.complete.end = self.complete.end.min(next);
                let block = Arc::clone(&self.block);
                return (self, Some(Self { block, first: next, skip: 0, payloads, complete }));
            }
            before = end;
        }
        (self, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(run: &ChunkRun) -> Vec<u8> {
        run.payloads().flatten().copied().collect()
    }

    #[test]
    fn a_run_of_pieces_tells_where_it_lies() {
        let run = ChunkRun::of_bytes(vec![7; 5000], 12, 128, 12..13);
        assert_eq!((run.first(), run.skip(), run.len(), run.chunks()), (12, 128, 5000, 12..14));
        assert_eq!((run.offset_from(10), run.completes()), (2 * 4096 + 128, 12..13));
        let piece = ChunkRun::of_bytes(vec![7; 128], 12, 4096 - 128, 0..0);
        assert_eq!((piece.chunks(), piece.completes().is_empty()), (12..13, true));
        let nothing = ChunkRun::of_bytes(Vec::new(), 12, 0, 0..0);
        assert_eq!((nothing.chunks(), nothing.len(), nothing.is_empty()), (12..12, 0, true));
    }

    #[test]
    fn a_run_is_cut_where_a_file_ends() {
        let block = Block::from_vec((0..100).collect());
        // Chunk 3 is the last one of its file and has 30 bytes; 4 and 5 have 10 and more than 20.
        let run = || ChunkRun::new(&block, 3, 0, vec![0..20, 30..40, 50..60, 70..90], 3..5);
        let (before, after) = run().split_at(30, 4);
        assert_eq!((bytes(&before), before.chunks()), ((0..20).chain(30..40).collect(), 3..4));
        assert_eq!(before.completes(), 3..4);
        let (before, after) = after.unwrap().split_at(10, 5);
        assert_eq!((bytes(&before), before.chunks(), before.completes()), ((50..60).collect(), 4..5, 4..5));
        let after = after.unwrap();
        assert_eq!((bytes(&after), after.first(), after.skip()), ((70..90).collect(), 5, 0));
        assert!(after.completes().is_empty());
        assert!(after.split_at(20, 6).1.is_none());
    }

    #[test]
    fn a_run_is_cut_inside_a_payload() {
        let (before, after) = ChunkRun::of_bytes((0..100).collect(), 8, 4000, 8..9).split_at(96, 9);
        let after = after.unwrap();
        assert_eq!((bytes(&before), bytes(&after)), ((0..96).collect(), (96..100).collect()));
        assert_eq!((before.completes(), after.completes().is_empty()), (8..9, true));
        assert_eq!((after.first(), after.skip()), (9, 0));
        let (nothing, all) = after.split_at(0, 10);
        assert_eq!((nothing.len(), all.unwrap().len()), (0, 4));
    }
}
