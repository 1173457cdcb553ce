//! Which packets came, and when to say so.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use framing::packet::AckFields;

/// Ranges of packet numbers that are remembered: at 50 % loss those of some 4000 packets. What is older is forgotten, and
/// then counts as lost with the sender.
const MAX_RANGES: usize = 2048;
/// How long an acknowledgement may wait until the sender says what it likes.
const DEFAULT_DELAY: Duration = Duration::from_millis(1);
/// How many bytes may go without one until then.
const DEFAULT_BYTES: u64 = 16 * 1024;
/// The least length of a packet that is measured against the one before it: small ones are sent when there is something to
/// say, and say nothing about the path.
const PAIR_LEN: usize = 1000;
/// The longest that a sender may ask for.
const MAX_DELAY: Duration = Duration::from_millis(100);

/// The receiver's side of acknowledgements.
#[derive(Debug)]
pub(crate) struct ReceivedPackets {
    /// Ascending, apart from each other.
    ranges: std::collections::VecDeque<RangeInclusive<u64>>,
    largest: Option<(u64, Instant)>,
    /// Below this nothing is of interest to the sender any more.
    floor: u64,
    max_delay: Duration,
    max_bytes: u64,
    /// Bytes that came since the last acknowledgement, of packets that ask for one.
    unacked_bytes: u64,
    /// When the first of them came.
    unacked_since: Option<Instant>,
    at_once: bool,
    /// Whether the packet that came last had been overtaken.
    late: bool,
    pair_time: Duration,
    pair_bytes: u64,
    /// Packets that came, and packets that should have, over the last few hundred.
    came: f64,
    expected: f64,
}

impl ReceivedPackets {
    pub(crate) const fn new() -> Self {
        Self {
            ranges: std::collections::VecDeque::new(),
            largest: None,
            floor: 0,
            max_delay: DEFAULT_DELAY,
            max_bytes: DEFAULT_BYTES,
            unacked_bytes: 0,
            unacked_since: None,
            at_once: false,
            late: false,
            pair_time: Duration::ZERO,
            pair_bytes: 0,
            came: 0.0,
            expected: 0.0,
        }
    }

