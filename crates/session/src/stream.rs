//! Packets at set times: how a path treats what nobody repairs.
//!
//! A server sends so many packets of one size, one each interval, with their numbers and times. Over UDP each goes once, in a
//! datagram of its own; over TCP as a message. The client writes down what comes and when, and makes a
//! [`StreamReport`] of it.

mod client;
mod report;
mod server;

use std::time::Duration;

use framing::{PACKET_HEAD_LEN, Stream};

pub(crate) use client::receive;
pub(crate) use server::send;

pub use report::{Bar, Gaps, PacketKind, StreamPacket, StreamReport};

/// The most packets of a stream.
pub const MAX_STREAM_COUNT: u64 = 1_000_000;
/// The longest time from one packet to the next: less than what a silent side is given.
pub const MAX_STREAM_INTERVAL: Duration = Duration::from_secs(10);
/// The most that a stream may be, bits per second, with what a datagram over IPv4 costs beside its payload.
pub const MAX_STREAM_RATE: u64 = 100_000_000;
/// How long a byte takes at that rate.
const NANOS_PER_BYTE: u64 = 8 * 1_000_000_000 / MAX_STREAM_RATE;
/// What a packet costs on the wire beside its message: IPv4, UDP, and the packet that it is in.
const PACKET_COST: u64 = 20 + 8 + 14;

/// Packets at set times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPlan {
    /// How many.
    pub count: u64,
    /// Nanoseconds from one to the next.
    pub interval: u64,
    /// Bytes of each, with its number and its time: 17 at the least.
    pub size: u32,
}

/// What a server does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Limit {
    #[error("a stream of {0} packets: the most are {MAX_STREAM_COUNT}")]
    Count(u64),
    #[error("packets of {size} bytes: from {PACKET_HEAD_LEN} to {most} bytes fit here")]
    Size { size: u32, most: usize },
    #[error(
        "packets {} s apart: the most is {} s", .0.as_secs(), MAX_STREAM_INTERVAL.as_secs()
    )]
    Interval(Duration),
    #[error(
        "a stream of more than {} Mbit/s: packets of {size} bytes must be {least} ns apart at least",
        MAX_STREAM_RATE / 1_000_000
    )]
    Rate { size: u32, least: u64 },
}

impl StreamPlan {
    pub(crate) const fn of(asked: Stream) -> Self {
        Self { count: asked.count, interval: asked.interval, size: asked.size }
    }

    pub(crate) const fn to_wire(self) -> Stream {
        Stream { count: self.count, interval: self.interval, size: self.size }
    }

    /// Fails unless it is within what a server sends, in packets of at most so many bytes: why not.
    pub(crate) fn check(self, most: usize) -> Result<(), String> {
        self.limit(most).map_or(Ok(()), |limit| Err(limit.to_string()))
    }

    fn limit(self, most: usize) -> Option<Limit> {
        let Self { count, interval, size } = self;
        let least = (u64::from(size) + PACKET_COST) * NANOS_PER_BYTE;
        if count > MAX_STREAM_COUNT {
            Some(Limit::Count(count))
        } else if !(PACKET_HEAD_LEN..=most).contains(&(size as usize)) {
            Some(Limit::Size { size, most })
        } else if Duration::from_nanos(interval) > MAX_STREAM_INTERVAL {
            Some(Limit::Interval(Duration::from_nanos(interval)))
        } else if interval < least {
            Some(Limit::Rate { size, least })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_told_with_its_limit() {
        let good = StreamPlan { count: 100, interval: 10_000_000, size: 256 };
        assert_eq!(good.check(1186), Ok(()));
        let refused = |plan: StreamPlan| plan.check(1186).unwrap_err();
        assert_eq!(
            refused(StreamPlan { count: 1_000_000_000_000, ..good }),
            "a stream of 1000000000000 packets: the most are 1000000"
        );
        assert_eq!(StreamPlan { count: 1_000_000, ..good }.check(1186), Ok(()));
        assert_eq!(
            refused(StreamPlan { size: 16, ..good }),
            "packets of 16 bytes: from 17 to 1186 bytes fit here"
        );
        assert_eq!(
            refused(StreamPlan { size: u32::MAX, ..good }),
            "packets of 4294967295 bytes: from 17 to 1186 bytes fit here"
        );
        assert_eq!(
            refused(StreamPlan { interval: 11_000_000_000, ..good }),
            "packets 11 s apart: the most is 10 s"
        );
        assert!(refused(StreamPlan { interval: u64::MAX, ..good }).ends_with("the most is 10 s"));
        // 298 bytes are 23.84 us at 100 Mbit/s.
        let fast = "a stream of more than 100 Mbit/s: packets of 256 bytes must be 23840 ns apart at least";
        assert_eq!(refused(StreamPlan { interval: 23_839, ..good }), fast);
        assert_eq!(refused(StreamPlan { interval: 0, ..good }), fast);
        assert_eq!(StreamPlan { interval: 23_840, ..good }.check(1186), Ok(()));
    }
}
