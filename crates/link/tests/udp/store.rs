//! Where the chunks of these tests come from, and where they go.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::ops::{ControlFlow, Range};

use framing::{CHUNK_LEN, Message, Part};
use link::{ChunkRun, ChunkSink, ChunkSource, Filled, LinkError, LinkStats, Talk};

/// Which chunks are short, and how short.
pub(crate) type Lens = BTreeMap<u64, usize>;

pub(crate) fn content(chunk: u64, len: usize) -> Vec<u8> {
    let mut state = chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
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
        let bytes: Vec<u8> = run.payloads().flatten().copied().collect();
        let expected: Vec<u8> =
            run.chunks().flat_map(|chunk| content(chunk, len_of(&self.lens, chunk))).collect();
        assert!(bytes == expected, "chunks {:?}", run.chunks());
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
    /// What is here of each chunk.
    pub(crate) here: BTreeMap<u64, Vec<Option<u8>>>,
    pub(crate) complete: BTreeSet<u64>,
    pub(crate) runs: usize,
    pub(crate) heard: usize,
    pub(crate) to_say: usize,
    pub(crate) stats: Vec<LinkStats>,
    /// Of a plain transfer: bytes may be wrong.
    pub(crate) lenient: bool,
}

impl Sink {
    /// The chunks that are here whole and as they were sent.
    pub(crate) fn whole(&self) -> BTreeSet<u64> {
        let is_whole = |(chunk, bytes): (&u64, &Vec<Option<u8>>)| {
            let expected = content(*chunk, len_of(&self.lens, *chunk));
            (bytes.len() == expected.len() && bytes.iter().zip(&expected).all(|(a, b)| *a == Some(*b)))
                .then_some(*chunk)
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
        let mut expected = content(chunk, len_of(&self.lens, chunk));
        for byte in run.payloads().flatten() {
            if at == expected.len() {
                if expected.len() < CHUNK_LEN {
                    assert!(
                        run.completes().contains(&chunk),
                        "over the end of a short chunk that is not whole"
                    );
                }
                (chunk, at) = (chunk + 1, 0);
                expected = content(chunk, len_of(&self.lens, chunk));
            }
            assert!(self.lenient || *byte == expected[at], "byte {at} of chunk {chunk}");
            let here = self.here.entry(chunk).or_insert_with(|| vec![None; expected.len()]);
            assert!(here[at].replace(*byte).is_none(), "byte {at} of chunk {chunk} comes twice");
            at += 1;
        }
        for chunk in run.completes() {
            assert!(self.complete.insert(chunk), "chunk {chunk} is completed twice");
            assert!(self.here[&chunk].iter().all(Option::is_some), "chunk {chunk} is not complete");
        }
        Ok(())
    }
}