    /// How many ranges are remembered.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn largest(&self) -> Option<u64> {
        self.largest.map(|(largest, _)| largest)
    }

    /// Takes note of a packet: `false` when it came before, or is too old to tell.
    pub(crate) fn receive(&mut self, now: Instant, pn: u64, len: usize) -> bool {
        self.late = false;
        if pn < self.floor || !self.insert(pn) {
            return false;
        }
        self.came += 1.0;
        match self.largest {
            Some((largest, _)) if pn < largest => self.late = true,
            Some((largest, at)) => {
                self.expected += (pn - largest) as f64;
                if pn == largest + 1 && len >= PAIR_LEN {
                    self.pair_time += now.saturating_duration_since(at);
                    self.pair_bytes += len as u64;
                }
                self.largest = Some((pn, now));
            }
            None => {
                self.expected += 1.0;
                self.largest = Some((pn, now));
            }
        }
        if self.expected > 512.0 {
            self.came /= 2.0;
            self.expected /= 2.0;
        }
        true
    }

    /// The share of packets that did not come of late, 0 to 1.
    pub(crate) fn loss(&self) -> f64 {
        if self.expected < 16.0 { 0.0 } else { (1.0 - self.came / self.expected).clamp(0.0, 0.99) }
    }

    fn insert(&mut self, pn: u64) -> bool {
        let Some(last) = self.ranges.back_mut() else {
            self.ranges.push_back(pn..=pn);
            return true;
        };
        if pn == last.end() + 1 {
            *last = *last.start()..=pn;
            return true;
        }
        if pn > *last.end() {
            self.ranges.push_back(pn..=pn);
            self.forget_oldest();
            return true;
        }
        // The first range that ends at or behind it.
        let at = self.ranges.partition_point(|range| *range.end() < pn);
        if self.ranges.get(at).is_some_and(|range| range.contains(&pn)) {
            return false;
        }
        let joins_before = at > 0 && self.ranges.get(at - 1).is_some_and(|range| range.end() + 1 == pn);
        let joins_after = self.ranges.get(at).is_some_and(|range| *range.start() == pn + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                let end = self.ranges.remove(at).map_or(pn, |range| *range.end());
                if let Some(before) = self.ranges.get_mut(at - 1) {
                    *before = *before.start()..=end;
                }
            }
            (true, false) => {
                if let Some(before) = self.ranges.get_mut(at - 1) {
                    *before = *before.start()..=pn;
                }
            }
            (false, true) => {
                if let Some(after) = self.ranges.get_mut(at) {
                    *after = pn..=*after.end();
                }
            }
            (false, false) => {
                self.ranges.insert(at, pn..=pn);
                self.forget_oldest();
            }
        }
        true
    }

    fn forget_oldest(&mut self) {
        if self.ranges.len() > MAX_RANGES
            && let Some(oldest) = self.ranges.pop_front()
        {
            self.floor = self.floor.max(oldest.end() + 1);
        }
    }

    /// Says that a packet wants to be acknowledged.
    pub(crate) fn elicit(&mut self, now: Instant, len: usize, at_once: bool) {
        self.unacked_bytes += len as u64;
        self.unacked_since.get_or_insert(now);
        // Sooner than usual if it may have been taken for lost. Not for what asks for nothing: acknowledgements that
        // overtake each other would call for more of them without end.
        self.at_once |= at_once || self.late;
    }

    /// Wants an acknowledgement to go out now, because it has news.
    pub(crate) fn announce(&mut self) {
        if self.largest.is_some() {
            self.at_once = true;
        }
    }

    /// Does as the sender likes.
    pub(crate) fn obey(&mut self, floor: u64, max_delay: Duration, max_bytes: u64) {
        self.max_delay = max_delay.min(MAX_DELAY);
        self.max_bytes = max_bytes;
        // A floor above what came would hide packets that are still under way.
        let highest = self.largest().unwrap_or_default();
        self.floor = self.floor.max(floor.min(highest));
        while self.ranges.len() > 1 && self.ranges.front().is_some_and(|range| *range.end() < self.floor) {
            self.ranges.pop_front();
        }
    }

    /// When an acknowledgement must go out.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.at_once {
            return Some(now);
        }
        let since = self.unacked_since?;
        Some(if self.unacked_bytes >= self.max_bytes { now } else { since + self.max_delay })
    }

    /// Whether one must go out now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.deadline(now).is_some_and(|deadline| deadline <= now)
    }

    /// Whether there is something to acknowledge that was not yet.
    pub(crate) const fn has_news(&self) -> bool {
        self.unacked_since.is_some() || self.at_once
    }

    /// What the acknowledgement says, the ranges from the highest down. `None` when nothing came yet.
    pub(crate) fn acknowledge(
        &mut self,
        now: Instant,
    ) -> Option<(AckFields, impl Iterator<Item = RangeInclusive<u64>> + '_)> {
        let (largest, at) = self.largest?;
        self.unacked_bytes = 0;
        self.unacked_since = None;
        self.at_once = false;
        let fields = AckFields {
            largest,
            ack_delay_us: micros(now.saturating_duration_since(at)),
            credit: 0,
            control_credit: 0,
            pair_time_us: micros(self.pair_time),
            pair_bytes: self.pair_bytes,
            ce: 0,
        };
        Some((fields, self.ranges.iter().rev().cloned()))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX >> 2).min(u64::MAX >> 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(received: &ReceivedPackets) -> Vec<(u64, u64)> {
        received.ranges.iter().map(|range| (*range.start(), *range.end())).collect()
    }

    #[test]
    fn ranges_join_and_copies_are_told() {
        let now = Instant::now();
        let mut received = ReceivedPackets::new();
        for pn in [5, 7, 6, 1, 3, 2, 9] {
            assert!(received.receive(now, pn, 100), "{pn}");
        }
        for pn in [5, 7, 6, 1, 3, 2, 9] {
            assert!(!received.receive(now, pn, 100), "{pn}");
        }
        assert_eq!(ranges(&received), [(1, 3), (5, 7), (9, 9)]);
        received.obey(6, Duration::ZERO, 0);
        assert_eq!(ranges(&received), [(5, 7), (9, 9)]);
        assert!(!received.receive(now, 4, 100), "below the floor");
        assert!(received.receive(now, 8, 100));
        assert_eq!(ranges(&received), [(5, 9)]);
    }

    #[test]
    fn pairs_measure_the_spacing_whatever_is_lost() {
        let start = Instant::now();
        let mut received = ReceivedPackets::new();
        // A slot each 100 us; every third packet is lost.
        for pn in (0..300).filter(|pn| pn % 3 != 2) {
            let at = start + Duration::from_micros(100 * pn);
            received.receive(at, pn, 1427);
        }
        let (fields, _) = received.acknowledge(start).unwrap();
        assert_eq!(fields.pair_bytes, 100 * 1427);
        assert_eq!(fields.pair_time_us, 100 * 100);
        assert!((received.loss() - 1.0 / 3.0).abs() < 0.01);
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut received = ReceivedPackets::new();
        for pn in 0..100_000 {
            received.receive(now, pn * 2, 100);
        }
        assert_eq!(received.ranges.len(), MAX_RANGES);
        assert!(!received.receive(now, 1, 100));
    }
}
