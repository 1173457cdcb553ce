//! Chunks that were read ahead of being sent.
//!
//! They lie in blocks, each chunk with room before and behind it for what makes it a datagram, so that a chunk that goes
//! out in one datagram is never moved. The same block goes to the source once all of it is out, for the hasher.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::Arc;

use framing::ChunkSet;
use framing::packet::{CRC_LEN, DATA_HEADER_LEN, part_header_len};

use super::account::Account;
use super::socket::MAX_BATCH_LEN;
use crate::block::{BLOCK_LEN, Block, ChunkRun, Pool};
use crate::{ChunkSource, Filled};

/// Chunks that are read at a time: four full batches of whole chunks.
const BLOCK_CHUNKS: usize = 60;
/// Blocks that are held for parts that go out, and for those that go out again at once.
const MOST_BLOCKS: usize = 3;

const _: () =
    assert!(BLOCK_CHUNKS * (header_room(u32::MAX as u64) + framing::CHUNK_LEN + CRC_LEN) <= BLOCK_LEN);
const _: () =
    assert!(BLOCK_CHUNKS / 4 * (header_room(u64::MAX >> 2) + framing::CHUNK_LEN + CRC_LEN) <= MAX_BATCH_LEN);

/// Bytes before a chunk that goes out whole in one datagram.
pub(super) const fn header_room(chunk: u64) -> usize {
    DATA_HEADER_LEN + part_header_len(chunk)
}

/// Why nothing more was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// The source has something to say first.
    Pause,
    /// The chunk can't be had, or is not wanted.
    Gone,
}

/// Chunks that were read, and are not all out yet.
#[derive(Debug)]
struct Staged {
    block: Arc<Block>,
    runs: Vec<Run>,
    /// Whether the source was told that they are out.
    told: bool,
}

/// Chunks in a row.
#[derive(Debug)]
struct Run {
    first: u64,
    payloads: Vec<Range<u32>>,
}

impl Run {
    const fn end(&self) -> u64 {
        self.first + self.payloads.len() as u64
    }
}

/// Names a block for as long as it is held.
pub(super) type BlockNumber = usize;

/// The chunks that were read ahead.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    wanted: &'a ChunkSet,
    /// The next chunk to read.
    next: u64,
    blocks: VecDeque<Staged>,
    /// The number of the first of them.
    base: BlockNumber,
    /// Chunks that can't be had, to be told to the connection.
    gone: Vec<Range<u64>>,
}

impl<'a> Stage<'a> {
    pub(super) const fn new(wanted: &'a ChunkSet) -> Self {
        Self { wanted, next: 0, blocks: VecDeque::new(), base: 0, gone: Vec::new() }
    }

    /// Where a chunk's bytes are, if it is staged.
    pub(super) fn find(&self, chunk: u64) -> Option<(BlockNumber, Range<usize>)> {
        self.blocks.iter().enumerate().rev().find_map(|(at, staged)| {
            let run = staged.runs.iter().find(|run| (run.first..run.end()).contains(&chunk))?;
            let payload = run.payloads.get((chunk - run.first) as usize)?;
            Some((self.base + at, payload.start as usize..payload.end as usize))
        })
    }

    /// The bytes of a block.
    pub(super) fn bytes(&self, number: BlockNumber) -> &[u8] {
        self.blocks.get(number.wrapping_sub(self.base)).map_or(&[], |staged| staged.block.bytes())
    }

    /// The bytes of a block of which nothing was handed on yet.
    pub(super) fn bytes_mut(&mut self, number: BlockNumber) -> Option<&mut [u8]> {
        let staged = self.blocks.get_mut(number.wrapping_sub(self.base))?;
        Arc::get_mut(&mut staged.block).map(Block::bytes_mut)
    }

    /// The chunks of the block that was read last, and their bytes.
    pub(super) fn newest(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.back().into_iter().flat_map(|staged| {
            staged.runs.iter().flat_map(|run| (run.first..).zip(&run.payloads)).map(|(chunk, payload)| {
                (chunk, &staged.block.bytes()[payload.start as usize..payload.end as usize])
            })
        })
    }

