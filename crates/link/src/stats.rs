//! What a link can tell about the path, and about a transfer that nobody repaired.

use std::fmt;
use std::time::Duration;

use framing::ChunkSet;

/// What a UDP link has seen of its path so far, from the side that sends chunks.
///
/// On the receiving side of a transfer these are the numbers that the sender told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkStats {
    /// Packets sent, of every kind.
    pub packets_sent: u64,
    /// Packets of those that were lost on the way.
    pub packets_lost: u64,
    /// Parts of chunks sent, those sent again included.
    pub parts_sent: u64,
    /// Parts of those that were sent again, because one was lost or to make sure.
    pub parts_sent_again: u64,
    /// Bytes of all UDP payloads sent.
    pub bytes_sent: u64,
    /// The least round-trip time seen.
    pub min_rtt: Duration,
    /// The mean round-trip time.
    pub mean_rtt: Duration,
    /// The round-trip time of late, smoothed (RFC 9002 section 5.3).
    pub smoothed_rtt: Duration,
    /// Bytes of a full datagram (UDP payload).
    pub datagram_len: u16,
    /// The share of packets that were lost of late, 0 to 1.
    pub loss: f64,
    /// Why it was not faster.
    pub limiter: Limiter,
}

/// What kept a transfer from being faster, most of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limiter {
    /// The path: its rate, its delay, its loss.
    Link,
    /// The other side took no more.
    Receiver,
    /// This side's processor.
    Sender,
    /// This side's disk.
    Disk,
    /// The checksum of the file on this side.
    Hashing,
    /// The rate that the user asked for.
    RateLimit,
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link",
            Self::Receiver => "receiver",
            Self::Sender => "sender",
            Self::Disk => "disk",
            Self::Hashing => "hashing",
            Self::RateLimit => "rate limit",
        })
    }
}

/// What became of chunks that were each sent once and not repaired. What is still wanted then, was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlainReport {
    /// Chunks that came with bytes that are not those that were sent.
    pub damaged: ChunkSet,
    /// Chunks that came more than once.
    pub duplicated: ChunkSet,
    /// Chunks that came after one with a higher number.
    pub reordered: ChunkSet,
}
