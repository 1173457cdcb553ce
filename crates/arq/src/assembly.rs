//! Which pieces of which chunks a receiver still lacks.

use std::collections::BTreeMap;
use std::ops::Range;

use framing::ChunkSet;
use framing::packet::{UNIT_LEN, UNITS_PER_CHUNK};

/// The most chunks of which some parts are here and some are not: what 1 GiB on its way may leave open.
const MAX_OPEN: usize = 1 << 18;

/// A piece of a part that is new: bytes in a row of the chunk space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The chunk that it begins in.
    pub chunk: u64,
    /// Where in that chunk, in bytes.
    pub skip: usize,
    /// Its bytes in the part's payload.
    pub range: Range<usize>,
    /// The chunks that nothing is missing of any more; possibly none.
    pub complete: Range<u64>,
}

/// Why a part can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// Nobody ever asked for it.
    #[error("it sent chunk {0}, which nobody asked for")]
    Unwanted(u64),
    /// It does not end where a unit or its chunk ends.
    #[error("it sent a part of chunk {0} that is cut wrongly")]
    Cut(u64),
    /// Too many chunks are begun and not finished.
    #[error("it began more than {MAX_OPEN} chunks without finishing them")]
    TooManyOpen,
}

/// The set arithmetic of a receiver. Lives as long as the connection, so that a late copy is told from a part that nobody
/// ever asked for.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Chunks that are not whole yet.
    wanted: ChunkSet,
    /// Chunks that were wanted at some time.
    known: ChunkSet,
    /// Of chunks that are here in part: the units that are here, a bit each.
    open: BTreeMap<u64, u32>,
}

impl Assembly {
    /// One that wants nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a pass in which these chunks are wanted.
    pub fn begin(&mut self, wanted: &ChunkSet) {
        self.wanted = wanted.clone();
        self.known.extend(wanted.ranges());
        self.open.clear();
    }

    /// The chunks that are not whole yet.
    #[must_use]
    pub const fn wanted(&self) -> &ChunkSet {
        &self.wanted
    }

    /// How many chunks are here in part.
    #[must_use]
    pub fn open_chunks(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Takes a part that begins at this unit of this chunk and has so many bytes: appends the pieces of it that are new.
    pub fn take(
        &mut self,
        chunk: u64,
        unit: u8,
        len: usize,
        chunk_len: &mut dyn FnMut(u64) -> usize,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), AssemblyError> {
        let (mut chunk, mut skip, mut at) = (chunk, usize::from(unit) * UNIT_LEN, 0);
        while at < len {
            if !self.wanted.contains(chunk) && !self.known.contains(chunk) {
                return Err(AssemblyError::Unwanted(chunk));
            }
            let whole = chunk_len(chunk);
            let here = whole.saturating_sub(skip).min(len - at);
            let ends_well = skip + here == whole || here.is_multiple_of(UNIT_LEN);
            if here == 0 || !ends_well {
                return Err(AssemblyError::Cut(chunk));
            }
            if self.wanted.contains(chunk) {
                self.take_from(chunk, skip, at, here, whole, pieces)?;
            }
            at += here;
            chunk += 1;
            skip = 0;
        }
        Ok(())
    }

    /// Takes the bytes of one chunk.
    fn take_from(
        &mut self,
        chunk: u64,
        skip: usize,
        at: usize,
        len: usize,
        whole: usize,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), AssemblyError> {
        let all = units(0..whole.div_ceil(UNIT_LEN));
        let these = units(skip / UNIT_LEN..(skip + len).div_ceil(UNIT_LEN));
        let had = self.open.get(&chunk).copied().unwrap_or_default();
        let new = these & !had;
        if new == 0 {
            return Ok(());
        }
        let is_whole = had | these == all;
        let first_piece = pieces.len();
        if new == these {
            push(pieces, Piece { chunk, skip, range: at..at + len, complete: chunk..chunk });
        } else {
            // Parts of another size came before: only what is new of this one.
            let mut unit = skip / UNIT_LEN;
            while unit < (skip + len).div_ceil(UNIT_LEN) {
                let begin = unit;
                while unit < UNITS_PER_CHUNK as usize && new >> unit & 1 == 1 {
                    unit += 1;
                }
                if unit > begin {
                    let from = begin * UNIT_LEN;
                    let range = at + from - skip..at + (unit * UNIT_LEN).min(skip + len) - skip;
                    push(pieces, Piece { chunk, skip: from, range, complete: chunk..chunk });
                } else {
                    unit += 1;
                }
            }
        }
        if is_whole {
            self.open.remove(&chunk);
            self.wanted.remove(chunk..chunk + 1);
            let last = first_piece.max(1) - 1..pieces.len();
            if let Some(piece) = pieces.get_mut(last).and_then(<[_]>::last_mut) {
                let start = if piece.complete.is_empty() { chunk } else { piece.complete.start };
                piece.complete = start..chunk + 1;
            }
        } else if self.open.len() >= MAX_OPEN && had == 0 {
            return Err(AssemblyError::TooManyOpen);
        } else {
            self.open.insert(chunk, had | these);
        }
        Ok(())
    }
}

/// A bit for each of these units.
const fn units(range: Range<usize>) -> u32 {
    below(range.end) & !below(range.start)
}

const fn below(end: usize) -> u32 {
    if end >= 32 { u32::MAX } else { (1 << end) - 1 }
}

/// Joins a piece to the one before it, if it goes on where that ends.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last)
            if last.range.end == piece.range.start
                && piece.skip == 0
                && is_next(last, piece.chunk)
                && (last.complete.is_empty() || last.complete.end == piece.chunk) =>
        {
            last.range.end = piece.range.end;
        }
        _ => pieces.push(piece),
    }
}

