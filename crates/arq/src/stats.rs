//! What a connection has seen of its path.

use std::time::Duration;

/// What a connection has seen of its path so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Packets sent, of every kind.
    pub packets_sent: u64,
    /// Packets of those that were lost, as far as that is known.
    pub packets_lost: u64,
    /// Parts of chunks sent, those sent again included.
    pub parts_sent: u64,
    /// Parts of those that were sent before.
    pub parts_sent_again: u64,
    /// Datagrams sent, in [`Connection::send_datagram`](crate::Connection::send_datagram)'s sense.
    pub datagrams_sent: u64,
    /// Datagrams that the path had no room for, and that were never sent.
    pub datagrams_dropped: u64,
    /// Bytes of all UDP payloads sent.
    pub bytes_sent: u64,
    /// The least round-trip time.
    pub min_rtt: Duration,
    /// The mean round-trip time.
    pub mean_rtt: Duration,
    /// The round-trip time of late (RFC 9002 section 5.3).
    pub smoothed_rtt: Duration,
    /// Bytes of a full datagram (UDP payload).
    pub datagram_len: u16,
    /// The share of packets that were lost of late, 0 to 1.
    pub loss: f64,
    /// Packets that were damaged, copies, or not to be understood.
    pub garbage: u64,
}

/// What the control law does at a moment, for plots and tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trace {
    /// Bytes per second, on the wire.
    pub pacing_rate: f64,
    /// Bytes that may be on their way.
    pub window: u64,
    /// Bytes that are.
    pub in_flight: u64,
    /// Of late.
    pub smoothed_rtt: Duration,
    /// The state of the control law.
    pub state: &'static str,
}

/// How much a connection keeps: for tests, and for whoever wonders where the memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Packets that were sent and are still remembered.
    pub packets: usize,
    /// Parts of chunks that anything is known of.
    pub parts: usize,
    /// Datagrams that wait to be sent.
    pub datagrams: usize,
    /// Bytes of messages, of both directions, and pieces of them that came too early.
    pub message_bytes: usize,
    /// Ranges of packet numbers that came.
    pub ranges: usize,
}
