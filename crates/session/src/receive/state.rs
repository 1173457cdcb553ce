//! What is known of a file that has no verdict yet.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use framing::{ChunkSet, Digest};

use crate::history::Progress;
use crate::store::{PartFile, Target};

/// A file that has no verdict yet.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) target: Target,
    /// Its chunks in the transfer.
    pub(super) chunks: Range<u64>,
    pub(super) phase: Phase,
    /// Its partial file, while no other thread writes to it.
    pub(super) part: Option<Arc<PartFile>>,
    /// Chunks, counted from the file's start, that need not come.
    pub(super) held: ChunkSet,
    /// Bytes of it that were here at first, holes not counted.
    pub(super) held_bytes: u64,
    /// What its content comes to on this side.
    pub(super) here: Option<Digest>,
    /// What the sender says that it comes to.
    pub(super) there: Option<Digest>,
    /// How much of it came on this connection.
    pub(super) moved: Option<Progress>,
    /// Whether its partial file was ever opened.
    pub(super) begun: bool,
    /// Whether its partial file was closed again before all chunks were there: then it is hashed at the end.
    pub(super) was_closed: bool,
    /// Whether it is kept although it did not come whole.
    pub(super) is_damaged: bool,
}

/// How far a file has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// So many of its chunks are still to come; whether the writer knows of it.
    Filling { left: u64, open: bool },
    /// All of its chunks have come and are being written and hashed.
    Hashing,
    /// A file with the same chunks lies under this path, and is being hashed.
    Verifying(PathBuf),
    /// The digests differ: it is to be repaired in the next round.
    Differs,
    /// It changed on the sender's side, and its partial file is of no use once the writer lets go of it.
    Changed,
    /// It gets its final name.
    Committing,
}

impl Active {
    pub(super) const fn new(target: Target, chunks: Range<u64>) -> Self {
        let left = chunks.end - chunks.start;
        Self {
            target,
            chunks,
            phase: Phase::Filling { left, open: false },
            part: None,
            held: ChunkSet::new(),
            held_bytes: 0,
            here: None,
            there: None,
            moved: None,
            begun: false,
            was_closed: false,
            is_damaged: false,
        }
    }

    /// Starts over with a file of which these chunks are here already.
    pub(super) fn fill(&mut self, held: ChunkSet) {
        let left = self.chunks.end - self.chunks.start - held.len();
        self.held = held;
        self.here = None;
        self.was_closed = false;
        self.phase = Phase::Filling { left, open: false };
    }

    /// Bytes of the disk that its partial file has taken for what is still to come.
    pub(super) fn reserved(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.room_taken().saturating_sub(self.held_bytes))
    }

    /// Its chunks that are still wanted, by their numbers in the transfer.
    pub(super) fn wanted(&self) -> ChunkSet {
        if !matches!(self.phase, Phase::Filling { .. }) {
            return ChunkSet::new();
        }
        let mut wanted = ChunkSet::from(self.chunks.clone());
        for held in self.held.ranges() {
            wanted.remove(self.chunks.start + held.start..self.chunks.start + held.end);
        }
        wanted
    }

    /// Whether chunks of it are to come and its partial file is not open.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Filling { open: false, .. })
    }

    /// Whether the sender has said nothing yet of how reading it ended.
    pub(super) const fn is_untold(&self) -> bool {
        self.there.is_none() && !matches!(self.phase, Phase::Changed)
    }

    /// Whether it can't go on before the next round.
    pub(super) const fn is_resting(&self) -> bool {
        match self.phase {
            Phase::Filling { left, .. } => left > 0,
            Phase::Differs => true,
            Phase::Hashing | Phase::Verifying(_) | Phase::Changed | Phase::Committing => false,
        }
    }
}