/// Whether a piece ends where this chunk begins: all chunks but the last of a file are full, and parts do not run past a
/// short one.
const fn is_next(piece: &Piece, chunk: u64) -> bool {
    let len = piece.skip + piece.range.end - piece.range.start;
    len.is_multiple_of(framing::CHUNK_LEN) && piece.chunk + (len / framing::CHUNK_LEN) as u64 == chunk
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Chunks of two files, the first of which ends with a short one.
    fn len_of(chunk: u64) -> usize {
        if chunk == 5 { 200 } else { 4096 }
    }

    proptest! {
        #[test]
        fn each_unit_comes_once_whatever_the_parts_are(
            parts in prop::collection::vec((0_u64..12, 0_u8..32, 1_usize..33), 0..200),
        ) {
            let mut assembly = Assembly::new();
            assembly.begin(&ChunkSet::from(0..12));
            let (mut seen, mut whole) = (BTreeSet::new(), BTreeSet::new());
            for (chunk, unit, units) in parts {
                // As a sender cuts them: up to the end of a file.
                let last = if chunk <= 5 { 5 } else { 11 };
                let file: usize = (chunk..=last).map(len_of).sum();
                let skip = usize::from(unit) * UNIT_LEN;
                if skip >= len_of(chunk) {
                    continue;
                }
                let len = (units * UNIT_LEN).min(file - skip).min(4096);
                let mut pieces = Vec::new();
                prop_assert_eq!(assembly.take(chunk, unit, len, &mut len_of, &mut pieces), Ok(()));
                for piece in pieces {
                    let (mut at, mut skip) = (piece.chunk, piece.skip);
                    prop_assert_eq!((piece.chunk * 4096 + piece.skip as u64) - (chunk * 4096), (piece.range.start + usize::from(unit) * UNIT_LEN) as u64);
                    for _ in piece.range.clone().step_by(UNIT_LEN) {
                        if skip >= len_of(at) {
                            (at, skip) = (at + 1, 0);
                        }
                        prop_assert!(seen.insert((at, skip)), "{at} {skip} twice");
                        skip += UNIT_LEN;
                    }
                    for chunk in piece.complete {
                        prop_assert!(whole.insert(chunk));
                        let all = (0..len_of(chunk)).step_by(UNIT_LEN).all(|skip| seen.contains(&(chunk, skip)));
                        prop_assert!(all, "{chunk} is not whole");
                    }
                }
            }
            for chunk in 0..12 {
                let all = (0..len_of(chunk)).step_by(UNIT_LEN).all(|skip| seen.contains(&(chunk, skip)));
                prop_assert_eq!(all, whole.contains(&chunk));
                prop_assert_eq!(all, !assembly.wanted().contains(chunk));
            }
        }
    }

    fn take(assembly: &mut Assembly, chunk: u64, unit: u8, len: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut lens = |chunk| if chunk == 9 { 300 } else { 4096 };
        assembly.take(chunk, unit, len, &mut lens, &mut pieces).unwrap();
        pieces
    }

    #[test]
    fn parts_that_run_over_make_whole_chunks() {
        let mut assembly = Assembly::new();
        assembly.begin(&ChunkSet::from(0..10));
        assert_eq!(
            take(&mut assembly, 0, 0, 1408),
            [Piece { chunk: 0, skip: 0, range: 0..1408, complete: 0..0 }]
        );
        // The third part goes into the next chunk before the second one is here.
        assert_eq!(
            take(&mut assembly, 0, 22, 1408),
            [Piece { chunk: 0, skip: 2816, range: 0..1408, complete: 0..0 }]
        );
        assert_eq!(
            take(&mut assembly, 0, 11, 1408),
            [Piece { chunk: 0, skip: 1408, range: 0..1408, complete: 0..1 }]
        );
        assert_eq!(take(&mut assembly, 0, 11, 1408), []);
        assert_eq!(assembly.wanted(), &ChunkSet::from(1..10));
        assert_eq!(
            take(&mut assembly, 8, 0, 4096 + 300),
            [Piece { chunk: 8, skip: 0, range: 0..4396, complete: 8..10 }]
        );
        // Of another size, and partly here already: chunk 1 has its first unit.
        assert_eq!(
            take(&mut assembly, 1, 0, 4096),
            [Piece { chunk: 1, skip: 128, range: 128..4096, complete: 1..2 }]
        );
    }

    #[test]
    fn what_nobody_asked_for_is_an_error() {
        let mut assembly = Assembly::new();
        assembly.begin(&ChunkSet::from(3..5));
        let mut lens = |_| 4096;
        let mut pieces = Vec::new();
        assert_eq!(assembly.take(5, 0, 128, &mut lens, &mut pieces), Err(AssemblyError::Unwanted(5)));
        assert_eq!(assembly.take(4, 0, 100, &mut lens, &mut pieces), Err(AssemblyError::Cut(4)));
        assert_eq!(assembly.take(4, 31, 256, &mut lens, &mut pieces), Err(AssemblyError::Unwanted(5)));
        assert_eq!(
            assembly.take(u64::MAX, 31, 256, &mut lens, &mut pieces),
            Err(AssemblyError::Unwanted(u64::MAX))
        );
        // A late copy of a chunk of an earlier pass is not.
        assembly.begin(&ChunkSet::from(4..5));
        pieces.clear();
        assert_eq!(assembly.take(3, 0, 4096, &mut lens, &mut pieces), Ok(()));
        assert!(pieces.is_empty());
    }
}
