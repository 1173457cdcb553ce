//! Datagrams: bytes that go once, soon or not at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most that wait for the path.
const MOST_WAITING: usize = 64;
/// How long one may wait for the path before no others are taken: what comes so late is of little use, and so is what would
/// come behind it.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Why a datagram was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// It does not fit into a packet.
    #[error("a datagram of {len} bytes does not fit the path: the most is {most}")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// What a packet carries now.
        most: usize,
    },
    /// As many wait as may: the path does not take them so fast.
    #[error("the path takes no more datagrams now")]
    Full,
    /// The connection is not open, or is over.
    #[error("there is no connection to send a datagram on")]
    NotOpen,
}

/// Those that wait to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
}

impl Datagrams {
    /// Takes one, if there is room.
    pub(crate) fn push(&mut self, now: Instant, bytes: &[u8]) -> Result<(), DatagramError> {
        let waits_long =
            |(since, _): &(Instant, Vec<u8>)| now.saturating_duration_since(*since) > LONGEST_WAIT;
        if self.waiting.len() >= MOST_WAITING || self.waiting.front().is_some_and(waits_long) {
            self.dropped += 1;
            return Err(DatagramError::Full);
        }
        self.waiting.push_back((now, bytes.to_vec()));
        Ok(())
    }

    /// Bytes of the next one. Those that have become too long for the path are dropped.
    pub(crate) fn next_len(&mut self, most: usize) -> Option<usize> {
        while let Some((_, bytes)) = self.waiting.front() {
            if bytes.len() <= most {
                return Some(bytes.len());
            }
            self.waiting.pop_front();
            self.dropped += 1;
        }
        None
    }

    /// The next one, which goes out now.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, bytes) = self.waiting.pop_front()?;
        self.sent += 1;
        Some(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
