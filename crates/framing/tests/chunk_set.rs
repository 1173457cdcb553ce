//! Chunk sets against a model that keeps each number on its own.

use std::collections::BTreeSet;
use std::ops::Range;

use framing::{ChunkSet, PageBuilder};
use proptest::prelude::*;

/// How many numbers the model looks at.
const WORLD: u64 = 80;
/// Where they lie: at the beginning of all numbers, in the middle, at their end.
const BASES: [u64; 3] = [0, 1 << 40, u64::MAX - WORLD];

type Model = BTreeSet<u64>;

#[derive(Debug, Clone)]
enum Change {
    Insert(Range<u64>),
    Remove(Range<u64>),
    Extend(Vec<Range<u64>>),
    Subtract(Vec<Range<u64>>),
    Within(Range<u64>),
}

fn shifted(range: &Range<u64>, base: u64) -> Range<u64> {
    base + range.start..base + range.end
}

fn set_of(ranges: &[Range<u64>], base: u64) -> ChunkSet {
    ranges.iter().map(|range| shifted(range, base)).collect()
}

fn model_of(ranges: &[Range<u64>], base: u64) -> Model {
    ranges.iter().flat_map(|range| shifted(range, base)).collect()
}

/// Does the same to both.
fn apply(change: &Change, base: u64, set: &mut ChunkSet, model: &mut Model) {
    match change {
        Change::Insert(range) => {
            set.insert(shifted(range, base));
            model.extend(shifted(range, base));
        }
        Change::Remove(range) => {
            set.remove(shifted(range, base));
            model.retain(|number| !shifted(range, base).contains(number));
        }
        Change::Extend(ranges) => {
            set.extend(&set_of(ranges, base));
            model.extend(model_of(ranges, base));
        }
        Change::Subtract(ranges) => {
            set.subtract(&set_of(ranges, base));
            let gone = model_of(ranges, base);
            model.retain(|number| !gone.contains(number));
        }
        Change::Within(range) => {
            let range = shifted(range, base);
            assert_eq!(set.count_in(range.clone()), model.range(range.clone()).count() as u64);
            *set = set.within(range.clone());
            model.retain(|number| range.contains(number));
        }
    }
}

/// The ranges that a model is made of, found number by number.
fn ranges_of(model: &Model) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for &number in model {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

/// Compares everything that a set says about itself with the model.
fn compare(set: &ChunkSet, model: &Model, base: u64) {
    let ranges = ranges_of(model);
    assert_eq!(set.ranges().collect::<Vec<_>>(), ranges);
    assert!(set.into_iter().eq(ranges.iter().cloned()));
    assert_eq!(set.ranges().rev().collect::<Vec<_>>(), ranges.iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(format!("{set:?}"), format!("{:?}", DebugSet(&ranges)));
    assert_eq!(set.range_count(), ranges.len());
    assert_eq!(set.len(), model.len() as u64);
    assert_eq!(set.is_empty(), model.is_empty());
    assert_eq!(set.first().as_ref(), ranges.first());
    assert_eq!(set.end(), ranges.last().map_or(0, |range| range.end));
    for number in base..base + WORLD {
        let at = ranges.iter().find(|range| range.contains(&number));
        assert_eq!(set.contains(number), model.contains(&number), "{number}");
        assert_eq!(set.range_at(number).as_ref(), at, "{number}");
        let next = ranges.iter().find(|range| range.end > number);
        assert_eq!(set.next_from(number), next.map(|range| range.start.max(number)..range.end), "{number}");
    }
}

struct DebugSet<'a>(&'a [Range<u64>]);

impl std::fmt::Debug for DebugSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0).finish()
    }
}

/// Ranges, some of them empty.
fn ranges() -> impl Strategy<Value = Range<u64>> {
    prop_oneof![
        4 => (0..WORLD, 0..6u64).prop_map(|(start, len)| start..(start + len).min(WORLD)),
        1 => (0..WORLD, 0..WORLD).prop_map(|(a, b)| a.min(b)..a.max(b)),
    ]
}

fn many() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec(ranges(), 0..8)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        6 => ranges().prop_map(Change::Insert),
        4 => ranges().prop_map(Change::Remove),
        2 => many().prop_map(Change::Extend),
        1 => many().prop_map(Change::Subtract),
        1 => ranges().prop_map(Change::Within),
    ];
    prop::collection::vec(change, 1..40)
}

/// The fewest numbers that have to be added for at most `max` ranges: every choice of gaps to keep is tried.
fn fewest_added(ranges: &[Range<u64>], max: usize) -> u64 {
    let gaps: Vec<u64> = ranges.windows(2).map(|pair| pair[1].start - pair[0].end).collect();
    (0..1u32 << gaps.len())
        .filter(|kept| (kept.count_ones() as usize) < max)
        .map(|kept| {
            let filled = gaps.iter().enumerate().filter(|(gap, _)| kept >> gap & 1 == 0);
            filled.map(|(_, len)| len).sum()
        })
        .min()
        .expect("keeping no gap is a choice")
}

