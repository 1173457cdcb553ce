//! Acknowledgements: which packets came, and what else their receiver knows about the path and its own room.

use std::ops::RangeInclusive;

use super::MAX_ACK_RANGES;
use super::frame::kind;
use super::varint::{put_varint, read_varint, varint_len};
use crate::wire::{Reader, WireError};

/// The 2-byte form of a number has these bits set.
const TWO_BYTES: u16 = 0x4000;

/// An acknowledgement, borrowed from its packet. All sums count from the start of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The highest packet number that came.
    pub largest: u64,
    /// How long ago that packet came, in microseconds.
    pub ack_delay_us: u64,
    /// Bytes of part payload that the sender may have sent and not lost, cumulative.
    pub credit: u64,
    /// Bytes of the control stream that the sender may have sent, cumulative.
    pub control_credit: u64,
    /// Time between packets that came right behind the one numbered just before them, in microseconds, cumulative.
    pub pair_time_us: u64,
    /// The UDP payload of those packets, in bytes, cumulative.
    pub pair_bytes: u64,
    /// Packets that came with ECN's "congestion experienced", cumulative.
    pub ce: u64,
    /// How many packets came right below the largest one without a gap.
    first_range: u64,
    /// The further ranges, as they stand in the packet.
    more: &'a [u8],
}

impl<'a> Ack<'a> {
    /// The packet numbers that came, as ranges: highest first, at most [`MAX_ACK_RANGES`], at least one number between two.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + use<'a> {
        Ranges {
            ahead: self.largest.checked_sub(self.first_range).map(|smallest| smallest..=self.largest),
            more: Reader::new(self.more),
        }
    }

    /// Reads the fields behind the type.
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, WireError> {
        let mut ack = Self {
            largest: read_varint(body)?,
            ack_delay_us: read_varint(body)?,
            credit: read_varint(body)?,
            control_credit: read_varint(body)?,
            pair_time_us: read_varint(body)?,
            pair_bytes: read_varint(body)?,
            ce: read_varint(body)?,
            first_range: 0,
            more: &[],
        };
        let count = read_varint(body)?;
        if count >= MAX_ACK_RANGES as u64 {
            return Err(WireError::Invalid { field: "number of further ranges", value: count });
        }
        ack.first_range = read_varint(body)?;
        let invalid = WireError::Invalid { field: "first range", value: ack.first_range };
        let mut smallest = ack.largest.checked_sub(ack.first_range).ok_or(invalid)?;

        let mut more = body.clone();
        for _ in 0..count {
            smallest = *read_range(body, smallest)?.start();
        }
        ack.more = more.bytes(more.len() - body.len())?;
        Ok(ack)
    }
}

/// The ranges of an [`Ack`] whose bytes were checked before.
struct Ranges<'a> {
    ahead: Option<RangeInclusive<u64>>,
    more: Reader<'a>,
}

impl Iterator for Ranges<'_> {
    type Item = RangeInclusive<u64>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.ahead.take()?;
        self.ahead = read_range(&mut self.more, *range.start()).ok();
        Some(range)
    }
}

/// Reads the range below the one that begins at `above`.
fn read_range(body: &mut Reader<'_>, above: u64) -> Result<RangeInclusive<u64>, WireError> {
    let gap = read_varint(body)?;
    let len = read_varint(body)?;
    let end = above.checked_sub(gap).and_then(|end| end.checked_sub(2));
    let end = end.ok_or(WireError::Invalid { field: "gap", value: gap })?;
    let start = end.checked_sub(len).ok_or(WireError::Invalid { field: "range length", value: len })?;
    Ok(start..=end)
}

/// What an acknowledgement says beside its ranges: the public fields of [`Ack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckFields {
    /// See [`Ack::largest`].
    pub largest: u64,
    /// See [`Ack::ack_delay_us`].
    pub ack_delay_us: u64,
    /// See [`Ack::credit`].
    pub credit: u64,
    /// See [`Ack::control_credit`].
    pub control_credit: u64,
    /// See [`Ack::pair_time_us`].
    pub pair_time_us: u64,
    /// See [`Ack::pair_bytes`].
    pub pair_bytes: u64,
    /// See [`Ack::ce`].
    pub ce: u64,
}

/// Appends an acknowledgement of at most `room` bytes with the first of these ranges, and tells how many it took. It takes
/// at least one, also where that has no room, and at most [`MAX_ACK_RANGES`]; without any it appends nothing.
///
/// The ranges are the highest first. The first ends at `fields.largest`; at least one number lies between two (a range for
/// which that is not so ends the list).
pub fn put_ack(
    out: &mut Vec<u8>,
    fields: &AckFields,
    mut ranges: impl Iterator<Item = RangeInclusive<u64>>,
    room: usize,
) -> usize {
    let Some(first) = ranges.next() else { return 0 };
    let limit = out.len().saturating_add(room);
    out.push(kind::ACK);
    let AckFields { largest, ack_delay_us, credit, control_credit, pair_time_us, pair_bytes, ce } = *fields;
    for number in [largest, ack_delay_us, credit, control_credit, pair_time_us, pair_bytes, ce] {
        put_varint(out, number);
    }
    // How many further ranges follow is known when they stand there, so the number gets the form that is always enough.
    let count_at = out.len();
    out.extend_from_slice(&TWO_BYTES.to_be_bytes());
    let mut smallest = largest.min(*first.start());
    put_varint(out, largest - smallest);

    let mut further: u16 = 0;
    for range in ranges.take(MAX_ACK_RANGES - 1) {
        let gap = smallest.checked_sub(2).and_then(|end| end.checked_sub(*range.end()));
        let (Some(gap), Some(len)) = (gap, range.end().checked_sub(*range.start())) else { break };
        if out.len() + varint_len(gap) + varint_len(len) > limit {
            break;
        }
        put_varint(out, gap);
        put_varint(out, len);
        smallest = *range.start();
        further += 1;
    }
    if let Some(count) = out[count_at..].first_chunk_mut() {
        *count = (TWO_BYTES | further).to_be_bytes();
    }
    1 + usize::from(further)
}
