//! Where the chunks of these tests come from, and where they go.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::ops::{ControlFlow, Range};

use framing::{CHUNK_LEN, Message, Part};
use link::{ChunkRun, ChunkSink, ChunkSource, Filled, LinkError, LinkStats, Talk};

/// After so many bytes they repeat: not a whole number of units.
const PERIOD: usize = 200;

/// Which chunks are short, and how short.
pub(crate) type Lens = BTreeMap<u64, usize>;

/// Bytes that tell their chunk, and their place in it.
pub(crate) fn content(chunk: u64, len: usize) -> Vec<u8> {
    let mut state = chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pattern = Vec::with_capacity(PERIOD);
    while pattern.len() < PERIOD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        pattern.extend_from_slice(&state.to_le_bytes());
    }
    let mut bytes = pattern.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    bytes
}

fn len_of(lens: &Lens, chunk: u64) -> usize {
    lens.get(&chunk).copied().unwrap_or(CHUNK_LEN)
}

/// Makes chunks whose bytes tell their number.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) lens: Lens,
    /// Chunks that can't be had, not the first time either.
    pub(crate) gone: Vec<Range<u64>>,
    /// Chunks that can be had only once.
    pub(crate) once: BTreeSet<u64>,
    /// Pauses before this many chunks.
    pub(crate) pauses: u64,
    /// Whether it was asked for something to say since the last read.
    pub(crate) fresh: bool,
    pub(crate) sent: Vec<u64>,
    pub(crate) reread: usize,
    pub(crate) heard: usize,
    pub(crate) to_say: usize,
    pub(crate) stats: Vec<LinkStats>,
}

impl Talk for Source {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.fresh = true;
        if self.to_say > 0 {
            self.to_say -= 1;
            send(&Message::Working)?;
        }
        Ok(())
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        self.heard += 1;
        Ok(if message == Message::End(Part::Want) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn stats(&mut self, stats: &LinkStats) {
        self.stats.push(*stats);
    }
}

impl ChunkSource for Source {
    fn chunk_len(&self, chunk: u64) -> usize {
        len_of(&self.lens, chunk)
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        if let Some(gone) = self.gone.iter().find(|gone| gone.contains(&first)) {
            return Filled::Skip(gone.end);
        }
        let fresh = std::mem::take(&mut self.fresh);
        if self.pauses > 0 && first.is_multiple_of(self.pauses) && !fresh {
            return Filled::Pause;
        }
        // Never all at once, and never over a place that can't be had.
        let limit = self.gone.iter().map(|gone| gone.start).filter(|start| *start > first).min();
        let count = slots.len().min(33).min(limit.map_or(usize::MAX, |limit| (limit - first) as usize));
        for (slot, chunk) in slots[..count].iter_mut().zip(first..) {
            slot.copy_from_slice(&content(chunk, len_of(&self.lens, chunk)));
        }
        Filled::Slots(count)
    }

    fn sent(&mut self, run: ChunkRun) {
        assert_eq!((run.skip(), run.completes()), (0, run.chunks()));
        assert!(self.sent.last().is_none_or(|last| *last < run.first()), "in ascending order");
        assert_eq!(run.payloads().len() as u64, run.completes().count() as u64);
        for (chunk, payload) in run.chunks().zip(run.payloads()) {
            assert!(*payload == content(chunk, len_of(&self.lens, chunk)), "chunk {chunk}");
        }
        self.sent.extend(run.chunks());
    }

    fn reread(&mut self, chunk: u64, buffer: &mut [u8]) -> bool {
        self.reread += 1;
        buffer.copy_from_slice(&content(chunk, len_of(&self.lens, chunk)));
        !self.once.contains(&chunk)
    }
}

/// Checks what comes.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) lens: Lens,
    /// What is here of each chunk: its bytes, and which of them have come.
    pub(crate) here: BTreeMap<u64, (Vec<u8>, Vec<bool>)>,
    pub(crate) complete: BTreeSet<u64>,
    pub(crate) runs: usize,
    pub(crate) heard: usize,
    pub(crate) to_say: usize,
    pub(crate) stats: Vec<LinkStats>,
    /// Of a plain transfer: bytes may be wrong.
    pub(crate) lenient: bool,
}

impl Sink {
    /// Takes bytes of one chunk.
    fn put(&mut self, chunk: u64, at: usize, piece: &[u8]) {
        let len = len_of(&self.lens, chunk);
        let (bytes, came) = self.here.entry(chunk).or_insert_with(|| (vec![0; len], vec![false; len]));
        let range = at..at + piece.len();
        assert!(!came[range.clone()].contains(&true), "{range:?} of chunk {chunk} comes twice");
        assert!(self.lenient || *piece == content(chunk, len)[range.clone()], "{range:?} of chunk {chunk}");
        came[range.clone()].fill(true);
        bytes[range].copy_from_slice(piece);
    }

    /// The chunks that are here whole and as they were sent.
    pub(crate) fn whole(&self) -> BTreeSet<u64> {
        let is_whole = |(chunk, (bytes, came)): (&u64, &(Vec<u8>, Vec<bool>))| {
            let expected = content(*chunk, len_of(&self.lens, *chunk));
            (*bytes == expected && !came.contains(&false)).then_some(*chunk)
        };
        self.here.iter().filter_map(is_whole).collect()
    }
}

impl Talk for Sink {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        if self.to_say > 0 {
            self.to_say -= 1;
            send(&Message::Working)?;
        }
        Ok(())
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        self.heard += 1;
        Ok(if message == Message::End(Part::Chunks) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    fn stats(&mut self, stats: &LinkStats) {
        self.stats.push(*stats);
    }
}

impl ChunkSink for Sink {
    fn chunk_len(&self, chunk: u64) -> usize {
        len_of(&self.lens, chunk)
    }

    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError> {
        self.runs += 1;
        let (mut chunk, mut at) = (run.first(), run.skip() as usize);
        for payload in run.payloads() {
            let mut rest = payload;
            while !rest.is_empty() {
                let whole = len_of(&self.lens, chunk);
                if at == whole {
                    let is_complete = run.completes().contains(&chunk);
                    assert!(
                        whole == CHUNK_LEN || is_complete,
                        "over the end of a short chunk that is not whole"
                    );
                    (chunk, at) = (chunk + 1, 0);
                    continue;
                }
                let (piece, after) = rest.split_at(rest.len().min(whole - at));
                self.put(chunk, at, piece);
                at += piece.len();
                rest = after;
            }
        }
        for chunk in run.completes() {
            assert!(self.complete.insert(chunk), "chunk {chunk} is completed twice");
            assert!(!self.here[&chunk].1.contains(&false), "chunk {chunk} is not complete");
        }
        Ok(())
    }
}
