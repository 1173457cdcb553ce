//! What became of a stream.

use std::time::Duration;

use super::{MAX_STREAM_COUNT, StreamPlan};

/// How many copies of a packet may come, on average.
const MOST_COPIES: u64 = 3;
/// A time that no packet tells: half an eternity.
const MAX_TIME: u64 = 1 << 62;
/// Bars of a histogram, without the one for what is above them.
const MOST_BARS: u64 = 9;
/// The finest step of a histogram, in nanoseconds.
const LEAST_STEP: u64 = 1000;

/// What a packet was when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketKind {
    /// The next one, as far as is known, or one after a gap.
    InOrder,
    /// It came after one with a higher number.
    Late,
    /// It has come before.
    Copy,
}

/// A packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPacket {
    /// Its number, from 0.
    pub number: u64,
    /// Nanoseconds from the beginning of the stream until it was sent, by the server's clock.
    pub sent: u64,
    /// Nanoseconds from the request until it came, by this side's clock.
    pub arrived: u64,
    /// What it was.
    pub kind: PacketKind,
}

/// What became of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamReport {
    /// What was asked for.
    pub plan: StreamPlan,
    /// How many packets were sent, as the server says; `None` if it never came to that.
    pub sent: Option<u64>,
    /// How many came, each counted once.
    pub arrived: u64,
    /// How many did not. While it is not known how many were sent: those below the highest that came.
    pub lost: u64,
    /// How many came again.
    pub duplicated: u64,
    /// How many came after one with a higher number.
    pub reordered: u64,
    /// How many of the lost ones did come, and this program was too busy to take them.
    pub missed: u64,
    /// Interarrival jitter at the end (RFC 3550 section 6.4.1), in nanoseconds; all packets count, in the order in which they
    /// came, copies too.
    pub jitter: f64,
    /// Its mean, over all packets but the first.
    pub mean_jitter: f64,
    /// The times from each packet that came to the next one; `None` if not two came.
    pub gaps: Option<Gaps>,
    /// Whether it was to end early.
    pub stopped: bool,
}

/// Times between packets that came, in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaps {
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half of them are not longer (nearest rank).
    pub p50: u64,
    /// 99 in a hundred are not longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// How many of them are how long.
    pub histogram: Vec<Bar>,
}

/// How many times lie in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// The least of it, in nanoseconds.
    pub from: u64,
    /// Above all of it; `None` for everything from there on.
    pub to: Option<u64>,
    /// How many lie in it.
    pub count: u64,
}

/// What has come so far. Eight bytes for each packet, and a bit.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// A bit for each number that came.
    seen: Vec<u64>,
    arrived: u64,
    duplicated: u64,
    reordered: u64,
    highest: Option<u64>,
    /// When the last packet was sent, and when it came.
    last: Option<(u64, u64)>,
    /// The least and the most of the times under way; only their difference means anything.
    transit: Option<(i128, i128)>,
    jitter: f64,
    jitters: f64,
    gaps: Vec<u64>,
}

impl Tally {
    /// Takes note of a packet with this number below [`MAX_STREAM_COUNT`]: `None` for one that can't be true.
    pub(super) fn take(&mut self, number: u64, sent: u64, arrived: u64) -> Option<StreamPacket> {
        let most = (self.highest.unwrap_or_default().max(number) + 1) * (1 + MOST_COPIES) + 100;
        if number >= MAX_STREAM_COUNT || sent > MAX_TIME || self.gaps.len() as u64 >= most {
            return None;
        }
        // The clock that tells when a packet came may be a little behind the one that told it of the last.
        let arrived = arrived.max(self.last.map_or(0, |(_, arrived)| arrived));
        self.time(sent, arrived);
        let kind = self.count(number);
        Some(StreamPacket { number, sent, arrived, kind })
    }

    /// How many came, each counted once.
    pub(super) const fn arrived(&self) -> u64 {
        self.arrived
    }

    /// How much longer than the fastest packet the slowest one took.
    pub(super) fn spread(&self) -> Duration {
        let spread = self.transit.map_or(0, |(least, most)| most - least);
        Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX)).min(Duration::from_secs(60))
    }

    fn count(&mut self, number: u64) -> PacketKind {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
            return PacketKind::Copy;
        }
        self.seen[word] |= bit;
        self.arrived += 1;
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
            return PacketKind::Late;
        }
        self.highest = Some(number);
        PacketKind::InOrder
    }

    /// RFC 3550 appendix A.8, in nanoseconds.
    fn time(&mut self, sent: u64, arrived: u64) {
        let transit = i128::from(arrived) - i128::from(sent);
        let (least, most) = self.transit.unwrap_or((transit, transit));
        self.transit = Some((least.min(transit), most.max(transit)));
        if let Some((last_sent, last_arrived)) = self.last.replace((sent, arrived)) {
            let last_transit = i128::from(last_arrived) - i128::from(last_sent);
            let d = (transit - last_transit).unsigned_abs() as f64;
            self.jitter += (d - self.jitter) / 16.0;
            self.jitters += self.jitter;
            self.gaps.push(arrived - last_arrived);
        }
    }

    /// Draws up the balance, of so many that were sent.
    pub(super) fn report(mut self, plan: StreamPlan, sent: Option<u64>, missed: u64) -> StreamReport {
        let expected = sent.unwrap_or_else(|| self.highest.map_or(0, |highest| highest + 1));
        let steps = self.gaps.len().max(1) as f64;
        self.gaps.sort_unstable();
        StreamReport {
            plan,
            sent,
            arrived: self.arrived,
            lost: expected.saturating_sub(self.arrived),
            duplicated: self.duplicated,
            reordered: self.reordered,
            missed,
            jitter: self.jitter,
            mean_jitter: self.jitters / steps,
            gaps: Gaps::of(&self.gaps),
            stopped: false,
        }
    }
}

