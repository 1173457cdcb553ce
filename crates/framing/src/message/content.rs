//! What messages hold.

use std::ops::Range;

use super::MAX_SUMS;
use crate::Checksum;
use crate::record::{Name, Page};

/// Something that a side can do beyond the least; a bit of [`Hello::features`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It takes files: `Put` may be asked of it.
    Put,
    /// It gives files: `Get` may be asked of it.
    Get,
    /// It can prove files with BLAKE3.
    Blake3,
    /// It can transfer files plain: each chunk once, unrepaired.
    Plain,
    /// It sends back what it is sent: `Echo` may be asked of it.
    Echo,
    /// It tells what files it has: `List` and `Chdir` may be asked of it.
    List,
    /// It makes files up: `Generate` may be asked of it.
    Generate,
    /// It sends packets at set times: `Stream` may be asked of it.
    Stream,
}

impl Feature {
    /// All of them, in the order of their bits.
    pub const ALL: [Self; 8] = [
        Self::Put,
        Self::Get,
        Self::Blake3,
        Self::Plain,
        Self::Echo,
        Self::List,
        Self::Generate,
        Self::Stream,
    ];

    /// Its bit.
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            Self::Put => 1,
            Self::Get => 2,
            Self::Blake3 => 4,
            Self::Plain => 8,
            Self::Echo => 16,
            Self::List => 32,
            Self::Generate => 64,
            Self::Stream => 128,
        }
    }

    /// Its name, for a message to a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "taking files",
            Self::Get => "giving files",
            Self::Blake3 => "blake3",
            Self::Plain => "plain transfers",
            Self::Echo => "echo",
            Self::List => "listing files",
            Self::Generate => "generated files",
            Self::Stream => "streams",
        }
    }
}

/// The greeting, the first message of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The bits of each [`Feature`] that this side has. Unknown bits mean nothing to this version.
    pub features: u32,
    /// The program's name and version, at most [`MAX_SOFTWARE_LEN`](super::MAX_SOFTWARE_LEN) bytes.
    pub software: &'a str,
}

/// The head of a manifest: how much is to come. Its entries follow in [`Message::Entries`](super::Message::Entries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The digest that shall prove each file.
    pub checksum: Checksum,
    /// Whether each chunk is sent once and not repaired.
    pub plain: bool,
    /// How many files and directories.
    pub entries: u32,
    /// Bytes of all files.
    pub bytes: u64,
}

/// A request for files and directory trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Get<'a> {
    /// The digest that shall prove each file.
    pub checksum: Checksum,
    /// Whether each chunk is to be sent once and not repaired.
    pub plain: bool,
    /// Whether symbolic links are to be followed (as far as the served directory reaches).
    pub follow: bool,
    /// The paths, below the served directory.
    pub names: Page<'a, Name<'a>>,
}

/// A request for a file that is made up: what it holds follows from its length and its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// The digest that shall prove it.
    pub checksum: Checksum,
    /// Whether each chunk is to be sent once and not repaired.
    pub plain: bool,
    /// Bytes of the file.
    pub length: u64,
    /// What its content follows from.
    pub seed: u64,
}

/// Packets that are to be sent at set times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// How many.
    pub count: u64,
    /// Nanoseconds from one to the next.
    pub interval: u64,
    /// Bytes of each one's message, its kind included.
    pub size: u32,
}

/// One packet of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its number, from 0.
    pub number: u64,
    /// Nanoseconds from the beginning of the stream until it was sent.
    pub sent: u64,
    /// Bytes without a meaning, that make it as long as was asked for.
    pub filler: &'a [u8],
}

/// CRC-32C sums of chunks in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums<'a> {
    pub(super) first: u64,
    pub(super) sums: &'a [u8],
}

impl<'a> Sums<'a> {
    /// Sums in their wire form (4 bytes each, big-endian), the first one that of chunk `first`.
    ///
    /// `None` unless there are 1 to [`MAX_SUMS`] of them and their chunk numbers end below 2^64.
    #[must_use]
    pub fn new(first: u64, sums: &'a [u8]) -> Option<Self> {
        let count = sums.len() / 4;
        let fits = sums.len().is_multiple_of(4) && (1..=MAX_SUMS).contains(&count);
        (fits && first.checked_add(count as u64).is_some()).then_some(Self { first, sums })
    }

    /// Which chunks they are of.
    #[must_use]
    pub fn chunks(&self) -> Range<u64> {
        self.first..self.first + (self.sums.len() / 4) as u64
    }

    /// The sums, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.sums.as_chunks::<4>().0.iter().map(|sum| u32::from_be_bytes(*sum))
    }
}

/// A part of the conversation that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The entries and holes of the manifest.
    Manifest,
    /// The chunks whose sums the receiver asks for.
    Compare,
    /// Those sums.
    Sums,
    /// What the receiver wants.
    Want,
    /// The chunks that were wanted.
    Chunks,
    /// All verdicts, and with them the transfer.
    Transfer,
    /// The entries of a list of files.
    Listing,
}

impl Part {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Manifest => 1,
            Self::Compare => 2,
            Self::Sums => 3,
            Self::Want => 4,
            Self::Chunks => 5,
            Self::Transfer => 6,
            Self::Listing => 7,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Manifest,
            2 => Self::Compare,
            3 => Self::Sums,
            4 => Self::Want,
            5 => Self::Chunks,
            6 => Self::Transfer,
            7 => Self::Listing,
            _ => return None,
        })
    }
}

/// What can become of a chunk that is sent once and not repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It did not come.
    Lost,
    /// It came with other bytes than were sent.
    Damaged,
    /// It came more than once.
    Duplicated,
    /// It came after one with a higher number.
    Reordered,
}

impl Fault {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Lost => 1,
            Self::Damaged => 2,
            Self::Duplicated => 3,
            Self::Reordered => 4,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Lost,
            2 => Self::Damaged,
            3 => Self::Duplicated,
            4 => Self::Reordered,
            _ => return None,
        })
    }
}

/// Why a side ends the conversation, or does not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It serves as many as it may; to be tried again later.
    Busy,
    /// Its settings do not allow what was asked.
    Policy,
    /// What was asked for is not there.
    NotFound,
    /// It has not enough room.
    NoSpace,
    /// It could not read or write a file of its own.
    Storage,
    /// The other side broke the protocol.
    Protocol,
    /// It is being stopped.
    Stopping,
}

impl Refusal {
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Busy => 1,
            Self::Policy => 2,
            Self::NotFound => 3,
            Self::NoSpace => 4,
            Self::Storage => 5,
            Self::Protocol => 6,
            Self::Stopping => 7,
        }
    }

    pub(super) const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Busy,
            2 => Self::Policy,
            3 => Self::NotFound,
            4 => Self::NoSpace,
            5 => Self::Storage,
            6 => Self::Protocol,
            7 => Self::Stopping,
            _ => return None,
        })
    }
}
