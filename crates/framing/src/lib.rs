//! What the bytes mean.
//!
//! Frames, packets, chunk numbers and sets of them, messages, the manifest of a transfer, CRC-32C and the whole-file digests.
//! This crate never does I/O, never reads a clock and never allocates because a peer's number said so: every length on
//! the wire is compared with a named limit first, and decoding borrows from the bytes it was given.
//!
//! The wire, byte by byte, is described in `PROTOCOL.md`; the golden bytes that both are checked against lie in
//! `testdata/wire/`.

mod chunk_set;
mod digest;
pub mod frame;
mod manifest;
mod message;
pub mod packet;
mod record;
mod wire;

pub use chunk_set::{ChunkSet, MAX_RANGES};
pub use digest::{Checksum, Digest, Hasher, crc32c};
pub use manifest::{
    Entry, EntryKind, MAX_ENTRIES, MAX_FILE_LEN, MAX_NAMES_LEN, MAX_PATH_LEN, Manifest, ManifestError,
};
pub use message::{
    Fault, Feature, Generate, Get, Hello, MAX_ECHO_LEN, MAX_MESSAGE_LEN, MAX_SOFTWARE_LEN, MAX_SUMS,
    MAX_TEXT_LEN, Message, Offer, PACKET_HEAD_LEN, Packet, Part, Refusal, Stream, Sums,
};
pub use record::{
    Decision, DecisionRun, Name, Page, PageBuilder, Record, Sent, SentOutcome, Stored, Verdict,
};
pub use wire::{Reader, WireError};

/// Bytes in a chunk, the unit of everything. Only the last chunk of a file may be shorter.
pub const CHUNK_LEN: usize = 4096;

/// How many chunks `len` bytes make.
#[must_use]
pub const fn chunks_in(len: u64) -> u64 {
    len.div_ceil(CHUNK_LEN as u64)
}
