//! Which part of which chunk goes next: first what was lost, then what is new, and at the end copies of what is on its way.
//!
//! Only numbers are kept here, never a byte of a file: a part that must go again is read again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use framing::ChunkSet;
use framing::packet::{UNIT_LEN, UNITS_PER_CHUNK};

/// The most copies of a part that are on their way at a time.
const MAX_COPIES: u8 = 8;
/// How many parts may be left unlucky when the last copies are out: copies are made until fewer are to be expected.
const TAIL_RISK: f64 = 0.5;
/// The same when so few parts are left that copies cost nothing.
const LAST_RISK: f64 = 0.02;
const LAST_PARTS: usize = 32;
/// Of all parts of a pass, the share that copies may cost; and how many they may be in any case.
const COPY_SHARE: u64 = 44;
const MIN_COPIES: u64 = 96;

/// A part that is to be sent now. Say [`Connection::commit`](crate::Connection::commit) when it goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The chunk that it begins in.
    pub chunk: u64,
    /// The unit of that chunk that it begins with.
    pub unit: u8,
    /// Its bytes; they may run on into the chunks that follow.
    pub len: usize,
    /// Whether it was sent before. Parts that were not come in ascending order.
    pub again: bool,
    pub(crate) id: PartId,
}

/// Names a part for as long as anything is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartId {
    slot: u32,
    generation: u32,
}

#[derive(Debug, Clone)]
struct Slot {
    generation: u32,
    /// First unit, counted over all chunks.
    start: u64,
    len: u16,
    /// Packets with it that may still arrive.
    copies: u8,
    done: bool,
    /// Whether it waits in the list of the lost, or was claimed and not committed.
    waits: bool,
    /// Whether nothing refers to it.
    free: bool,
    sent: Option<Instant>,
}

impl Slot {
    const fn end(&self) -> u64 {
        self.start + (self.len as usize).div_ceil(UNIT_LEN) as u64
    }
}

/// The schedule of a pass.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    wanted: ChunkSet,
    /// The next unit that was never claimed.
    next: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    lost: VecDeque<PartId>,
    /// Parts whose fate is open, for the tail.
    open: usize,
    tail: VecDeque<PartId>,
    tail_built: Option<Instant>,
    /// How many copies of each there are to be.
    tail_copies: u8,
    /// When the last part that had never been sent went out.
    last_new: Option<Instant>,
    /// Parts of this pass, and copies made of them.
    parts: u64,
    copies: u64,
}

