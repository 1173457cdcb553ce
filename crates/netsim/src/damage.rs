//! What corruption does to the bytes.

use std::fmt;

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
    /// Flipped the same bit of two bytes, one up and one down, which leaves a sum over both as it was.
    Pair {
        /// The index of the byte that was chosen.
        first: usize,
        /// The index of the one that evens it out.
        second: usize,
        /// Which bit of both.
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

impl Change {
    /// The same change, told of a slice that begins `by` bytes earlier.
    pub(crate) const fn moved(self, by: usize) -> Self {
        match self {
            Self::Bit { byte, bit } => Self::Bit { byte: byte + by, bit },
            Self::Pair { first, second, bit } => Self::Pair { first: first + by, second: second + by, bit },
            Self::Words { first, second } => Self::Words { first: first + by, second: second + by },
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bit { byte, bit } => write!(f, "bit {bit} of byte {byte} flipped"),
            Self::Pair { first, second, bit } => write!(f, "bit {bit} of bytes {first} and {second} flipped"),
            Self::Words { first, second } => write!(f, "words at bytes {first} and {second} swapped"),
        }
    }
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

    /// Flips the bit that [`CorruptKind::Fixup`] flips, and evens the sum of 16-bit words out by flipping the same bit of
    /// another byte back.
    pub(crate) fn flip_evenly(self, bytes: &mut [u8]) -> Option<Change> {
        let Change::Bit { byte: first, bit } = self.flip(bytes)? else { return None };
        let mask = 1 << bit;
        let now = bytes[first] & mask;
        let turn = below(self.draw << 32, bytes.len() as u64) as usize;
        let second = (0..bytes.len())
            .map(|step| (turn + step) % bytes.len())
            .find(|&index| index != first && index % 2 == first % 2 && bytes[index] & mask == now);
        // Without a partner nothing is done at all.
        bytes[second.unwrap_or(first)] ^= mask;
        second.map(|second| Change::Pair { first, second, bit })
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
