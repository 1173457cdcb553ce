//! What became of the chunks of a plain transfer, and how the two sides tell each other.

use std::ops::Range;

use framing::{ChunkSet, Fault, MAX_RANGES, Message, Page, PageBuilder};
use link::{Link, LinkError};

use crate::events::Faults;
use crate::hello::misbehaved;

/// The most ranges that are told of each fault.
const MAX_TOLD: usize = MAX_RANGES / 4;

impl Faults {
    /// Those of the chunks of one file, counted from its start.
    pub(crate) fn of_file(&self, chunks: Range<u64>) -> Self {
        let own = |set: &ChunkSet| -> ChunkSet {
            let own = set.within(chunks.clone());
            own.ranges().map(|range| range.start - chunks.start..range.end - chunks.start).collect()
        };
        Self {
            chunks: chunks.end - chunks.start,
            lost: own(&self.lost),
            damaged: own(&self.damaged),
            duplicated: own(&self.duplicated),
            reordered: own(&self.reordered),
        }
    }

    /// Whether all of these chunks came as they were sent.
    pub(crate) fn is_whole_in(&self, chunks: &Range<u64>) -> bool {
        let touches =
            |set: &ChunkSet| set.next_from(chunks.start).is_some_and(|next| next.start < chunks.end);
        !touches(&self.lost) && !touches(&self.damaged)
    }

    /// Bounds its memory and what is told of it: many ranges close together become one.
    pub(crate) fn coarsen(&mut self) {
        for set in [&mut self.lost, &mut self.damaged, &mut self.duplicated, &mut self.reordered] {
            set.coarsen(MAX_TOLD);
        }
    }

    /// Tells the other side.
    pub(crate) fn send(&self, link: &mut dyn Link) -> Result<(), LinkError> {
        let sets = [
            (Fault::Lost, &self.lost),
            (Fault::Damaged, &self.damaged),
            (Fault::Duplicated, &self.duplicated),
            (Fault::Reordered, &self.reordered),
        ];
        for (fault, set) in sets {
            let mut page = PageBuilder::default();
            let mut ranges = set.ranges().peekable();
            while let Some(range) = ranges.next() {
                page.push(&range);
                if page.is_full() || ranges.peek().is_none() {
                    link.send(&Message::Faults(fault, page.page()))?;
                    page.clear();
                }
            }
        }
        Ok(())
    }

    /// Takes in what the other side tells.
    pub(crate) fn hear(&mut self, fault: Fault, page: Page<'_, Range<u64>>) -> Result<(), LinkError> {
        let all = self.chunks;
        let set = match fault {
            Fault::Lost => &mut self.lost,
            Fault::Damaged => &mut self.damaged,
            Fault::Duplicated => &mut self.duplicated,
            Fault::Reordered => &mut self.reordered,
        };
        set.extend(page.iter());
        if set.end() > all {
            return Err(misbehaved("it told what became of a chunk that there is not"));
        }
        if set.range_count() > MAX_TOLD {
            return Err(misbehaved("it told of too many separate chunks"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(faults: &mut Faults, ranges: impl Iterator<Item = Range<u64>>) -> Result<(), LinkError> {
        let mut page = PageBuilder::default();
        for range in ranges {
            page.push(&range);
            if page.is_full() {
                faults.hear(Fault::Lost, page.page())?;
                page.clear();
            }
        }
        faults.hear(Fault::Lost, page.page())
    }

    #[test]
    fn what_is_told_of_chunks_is_bounded_by_the_transfer_and_by_number() {
        let mut faults = Faults { chunks: 10, ..Faults::default() };
        hear(&mut faults, std::iter::once(7..10)).unwrap();
        let error = hear(&mut faults, std::iter::once(9..11)).unwrap_err();
        assert!(error.to_string().contains("a chunk that there is not"), "{error}");
        let many = |count: u64| (0..count).map(|number| number * 2..number * 2 + 1);
        let mut faults = Faults { chunks: u64::MAX, ..Faults::default() };
        hear(&mut faults, many(MAX_TOLD as u64)).unwrap();
        let error = hear(&mut faults, many(MAX_TOLD as u64 + 1)).unwrap_err();
        assert!(error.to_string().contains("too many separate chunks"), "{error}");
        faults.coarsen();
        assert_eq!(faults.lost.range_count(), MAX_TOLD);
    }

    #[test]
    fn each_file_has_its_own() {
        let faults =
            Faults { chunks: 30, lost: (5..15).into(), damaged: (20..21).into(), ..Faults::default() };
        let own = faults.of_file(10..25);
        assert_eq!((own.chunks, own.lost, own.damaged), (15, (0..5).into(), (10..11).into()));
        assert!(faults.is_whole_in(&(0..5)) && faults.is_whole_in(&(21..30)) && faults.is_whole_in(&(7..7)));
        assert!(!faults.is_whole_in(&(0..6)) && !faults.is_whole_in(&(15..21)));
    }
}