impl Outgoing {
    /// Begins a pass.
    pub(crate) fn begin(&mut self, wanted: ChunkSet) {
        self.lost.clear();
        self.tail.clear();
        (self.tail_built, self.last_new) = (None, None);
        (self.parts, self.copies) = (0, 0);
        self.next = 0;
        self.wanted = wanted;
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if !slot.free {
                self.open -= usize::from(!slot.done);
                slot.done = true;
                slot.waits = false;
                self.release(at as u32);
            }
        }
    }

    /// How many parts there is room for now.
    pub(crate) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether every part has arrived or was given up.
    pub(crate) fn is_done(&self) -> bool {
        self.open == 0 && !self.has_new()
    }

    /// Whether there are parts that were never sent.
    pub(crate) fn has_new(&self) -> bool {
        self.wanted.next_from(self.next / UNITS_PER_CHUNK).is_some()
    }

    /// Whether there are lost parts to send.
    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    fn slot(&self, id: PartId) -> Option<&Slot> {
        self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)
    }

    fn slot_mut(&mut self, id: PartId) -> Option<&mut Slot> {
        self.slots.get_mut(id.slot as usize).filter(|slot| slot.generation == id.generation)
    }

    fn add(&mut self, start: u64, len: u16) -> PartId {
        self.open += 1;
        let slot =
            Slot { generation: 0, start, len, copies: 0, done: false, waits: true, free: false, sent: None };
        match self.free.pop() {
            Some(at) => {
                let generation = self.slots[at as usize].generation;
                self.slots[at as usize] = Slot { generation, ..slot };
                PartId { slot: at, generation }
            }
            None => {
                self.slots.push(slot);
                PartId { slot: (self.slots.len() - 1) as u32, generation: 0 }
            }
        }
    }

    /// Forgets a part that nothing refers to any more.
    fn release(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.done && slot.copies == 0 && !slot.waits && !slot.free {
            slot.free = true;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(at);
        }
    }

    fn finish(&mut self, id: PartId) {
        if let Some(slot) = self.slot_mut(id)
            && !slot.done
        {
            slot.done = true;
            self.open -= 1;
        }
    }

    fn claim_of(&self, id: PartId, again: bool) -> Option<Claim> {
        let slot = self.slot(id)?;
        let (chunk, unit) = (slot.start / UNITS_PER_CHUNK, (slot.start % UNITS_PER_CHUNK) as u8);
        Some(Claim { chunk, unit, len: usize::from(slot.len), again, id })
    }

    /// The next part that was lost, of at most so many units.
    pub(crate) fn claim_lost(&mut self, units: usize) -> Option<Claim> {
        while let Some(id) = self.lost.pop_front() {
            let Some(slot) = self.slot_mut(id) else { continue };
            if slot.done {
                slot.waits = false;
                self.release(id.slot);
                continue;
            }
            let most = units * UNIT_LEN;
            let (rest_start, rest) = (slot.start + units as u64, usize::from(slot.len).saturating_sub(most));
            if rest > 0 {
                slot.len = most as u16;
                let rest = self.add(rest_start, rest as u16);
                self.lost.push_front(rest);
            }
            return self.claim_of(id, true);
        }
        None
    }

    /// The next part that was never sent, of at most so many units.
    pub(crate) fn claim_new(
        &mut self,
        units: usize,
        chunk_len: &mut dyn FnMut(u64) -> usize,
    ) -> Option<Claim> {
        let at = self.next / UNITS_PER_CHUNK;
        let range = self.wanted.next_from(at)?;
        let mut unit = if range.start > at { range.start * UNITS_PER_CHUNK } else { self.next };
        let start = unit;
        let most = units * UNIT_LEN;
        let mut len = 0;
        while len < most && unit / UNITS_PER_CHUNK < range.end {
            let chunk = unit / UNITS_PER_CHUNK;
            let whole = chunk_len(chunk);
            let here = whole.saturating_sub((unit % UNITS_PER_CHUNK) as usize * UNIT_LEN).min(most - len);
            len += here;
            unit += here.div_ceil(UNIT_LEN) as u64;
            let is_over = (unit - chunk * UNITS_PER_CHUNK) as usize * UNIT_LEN >= whole;
            if is_over {
                unit = (chunk + 1) * UNITS_PER_CHUNK;
                // Where a whole chunk fits, each datagram holds one: it can be sent from where it was read to.
                if whole < framing::CHUNK_LEN || units >= UNITS_PER_CHUNK as usize {
                    break;
                }
            }
        }
        self.next = unit;
        self.parts += 1;
        let id = self.add(start, len as u16);
        self.claim_of(id, false)
    }

    /// A copy of a part that is on its way, when nothing else is left to send and a loss would cost another round trip.
    ///
    /// None has more than so many units.
    pub(crate) fn claim_copy(
        &mut self,
        now: Instant,
        units: usize,
        loss: f64,
        rtt: Duration,
    ) -> Option<Claim> {
        let copies = copies_wanted(self.open, loss);
        if copies <= 1 || self.has_new() || self.is_spent() {
            return None;
        }
        if self.tail.is_empty() {
            if self.tail_built.is_some_and(|built| now.saturating_duration_since(built) < rtt / 16) {
                return None;
            }
            self.tail_built = Some(now);
            self.build_tail(now, loss, rtt);
        }
        let wanted = self.tail_copies;
        while let Some(id) = self.tail.pop_front() {
            let Some(slot) = self.slot_mut(id) else { continue };
            // The path may have become narrower: what is too large for it now is taken apart when it is lost.
            let fits = usize::from(slot.len) <= units * UNIT_LEN;
            if fits && !slot.done && !slot.waits && slot.copies < wanted {
                slot.waits = true;
                self.copies += 1;
                return self.claim_of(id, true);
            }
        }
        None
    }

    /// Whether copies have cost what they may.
    const fn is_spent(&self) -> bool {
        self.open > LAST_PARTS && self.copies > MIN_COPIES + self.parts / COPY_SHARE
    }

    /// Lists the parts that are to be copied, those sent last first.
    ///
    /// Where one copy of each part on its way is enough, all are copied. Where it would take more, that would cost much, and
    /// what is lost of them goes again one round trip after the end whatever is done: then only that is copied, and what went
    /// out at the very end.
    fn build_tail(&mut self, now: Instant, loss: f64, rtt: Duration) {
        let all = self.open <= LAST_PARTS || copies_wanted(self.open, loss) <= 2;
        let is_late = |sent: Instant| all || self.last_new.is_some_and(|last| sent + rtt / 16 >= last);
        let open = |slot: &&Slot| !slot.done && slot.sent.is_some();
        let late = self.slots.iter().filter(open).filter(|slot| slot.sent.is_some_and(is_late)).count();
        let at_risk = late + (self.open.saturating_sub(late) as f64 * loss) as usize;
        let copies = copies_wanted(at_risk, loss);
        let mut tail: BTreeSet<(u8, Reverse<Instant>, u32)> = BTreeSet::new();
        for (at, slot) in self.slots.iter().enumerate().filter(|(_, slot)| open(slot)) {
            let Some(sent) = slot.sent.filter(|sent| is_late(*sent)) else { continue };
            // What went out just now may well arrive.
            let is_ripe = slot.copies <= 1 || now.saturating_duration_since(sent) >= rtt / 8;
            if !slot.waits && slot.copies < copies && is_ripe {
                tail.insert((slot.copies, Reverse(sent), at as u32));
            }
        }
        self.tail_copies = copies;
        let slots = &self.slots;
        self.tail.extend(tail.into_iter().filter_map(|(_, _, at)| {
            slots.get(at as usize).map(|slot| PartId { slot: at, generation: slot.generation })
        }));
    }

    /// When a tail that has nothing to copy now may have something.
    pub(crate) fn tail_deadline(&self, loss: f64, rtt: Duration) -> Option<Instant> {
        (copies_wanted(self.open, loss) > 1 && !self.has_new() && !self.is_spent())
            .then(|| self.tail_built.map(|built| built + rtt / 16))
            .flatten()
    }

    /// A claimed part goes out now.
    pub(crate) fn commit(&mut self, now: Instant, id: PartId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.waits = false;
            slot.copies = slot.copies.saturating_add(1);
            if slot.sent.replace(now).is_none() {
                self.last_new = Some(now);
            }
        }
    }

    /// A claimed part does not go out after all.
    pub(crate) fn put_back(&mut self, id: PartId) {
        let Some(slot) = self.slot_mut(id) else { return };
        if slot.done || slot.copies > 0 {
            slot.waits = false;
            self.release(id.slot);
        } else {
            self.lost.push_front(id);
        }
    }

    /// A packet with this part arrived.
    pub(crate) fn acked(&mut self, id: PartId) {
        self.finish(id);
        self.drop_copy(id);
    }

    /// A packet with this part arrived after all, though it was taken for lost.
    pub(crate) fn acked_late(&mut self, id: PartId) {
        self.finish(id);
        if self.slot(id).is_some() {
            self.release(id.slot);
        }
    }

    /// A packet with this part was lost: whether the part must go again.
    pub(crate) fn lose(&mut self, id: PartId) {
        if let Some(slot) = self.slot_mut(id)
            && !slot.done
            && slot.copies <= 1
            && !slot.waits
        {
            slot.waits = true;
            self.lost.push_back(id);
        }
        self.drop_copy(id);
    }

    fn drop_copy(&mut self, id: PartId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.copies = slot.copies.saturating_sub(1);
            self.release(id.slot);
        }
    }

    /// Gives chunks up that can't be read. What else is in parts with them, goes on.
    pub(crate) fn abandon(&mut self, chunks: Range<u64>) {
        self.wanted.remove(chunks.clone());
        let gone = chunks.start.saturating_mul(UNITS_PER_CHUNK)..chunks.end.saturating_mul(UNITS_PER_CHUNK);
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            let (start, end, len) = (slot.start, slot.end(), slot.len);
            if slot.done || slot.free || end <= gone.start || start >= gone.end {
                continue;
            }
            let id = PartId { slot: at as u32, generation: slot.generation };
            self.finish(id);
            let is_listed = self.lost.contains(&id);
            if let Some(slot) = self.slot_mut(id)
                && !is_listed
            {
                slot.waits = false;
                self.release(id.slot);
            }
            if start < gone.start {
                let id = self.add(start, ((gone.start - start) as usize * UNIT_LEN) as u16);
                self.lost.push_back(id);
            }
            if end > gone.end {
                let cut = (gone.end - start) as usize * UNIT_LEN;
                let id = self.add(gone.end, len.saturating_sub(cut as u16));
                self.lost.push_back(id);
            }
        }
    }
}

