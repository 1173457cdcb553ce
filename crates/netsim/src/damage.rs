//! What corruption does to the bytes.

use crate::dice::below;
use crate::faults::CorruptKind;

/// The damage that a packet comes with. The same damage does the same to the same bytes, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    kind: CorruptKind,
    draw: u64,
}

/// What [`Damage::apply`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Flipped one bit.
    Bit {
        /// The byte's index.
        byte: usize,
        /// Which of its bits, 0 (the lowest) to 7.
        bit: u8,
    },
    /// Swapped two 16-bit words that differ.
    Words {
        /// The index of the first byte of one of them: even.
        first: usize,
        /// The index of the first byte of the other: even, and greater.
        second: usize,
    },
}

impl Damage {
    pub(crate) const fn new(kind: CorruptKind, draw: u64) -> Self {
        Self { kind, draw }
    }

    /// What kind of damage it is.
    #[must_use]
    pub const fn kind(&self) -> CorruptKind {
        self.kind
    }

    /// Damages `bytes`, and says how.
    ///
    /// [`CorruptKind::Bits`] and [`CorruptKind::Fixup`] flip one bit; who handles whole packets repairs the transport's
    /// checksum after a fixup, and hands over the packet's part behind the headers. [`CorruptKind::Neutral`] swaps two
    /// words at even places, which leaves every internet checksum over them as it was.
    ///
    /// `None`, with the bytes unchanged, where nothing can be done: to no bytes at all, and neutrally to words that
    /// are all the same.
    pub fn apply(&self, bytes: &mut [u8]) -> Option<Change> {
        match self.kind {
            CorruptKind::Bits | CorruptKind::Fixup => self.flip(bytes),
            CorruptKind::Neutral => self.swap(bytes),
        }
    }

    fn flip(self, bytes: &mut [u8]) -> Option<Change> {
        let at = below(self.draw, bytes.len() as u64 * 8);
        let (byte, bit) = ((at / 8) as usize, (at % 8) as u8);
        *bytes.get_mut(byte)? ^= 1 << bit;
        Some(Change::Bit { byte, bit })
    }

    fn swap(self, bytes: &mut [u8]) -> Option<Change> {
        let words = bytes.len() / 2;
        let one = below(self.draw, words as u64) as usize;
        // The low half chooses where to begin looking for the other, apart from the high bits that chose the one.
        let turn = below(self.draw << 32, words as u64) as usize;
        let word = |index: usize| bytes.get(2 * index..2 * index + 2);
        let other = (0..words).map(|step| (turn + step) % words).find(|&index| word(index) != word(one))?;
        let (first, second) = (2 * one.min(other), 2 * one.max(other));
        bytes.swap(first, second);
        bytes.swap(first + 1, second + 1);
        Some(Change::Words { first, second })
    }
}
