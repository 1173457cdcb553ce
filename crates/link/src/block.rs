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

/// A block of frames. Shared by reference count; written only while nobody else holds it.
pub struct Block {
    bytes: Box<[u8]>,
}

impl Block {
    fn new() -> Arc<Self> {
        Arc::new(Self { bytes: vec![0; BLOCK_LEN].into_boxed_slice() })
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

/// Blocks that come back by themselves once nobody holds them any more.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    blocks: Vec<Arc<Block>>,
}

impl Pool {
    /// A block that nobody else holds.
    pub(crate) fn take(&mut self) -> Arc<Block> {
        match self.blocks.iter().position(|block| Arc::strong_count(block) == 1) {
            Some(free) => self.blocks.swap_remove(free),
            None => Block::new(),
        }
    }

    /// Gives a block back, whoever still holds it.
    pub(crate) fn give(&mut self, block: Arc<Block>) {
        if self.blocks.len() < POOL_LEN {
            self.blocks.push(block);
        }
    }
}

/// Chunks with numbers in a row, in a block that can be kept and handed on without copying them.
#[derive(Debug, Clone)]
pub struct ChunkRun {
    block: Arc<Block>,
    first: u64,
    payloads: Vec<Range<u32>>,
}

impl ChunkRun {
    pub(crate) fn new(block: &Arc<Block>, first: u64, payloads: Vec<Range<u32>>) -> Self {
        Self { block: Arc::clone(block), first, payloads }
    }

    /// The numbers of the chunks.
    #[must_use]
    pub fn chunks(&self) -> Range<u64> {
        self.first..self.first + self.payloads.len() as u64
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.payloads.iter().map(|payload| u64::from(payload.end - payload.start)).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// The chunks' bytes, in order.
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.payloads.iter().map(|payload| &self.block.bytes()[payload.start as usize..payload.end as usize])
    }

    /// The first `chunks` of them, and the rest.
    #[must_use]
    pub fn split_at(mut self, chunks: usize) -> (Self, Self) {
        let rest = self.payloads.split_off(chunks.min(self.payloads.len()));
        let first = self.first + self.payloads.len() as u64;
        let rest = Self { block: Arc::clone(&self.block), first, payloads: rest };
        (self, rest)
    }
}