/// The most numbers that at most `max` of the ranges hold: every choice of them is tried.
fn most_kept(ranges: &[Range<u64>], max: usize) -> u64 {
    (0..1u32 << ranges.len())
        .filter(|kept| kept.count_ones() as usize <= max)
        .map(|kept| {
            let kept = ranges.iter().enumerate().filter(|(at, _)| kept >> at & 1 == 1);
            kept.map(|(_, range)| range.end - range.start).sum()
        })
        .max()
        .expect("keeping none is a choice")
}

proptest! {
    #[test]
    fn any_changes_as_in_the_model(changes in changes(), base in prop::sample::select(&BASES[..])) {
        let (mut set, mut model) = (ChunkSet::new(), Model::new());
        for change in &changes {
            apply(change, base, &mut set, &mut model);
            compare(&set, &model, base);
        }
    }

    /// However a set came about, equal content is an equal set.
    #[test]
    fn equal_content_is_equal(ranges in many(), base in prop::sample::select(&BASES[..])) {
        let set = set_of(&ranges, base);
        let one_by_one: ChunkSet =
            model_of(&ranges, base).into_iter().rev().map(|number| number..number + 1).collect();
        prop_assert_eq!(&set, &one_by_one);
        let mut more = set.clone();
        more.extend(std::iter::once(base..base + 1));
        prop_assert_eq!(more == set, set.contains(base));
        prop_assert!(more.contains(base));
    }

    #[test]
    fn coarsen_adds_no_more_than_it_must(
        ranges in prop::collection::vec(ranges(), 0..11),
        max in 0..8usize,
        base in prop::sample::select(&BASES[..]),
    ) {
        let before = set_of(&ranges, base);
        let mut after = before.clone();
        after.coarsen(max);
        let mut lost = before.clone();
        lost.subtract(&after);
        prop_assert!(lost.is_empty(), "lost {:?}", lost);
        prop_assert!(after.range_count() <= max.max(1));
        let all: Vec<_> = before.ranges().collect();
        prop_assert_eq!(after.len() - before.len(), fewest_added(&all, max.max(1)));
        prop_assert_eq!((after.first().map(|range| range.start), after.end()),
            (before.first().map(|range| range.start), before.end()));
    }

    #[test]
    fn keep_largest_loses_no_more_than_it_must(
        ranges in prop::collection::vec(ranges(), 0..11),
        max in 0..8usize,
        base in prop::sample::select(&BASES[..]),
    ) {
        let before = set_of(&ranges, base);
        let mut after = before.clone();
        after.keep_largest(max);
        let kept: Vec<_> = after.ranges().collect();
        let all: Vec<_> = before.ranges().collect();
        prop_assert!(kept.iter().all(|range| all.contains(range)));
        prop_assert_eq!(kept.len(), all.len().min(max));
        prop_assert_eq!(after.len(), most_kept(&all, max));
    }

    /// What came in a page, in whatever order and however doubled, is one set.
    #[test]
    fn a_page_of_ranges_is_a_set(ranges in many()) {
        let mut page = PageBuilder::default();
        ranges.iter().filter(|range| !range.is_empty()).for_each(|range| page.push(range));
        prop_assert_eq!(ChunkSet::from(page.page::<Range<u64>>()), set_of(&ranges, 0));
    }
}

#[test]
fn all_numbers_fit_into_one_range() {
    let mut set = ChunkSet::from(0..u64::MAX);
    assert_eq!((set.len(), set.range_count()), (u64::MAX, 1));
    set.insert(5..10);
    assert_eq!(set, ChunkSet::from(0..u64::MAX));
    set.remove(1..u64::MAX - 1);
    assert_eq!(set.ranges().collect::<Vec<_>>(), [0..1, u64::MAX - 1..u64::MAX]);
    assert_eq!(set.next_from(u64::MAX), None);
}

/// A range that ends before it starts is empty, whatever is done with it.
#[test]
#[expect(clippy::reversed_empty_ranges, reason = "that is what is tried")]
fn a_backward_range_changes_nothing() {
    let mut set = ChunkSet::from(0..10);
    set.insert(30..20);
    set.remove(8..2);
    assert_eq!(set, ChunkSet::from(0..10));
    assert!(set.within(8..2).is_empty());
    assert!(ChunkSet::from(30..20).is_empty());
}

/// The worst that can come in: every second chunk. Coarsened now and then, the set stays as small as it was told.
#[test]
fn memory_is_bounded_whatever_comes() {
    const MAX: usize = 64;
    let mut set = ChunkSet::new();
    for chunk in (0..20_000).step_by(2) {
        set.insert(chunk..chunk + 1);
        if set.range_count() > 2 * MAX {
            set.coarsen(MAX);
            assert_eq!(set.range_count(), MAX);
        }
    }
    assert!((0..20_000).step_by(2).all(|chunk| set.contains(chunk)));
    assert_eq!(set.end(), 19_999);
}

/// Memory goes with the gaps: a big file that comes in order is one range.
#[test]
fn neighbours_become_one_range() {
    let mut set = ChunkSet::new();
    (0..1000).for_each(|chunk| set.insert(chunk..chunk + 1));
    (1001..2000).rev().for_each(|chunk| set.insert(chunk..chunk + 1));
    assert_eq!(set.range_count(), 2);
    set.insert(1000..1001);
    assert_eq!(set, ChunkSet::from(0..2000));
}
