//! Datagrams that have come and wait for the session's thread, if it wants any.

use std::collections::VecDeque;
use std::time::Instant;

/// The most that wait, and the most bytes of them: what comes at 100 Mbit/s while a busy machine does something else. Those
/// that come then are dropped.
const MOST_WAITING: usize = 16 * 1024;
const MOST_BYTES: usize = 1 << 20;

/// What waits, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    waiting: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes of all of them.
    len: usize,
    is_wanted: bool,
    /// How many came while there was no room.
    missed: u64,
}

impl Datagrams {
    /// Takes datagrams from now on.
    pub(super) const fn open(&mut self) {
        self.is_wanted = true;
    }

    /// Takes none any more, and forgets those that wait.
    pub(super) fn close(&mut self) {
        *self = Self { missed: self.missed, ..Self::default() };
    }

    /// Takes one that came then, if any are wanted and there is room.
    pub(super) fn push(&mut self, at: Instant, bytes: &[u8]) {
        if !self.is_wanted {
            return;
        }
        if self.waiting.len() >= MOST_WAITING || self.len + bytes.len() > MOST_BYTES {
            self.missed += 1;
            return;
        }
        self.len += bytes.len();
        self.waiting.push_back((at, bytes.to_vec()));
    }

    pub(super) fn pop(&mut self) -> Option<(Instant, Vec<u8>)> {
        let next = self.waiting.pop_front()?;
        self.len -= next.1.len();
        Some(next)
    }

    /// How many were wanted and dropped.
    pub(super) const fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_waits_and_not_without_end() {
        let now = Instant::now();
        let mut datagrams = Datagrams::default();
        datagrams.push(now, b"early");
        assert_eq!(datagrams.pop(), None);
        datagrams.open();
        for number in 0..100_000_u32 {
            datagrams.push(now, &number.to_be_bytes());
        }
        assert_eq!(
            (datagrams.waiting.len(), datagrams.missed()),
            (MOST_WAITING, 100_000 - MOST_WAITING as u64)
        );
        assert_eq!(datagrams.pop(), Some((now, 0_u32.to_be_bytes().to_vec())));
        datagrams.close();
        datagrams.open();
        assert_eq!(datagrams.pop(), None, "of the time before");
        for _ in 0..1000 {
            datagrams.push(now, &[0; 60_000]);
        }
        assert_eq!(datagrams.waiting.len(), MOST_BYTES / 60_000);
        while datagrams.pop().is_some() {}
        assert_eq!(datagrams.len, 0);
    }
}