/// Bytes that a part counts for between the two sides: those of its units.
pub(crate) const fn in_units(len: usize) -> u64 {
    (len.div_ceil(UNIT_LEN) * UNIT_LEN) as u64
}

/// How many copies of each of `open` parts should be on their way, so that hardly any is lost with all of them.
fn copies_wanted(open: usize, loss: f64) -> u8 {
    let loss = loss.clamp(0.0, 0.95);
    let risk = if open <= LAST_PARTS { LAST_RISK } else { TAIL_RISK };
    if loss <= 0.0 || open == 0 || open as f64 * loss < risk {
        return 1;
    }
    let copies = ((open as f64 / risk).ln() / -loss.ln()).ceil();
    (copies as u8).clamp(1, MAX_COPIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(_: u64) -> usize {
        4096
    }

    #[test]
    fn parts_run_on_over_chunks_and_stop_at_the_end_of_a_file() {
        let mut outgoing = Outgoing::default();
        let mut wanted = ChunkSet::from(0..3);
        wanted.insert(5..6);
        outgoing.begin(wanted);
        let mut lens = |chunk| if chunk == 2 { 200 } else { 4096 };
        let mut got = Vec::new();
        while let Some(claim) = outgoing.claim_new(11, &mut lens) {
            got.push((claim.chunk, claim.unit, claim.len));
        }
        assert_eq!(
            got,
            [
                (0, 0, 1408),
                (0, 11, 1408),
                (0, 22, 1408),
                (1, 1, 1408),
                (1, 12, 1408),
                (1, 23, 1152 + 200),
                (5, 0, 1408),
                (5, 11, 1408),
                (5, 22, 1280),
            ]
        );
    }

    #[test]
    fn a_lost_part_goes_again_until_it_arrives() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.begin(ChunkSet::from(0..1));
        let claim = outgoing.claim_new(32, &mut full).unwrap();
        outgoing.commit(now, claim.id);
        assert!(!outgoing.is_done() && !outgoing.has_new());
        outgoing.lose(claim.id);
        // The path has become narrower meanwhile.
        let first = outgoing.claim_lost(20).unwrap();
        let second = outgoing.claim_lost(20).unwrap();
        assert_eq!((first.unit, first.len, first.again), (0, 2560, true));
        assert_eq!((second.unit, second.len), (20, 1536));
        outgoing.commit(now, first.id);
        outgoing.commit(now, second.id);
        outgoing.acked(first.id);
        outgoing.lose(second.id);
        outgoing.acked_late(second.id);
        assert!(outgoing.claim_lost(20).is_none());
        assert!(outgoing.is_done());
    }

    #[test]
    fn what_will_be_known_in_time_is_not_copied() {
        let (began, rtt) = (Instant::now(), Duration::from_millis(160));
        let copied = |loss: f64| {
            let mut outgoing = Outgoing::default();
            outgoing.begin(ChunkSet::from(0..400));
            let mut now = began;
            while let Some(claim) = outgoing.claim_new(32, &mut full) {
                outgoing.commit(now, claim.id);
                now += rtt / 400;
            }
            let mut chunks = Vec::new();
            while let Some(claim) = outgoing.claim_copy(now, 32, loss, rtt) {
                outgoing.commit(now, claim.id);
                chunks.push(claim.chunk);
            }
            (chunks.len(), chunks.first().copied(), chunks.iter().min().copied())
        };
        // 400 parts, one in a hundred lost: a copy of each, up to what copies may cost.
        assert_eq!(copied(0.01), (MIN_COPIES as usize + 400 / COPY_SHARE as usize + 1, Some(399), Some(294)));
        // One in five: only of the last sixteenth of a round trip.
        assert_eq!(copied(0.2), (26, Some(399), Some(374)));
    }

    #[test]
    fn no_copy_is_larger_than_the_path_has_become() {
        let now = Instant::now();
        let rtt = Duration::from_millis(100);
        let mut outgoing = Outgoing::default();
        outgoing.begin(ChunkSet::from(0..4));
        while let Some(claim) = outgoing.claim_new(32, &mut full) {
            outgoing.commit(now, claim.id);
        }
        let later = now + rtt / 4;
        assert_eq!(outgoing.claim_copy(later, 9, 0.5, rtt), None);
        assert!(outgoing.claim_copy(later + rtt / 4, 32, 0.5, rtt).is_some());
    }

    #[test]
    fn copies_are_as_many_as_the_loss_asks_for() {
        assert_eq!(copies_wanted(850, 0.0), 1);
        assert_eq!(copies_wanted(850, 0.0005), 1);
        assert_eq!(copies_wanted(850, 0.01), 2);
        assert_eq!(copies_wanted(850, 0.2), 5);
        assert_eq!(copies_wanted(850, 0.5), 8);
        assert_eq!(copies_wanted(1, 0.5), 6);
        assert_eq!(copies_wanted(1, 0.01), 1);
        assert_eq!(copies_wanted(10, 0.01), 2);
    }

    #[test]
    fn what_cannot_be_read_is_given_up_and_its_neighbours_are_not() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.begin(ChunkSet::from(0..3));
        let mut claims = Vec::new();
        while let Some(claim) = outgoing.claim_new(30, &mut full) {
            outgoing.commit(now, claim.id);
            claims.push(claim);
        }
        outgoing.abandon(1..2);
        for claim in claims {
            outgoing.acked(claim.id);
        }
        let mut again = Vec::new();
        while let Some(claim) = outgoing.claim_lost(32) {
            again.push((claim.chunk, claim.unit, claim.len));
            outgoing.commit(now, claim.id);
            outgoing.acked(claim.id);
        }
        assert_eq!(again, [(0, 30, 256), (2, 0, 3328)]);
        assert!(outgoing.is_done());
    }
}
