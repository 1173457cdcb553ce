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

/// What streams a server sends at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Packets of a stream, at most [`MAX_STREAM_COUNT`]. With 0 it sends none.
    pub max_count: u64,
    /// Bits per second, at most [`MAX_STREAM_RATE`] and at least 1.
    pub max_rate: u64,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { max_count: MAX_STREAM_COUNT, max_rate: MAX_STREAM_RATE }
    }
}

/// What a server does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Limit {
    #[error("a stream of {count} packets: the most are {most} here (--max-stream-count)")]
    Count { count: u64, most: u64 },
    #[error("packets of {size} bytes: from {PACKET_HEAD_LEN} to {most} bytes fit here")]
    Size { size: u32, most: usize },
    #[error(
        "packets {} s apart: the most is {} s", .0.as_secs(), MAX_STREAM_INTERVAL.as_secs()
    )]
    Interval(Duration),
    #[error(
        "a stream of more than {} here (--max-stream-rate): packets of {size} bytes must be {} apart at least",
        bits_per_second(*most), span(*least)
    )]
    Rate { size: u32, most: u64, least: u128 },
}

/// A time in nanoseconds, as people write it.
fn span(nanos: u128) -> String {
    match nanos {
        0..1_000_000 => format!("{} us", nanos as f64 / 1e3),
        _ => format!("{} ms", nanos as f64 / 1e6),
    }
}

/// A rate in the largest unit in which it is a whole number.
fn bits_per_second(rate: u64) -> String {
    match rate {
        _ if rate.is_multiple_of(1_000_000) => format!("{} Mbit/s", rate / 1_000_000),
        _ if rate.is_multiple_of(1_000) => format!("{} kbit/s", rate / 1_000),
        _ => format!("{rate} bit/s"),
    }
}

impl StreamPlan {
    pub(crate) const fn of(asked: Stream) -> Self {
        Self { count: asked.count, interval: asked.interval, size: asked.size }
    }

    pub(crate) const fn to_wire(self) -> Stream {
        Stream { count: self.count, interval: self.interval, size: self.size }
    }

    /// Fails unless it is within what a server sends, in packets of at most so many bytes: why not.
    pub(crate) fn check(self, limits: StreamLimits, most: usize) -> Result<(), String> {
        self.limit(limits, most).map_or(Ok(()), |limit| Err(limit.to_string()))
    }

    fn limit(self, limits: StreamLimits, most: usize) -> Option<Limit> {
        let Self { count, interval, size } = self;
        let (max_count, max_rate) =
            (limits.max_count.min(MAX_STREAM_COUNT), limits.max_rate.clamp(1, MAX_STREAM_RATE));
        let bits = 8 * (u64::from(size) + PACKET_COST);
        let least = (u128::from(bits) * 1_000_000_000).div_ceil(max_rate.into());
        if count > max_count {
            Some(Limit::Count { count, most: max_count })
        } else if !(PACKET_HEAD_LEN..=most).contains(&(size as usize)) {
            Some(Limit::Size { size, most })
        } else if Duration::from_nanos(interval) > MAX_STREAM_INTERVAL {
            Some(Limit::Interval(Duration::from_nanos(interval)))
        } else if u128::from(interval) < least {
            Some(Limit::Rate { size, most: max_rate, least })
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
        let check = |plan: StreamPlan| plan.check(StreamLimits::default(), 1186);
        assert_eq!(check(good), Ok(()));
        let refused = |plan: StreamPlan| check(plan).unwrap_err();
        assert_eq!(
            refused(StreamPlan { count: 1_000_000_000_000, ..good }),
            "a stream of 1000000000000 packets: the most are 1000000 here (--max-stream-count)"
        );
        assert_eq!(check(StreamPlan { count: 1_000_000, ..good }), Ok(()));
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
        let fast = "a stream of more than 100 Mbit/s here (--max-stream-rate): packets of 256 bytes must be 23.84 us \
                    apart at least";
        assert_eq!(refused(StreamPlan { interval: 23_839, ..good }), fast);
        assert_eq!(refused(StreamPlan { interval: 0, ..good }), fast);
        assert_eq!(check(StreamPlan { interval: 23_840, ..good }), Ok(()));
    }

    #[test]
    fn a_server_may_send_less() {
        let limits = StreamLimits { max_count: 50, max_rate: 64_000 };
        let check = |count, interval| StreamPlan { count, interval, size: 158 }.check(limits, 1186);
        assert_eq!(check(50, 25_000_000), Ok(()));
        assert_eq!(
            check(51, 25_000_000).unwrap_err(),
            "a stream of 51 packets: the most are 50 here (--max-stream-count)"
        );
        let slow = check(50, 24_999_999).unwrap_err();
        assert!(slow.starts_with("a stream of more than 64 kbit/s here (--max-stream-rate)"), "{slow}");
        assert!(slow.ends_with("25 ms apart at least"), "{slow}");
        // More than the most is the most.
        let most = StreamLimits { max_count: u64::MAX, max_rate: u64::MAX };
        assert!(StreamPlan { count: 1_000_001, interval: 1_000_000, size: 17 }.check(most, 1186).is_err());
        assert!(StreamPlan { count: 1, interval: 4_719, size: 17 }.check(most, 1186).is_err());
        assert_eq!(StreamPlan { count: 1, interval: 4_720, size: 17 }.check(most, 1186), Ok(()));
        assert_eq!(bits_per_second(10_001), "10001 bit/s");
    }
}