impl Gaps {
    /// Of these, in ascending order.
    fn of(sorted: &[u64]) -> Option<Self> {
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        // Nearest rank: the least value that so many of a hundred are not above.
        let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        let sum: u128 = sorted.iter().map(|gap| u128::from(*gap)).sum();
        let mean = sum as f64 / sorted.len() as f64;
        let (p50, p99) = (at(50), at(99));
        Some(Self { min, mean, p50, p99, max, histogram: histogram(sorted, p99) })
    }
}

/// Bars of equal width up to where 99 of a hundred are, and one for what is above: a few stragglers shall not make all others
/// one bar.
fn histogram(sorted: &[u64], p99: u64) -> Vec<Bar> {
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Vec::new() };
    let top = if p99 > min { p99 } else { max };
    let step = step(min, top);
    let (mut from, mut rest) = (min / step * step, sorted);
    let mut bars = Vec::new();
    while from <= top {
        let to = from.saturating_add(step);
        let count = rest.partition_point(|gap| *gap < to);
        bars.push(Bar { from, to: Some(to), count: count as u64 });
        rest = &rest[count..];
        from = to;
    }
    if !rest.is_empty() {
        bars.push(Bar { from, to: None, count: rest.len() as u64 });
    }
    bars
}

/// The width of bars that show these: 1, 2 or 5 of a power of ten, so that they are not more than there may be.
fn step(least: u64, most: u64) -> u64 {
    let mut power = LEAST_STEP;
    loop {
        for step in [1, 2, 5].map(|digit| power.saturating_mul(digit)) {
            if most / step - least / step < MOST_BARS {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const PLAN: StreamPlan = StreamPlan { count: 50, interval: 5_000_000, size: 100 };

    fn report(packets: &[(u64, u64, u64)], sent: Option<u64>) -> StreamReport {
        let mut tally = Tally::default();
        for (number, sent, arrived) in packets {
            assert!(tally.take(*number, *sent, *arrived).is_some());
        }
        tally.report(PLAN, sent, 0)
    }

    /// Packets as they may come: number, sent, arrived; in the order in which they came.
    fn packets() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        let one = (0_u64..50, 0_u64..3_000_000, 0_u64..20_000_000);
        prop::collection::vec(one, 0..60).prop_map(|mut all| {
            for (number, sent, arrived) in &mut all {
                *sent += *number * 5_000_000;
                *arrived += *sent;
            }
            all.sort_by_key(|(_, _, arrived)| *arrived);
            all
        })
    }

    proptest! {
        #[test]
        fn the_numbers_are_those_of_a_naive_count(packets in packets()) {
            let made = report(&packets, Some(50));
            let numbers: BTreeSet<u64> = packets.iter().map(|(number, ..)| *number).collect();
            prop_assert_eq!(made.arrived, numbers.len() as u64);
            prop_assert_eq!(made.lost, 50 - numbers.len() as u64);
            prop_assert_eq!(made.duplicated, (packets.len() - numbers.len()) as u64);
            let mut reordered = 0;
            for (at, (number, ..)) in packets.iter().enumerate() {
                let before = &packets[..at];
                let is_copy = before.iter().any(|(other, ..)| other == number);
                let is_late = before.iter().any(|(other, ..)| other > number);
                reordered += u64::from(is_late && !is_copy);
            }
            prop_assert_eq!(made.reordered, reordered);
            // RFC 3550 section 6.4.1, word by word.
            let (mut j, mut sum) = (0.0_f64, 0.0);
            for pair in packets.windows(2) {
                let (_, si, ri) = pair[0];
                let (_, sj, rj) = pair[1];
                let d = (rj as f64 - ri as f64) - (sj as f64 - si as f64);
                j += (d.abs() - j) / 16.0;
                sum += j;
            }
            prop_assert!((made.jitter - j).abs() < 1e-3, "{} {}", made.jitter, j);
            prop_assert!((made.mean_jitter - sum / (packets.len().max(2) - 1) as f64).abs() < 1e-3);
            let mut gaps: Vec<u64> = packets.windows(2).map(|pair| pair[1].2 - pair[0].2).collect();
            gaps.sort_unstable();
            let Some(seen) = made.gaps else {
                prop_assert!(gaps.is_empty());
                return Ok(());
            };
            prop_assert_eq!((Some(&seen.min), Some(&seen.max)), (gaps.first(), gaps.last()));
            let above = |limit: u64| gaps.iter().filter(|gap| **gap > limit).count();
            let (p50, p99) = (seen.p50, seen.p99);
            prop_assert!(above(p50) * 2 <= gaps.len() && above(p99) * 100 <= gaps.len());
            prop_assert!(gaps.iter().filter(|gap| **gap < p50).count() * 2 < gaps.len());
            prop_assert!((seen.mean - gaps.iter().sum::<u64>() as f64 / gaps.len() as f64).abs() < 1e-3);
        }

        #[test]
        fn each_gap_is_in_one_bar_and_bars_are_few(
            mut gaps in prop::collection::vec(
                prop_oneof![0_u64..3000, 0_u64..20_000_000, Just(5_000_000_u64), 0_u64..=u64::MAX], 1..200,
            ),
        ) {
            gaps.sort_unstable();
            let bars = Gaps::of(&gaps).unwrap().histogram;
            prop_assert!((1..=10).contains(&bars.len()), "{}", bars.len());
            let mut counts = BTreeMap::new();
            for gap in &gaps {
                let is_in = |bar: &Bar| bar.from <= *gap && bar.to.is_none_or(|to| *gap < to || to == u64::MAX);
                let at = bars.iter().position(is_in);
                *counts.entry(at.unwrap()).or_insert(0) += 1;
            }
            for (at, bar) in bars.iter().enumerate() {
                prop_assert_eq!(bar.count, counts.get(&at).copied().unwrap_or(0));
                prop_assert!(bar.to.is_some() || at == bars.len() - 1);
            }
            prop_assert!(bars.windows(2).all(|pair| pair[0].to == Some(pair[1].from)));
            prop_assert!(bars[0].count > 0);
        }
    }

    #[test]
    fn a_few_stragglers_do_not_make_all_others_one_bar() {
        let mut gaps: Vec<u64> = (0..999).map(|gap| 4_500_000 + gap * 1000).collect();
        gaps.push(900_000_000);
        let made = Gaps::of(&gaps).unwrap();
        assert_eq!((made.p50, made.p99, made.max), (4_999_000, 5_489_000, 900_000_000));
        assert_eq!(made.histogram.len(), 7);
        assert_eq!(made.histogram[0], Bar { from: 4_400_000, to: Some(4_600_000), count: 100 });
        assert_eq!(made.histogram[5], Bar { from: 5_400_000, to: Some(5_600_000), count: 99 });
        assert_eq!(made.histogram[6], Bar { from: 5_600_000, to: None, count: 1 });
        let mut many = gaps.clone();
        many.extend([6_000_000; 5]);
        many.sort_unstable();
        let last = Gaps::of(&many).unwrap().histogram.pop().unwrap();
        assert_eq!(last, Bar { from: 5_600_000, to: None, count: 6 });
    }

    #[test]
    fn what_is_all_equal_is_one_bar() {
        let made = Gaps::of(&[10_000_000; 99]).unwrap();
        assert_eq!(made.histogram, [Bar { from: 10_000_000, to: Some(10_001_000), count: 99 }]);
        assert_eq!(
            (made.min, made.p50, made.p99, made.max),
            (10_000_000, 10_000_000, 10_000_000, 10_000_000)
        );
        assert_eq!(Gaps::of(&[0]).unwrap().histogram, [Bar { from: 0, to: Some(1000), count: 1 }]);
        assert_eq!(Gaps::of(&[]), None);
    }

    #[test]
    fn what_can_not_be_true_is_refused_and_memory_is_bounded() {
        let mut tally = Tally::default();
        assert_eq!(tally.take(MAX_STREAM_COUNT, 0, 0), None);
        assert_eq!(tally.take(1, u64::MAX, 0), None);
        let copies = (0..1_000_000).take_while(|at| tally.take(0, 0, *at).is_some()).count();
        assert!(copies < 200, "{copies}");
        let mut tally = Tally::default();
        for number in (0..MAX_STREAM_COUNT).rev() {
            assert!(tally.take(number, number, number).is_some());
        }
        assert!(tally.seen.len() * 8 <= 125_008 && tally.gaps.len() < MAX_STREAM_COUNT as usize);
    }

    #[test]
    fn while_it_is_not_over_what_is_missing_below_the_highest_is_lost() {
        let made = report(&[(0, 0, 5), (3, 15, 20)], None);
        assert_eq!((made.sent, made.arrived, made.lost), (None, 2, 2));
        assert_eq!(report(&[], None).lost, 0);
    }
}