    /// Sees to it that a chunk that was never sent is staged, with all before it.
    pub(super) fn read_to(
        &mut self,
        chunk: u64,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(BlockNumber, Range<usize>), Short> {
        loop {
            if let Some(found) = self.find(chunk) {
                return Ok(found);
            }
            if chunk < self.next {
                return Err(Short::Gone);
            }
            self.read_block(source, pool, account)?;
        }
    }

    /// Reads the next block: fails when not a chunk is in it.
    pub(super) fn read_block(
        &mut self,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), Short> {
        let mut block = pool.take();
        let mut runs: Vec<Run> = Vec::new();
        let (mut used, mut chunks) = (0, 0);
        let mut short = Short::Gone;
        // Nobody else holds a block that the pool gave out.
        let bytes = Arc::get_mut(&mut block).map_or(&mut [][..], Block::bytes_mut);
        while chunks < BLOCK_CHUNKS {
            let Some(range) = self.wanted.next_from(self.next) else { break };
            let most = range.end.min(range.start + (BLOCK_CHUNKS - chunks) as u64);
            let (payloads, filled) = account.disk(|| fill(bytes, used, range.start..most, source));
            match filled {
                Filled::Slots(1..) => self.next = range.start + payloads.len() as u64,
                Filled::Skip(next) => {
                    let next = next.max(range.start + 1);
                    self.gone.push(range.start..next);
                    self.next = next;
                }
                Filled::Slots(0) | Filled::Pause => {
                    short = Short::Pause;
                    break;
                }
            }
            let Some(last) = payloads.last() else { continue };
            used = last.end as usize + CRC_LEN;
            chunks += payloads.len();
            match runs.last_mut() {
                Some(run) if run.end() == range.start => run.payloads.extend(payloads),
                _ => runs.push(Run { first: range.start, payloads }),
            }
        }
        if runs.is_empty() {
            pool.give(block);
            return Err(short);
        }
        self.blocks.push_back(Staged { block, runs, told: false });
        Ok(())
    }

    /// Tells the source of the blocks of which everything below `end` is all, that they are out.
    pub(super) fn hand_on(
        &mut self,
        end: u64,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) {
        for staged in &mut self.blocks {
            if staged.told || staged.runs.last().is_some_and(|run| run.end() > end) {
                continue;
            }
            staged.told = true;
            for run in &staged.runs {
                let chunks = run.first..run.end();
                let sent = ChunkRun::new(&staged.block, run.first, 0, run.payloads.clone(), chunks);
                account.hashing(|| source.sent(sent));
            }
        }
        while self.blocks.len() >= MOST_BLOCKS && self.blocks.front().is_some_and(|staged| staged.told) {
            if let Some(staged) = self.blocks.pop_front() {
                self.base += 1;
                pool.give(staged.block);
            }
        }
    }

    /// Takes note that a chunk can't be had any more.
    pub(super) fn give_up(&mut self, chunk: u64) {
        self.gone.push(chunk..chunk + 1);
    }

    /// Chunks that turned out not to be had since the last time.
    pub(super) fn take_gone(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.gone)
    }
}

/// Lays out chunks, as many as fit, behind `bytes[..used]` with room for what makes datagrams of them, and has the source
/// fill them.
fn fill(
    bytes: &mut [u8],
    used: usize,
    chunks: Range<u64>,
    source: &mut dyn ChunkSource,
) -> (Vec<Range<u32>>, Filled) {
    let mut payloads = Vec::with_capacity((chunks.end - chunks.start) as usize);
    let mut slots: Vec<IoSliceMut<'_>> = Vec::with_capacity(payloads.capacity());
    let (mut at, mut rest) = (used, &mut bytes[used..]);
    for chunk in chunks.clone() {
        let (header, len) = (header_room(chunk), source.chunk_len(chunk));
        let Some((here, after)) = rest.split_at_mut_checked(header + len + CRC_LEN) else { break };
        slots.push(IoSliceMut::new(&mut here[header..header + len]));
        payloads.push((at + header) as u32..(at + header + len) as u32);
        at += header + len + CRC_LEN;
        rest = after;
    }
    let filled = source.read(chunks.start, &mut slots);
    match filled {
        Filled::Slots(filled) => payloads.truncate(filled),
        Filled::Skip(_) | Filled::Pause => payloads.clear(),
    }
    (payloads, filled)
}
