//! Sets of chunk numbers, kept as ranges.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::record::Page;

/// The most ranges of a set that a peer tells.
pub const MAX_RANGES: usize = 1 << 20;

/// A set of chunk numbers: which are wanted, held, lost or bad.
///
/// Kept as ranges that neither touch nor overlap, so its memory goes with the number of gaps, not of chunks.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChunkSet {
    /// Start and end of each range.
    ranges: BTreeMap<u64, u64>,
}

impl ChunkSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: BTreeMap::new() }
    }

    /// Whether no chunk is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many chunks are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// How many ranges it is made of.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Its ranges, in order.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// The first range.
    #[must_use]
    pub fn first(&self) -> Option<Range<u64>> {
        self.ranges.first_key_value().map(|(&start, &end)| start..end)
    }

    /// The end of its last range: no chunk in it has this number or a higher one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// Whether `chunk` is in it.
    #[must_use]
    pub fn contains(&self, chunk: u64) -> bool {
        self.range_at(chunk).is_some()
    }

    /// The range that `chunk` lies in.
    #[must_use]
    pub fn range_at(&self, chunk: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.ranges.range(..=chunk).next_back()?;
        (chunk < end).then_some(start..end)
    }

    /// The part of the first range at or behind `chunk` that is at or behind it.
    #[must_use]
    pub fn next_from(&self, chunk: u64) -> Option<Range<u64>> {
        if let Some(range) = self.range_at(chunk) {
            return Some(chunk..range.end);
        }
        self.ranges.range(chunk..).next().map(|(&start, &end)| start..end)
    }

    /// Puts `range` into it.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((&before, &until)) = self.ranges.range(..=start).next_back()
            && until >= start
        {
            if until >= end {
                return;
            }
            start = before;
        }
        while let Some((&next, &until)) = self.ranges.range(start..=end).next_back() {
            end = end.max(until);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// Takes `range` out of it.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.ranges.range(..range.end).next_back() {
            if end <= range.start {
                return;
            }
            self.ranges.remove(&start);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
            if start < range.start {
                self.ranges.insert(start, range.start);
                return;
            }
        }
    }

    /// Puts all of `other` into it.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Range<u64>>) {
        other.into_iter().for_each(|range| self.insert(range));
    }

    /// Takes all of `other` out of it.
    pub fn subtract(&mut self, other: &Self) {
        other.ranges().for_each(|range| self.remove(range));
    }

    /// What of it lies in `range`.
    #[must_use]
    pub fn within(&self, range: Range<u64>) -> Self {
        let mut part = Self::new();
        let mut at = range.start;
        while let Some(next) = self.next_from(at).filter(|next| next.start < range.end) {
            at = next.end;
            part.insert(next.start..next.end.min(range.end));
        }
        part
    }

    /// How many of the chunks of `range` are in it.
    #[must_use]
    pub fn count_in(&self, range: Range<u64>) -> u64 {
        self.within(range).len()
    }

    /// Lets the smallest ranges go until it has at most `max`, so that its memory is bounded and nothing is in it that was not.
    pub fn keep_largest(&mut self, max: usize) {
        let excess = self.ranges.len().saturating_sub(max);
        if excess == 0 {
            return;
        }
        let mut ranges: Vec<Range<u64>> = self.ranges().collect();
        ranges.sort_by_key(|range| range.end - range.start);
        ranges.into_iter().take(excess).for_each(|range| self.remove(range));
    }

    /// Fills the smallest gaps until it has at most `max` ranges, so that its memory is bounded whatever happened.
    pub fn coarsen(&mut self, max: usize) {
        let excess = self.ranges.len().saturating_sub(max.max(1));
        if excess == 0 {
            return;
        }
        let starts: Vec<u64> = self.ranges.keys().skip(1).copied().collect();
        let mut gaps: Vec<Range<u64>> =
            self.ranges.values().zip(starts).map(|(&end, start)| end..start).collect();
        gaps.sort_by_key(|gap| gap.end - gap.start);
        gaps.into_iter().take(excess).for_each(|gap| self.insert(gap));
    }
}

impl From<Range<u64>> for ChunkSet {
    fn from(range: Range<u64>) -> Self {
        let mut set = Self::new();
        set.insert(range);
        set
    }
}

impl<'a> IntoIterator for &'a ChunkSet {
    type Item = Range<u64>;
    type IntoIter =
        std::iter::Map<std::collections::btree_map::Iter<'a, u64, u64>, fn((&u64, &u64)) -> Range<u64>>;

    fn into_iter(self) -> Self::IntoIter {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }
}

impl FromIterator<Range<u64>> for ChunkSet {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl From<Page<'_, Range<u64>>> for ChunkSet {
    fn from(page: Page<'_, Range<u64>>) -> Self {
        page.iter().collect()
    }
}

impl fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ranges()).finish()
    }
}
