//! A batch of parts on its way from the claim to the socket.
//!
//! A chunk that goes out whole and for the first time is made a datagram where it was read; every other part is copied.

use std::ops::Range;

use arq::{Claim, PartHeader};
use framing::packet::{CRC_LEN, begin_data, put_part_header};
use framing::{CHUNK_LEN, crc32c};

use super::outbox::Outcome;
use super::peer::Destination;
use super::sealed::Guard;
use super::socket::{MAX_BATCH, MAX_BATCH_LEN, Port};
use super::stage::{BlockNumber, Stage, header_room};

/// A part whose bytes are in place, with room around them for what makes it a datagram.
#[derive(Debug)]
struct Ready {
    claim: Claim,
    /// The staged block that it lies in; copies lie in the batch's own buffer.
    block: Option<BlockNumber>,
    /// The whole datagram.
    at: Range<usize>,
}

/// Parts that go out together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    parts: Vec<Ready>,
    copies: Vec<u8>,
    headers: Vec<PartHeader>,
    scratch: Vec<u8>,
    /// The datagrams once more, sealed, and where each one ends.
    sealed: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds a whole chunk that lies in a staged block with these bytes.
    pub(super) fn push_staged(&mut self, claim: Claim, block: BlockNumber, payload: Range<usize>) {
        let at = payload.start - header_room(claim.chunk)..payload.end + CRC_LEN;
        self.parts.push(Ready { claim, block: Some(block), at });
    }

    /// Adds a part whose bytes `write` appends; unless it can't.
    pub(super) fn push_copy(&mut self, claim: Claim, write: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let start = self.copies.len();
        let payload = start + header_room(claim.chunk);
        self.copies.resize(payload, 0);
        if !write(&mut self.copies) {
            self.copies.truncate(start);
            return false;
        }
        debug_assert_eq!(self.copies.len() - payload, claim.len);
        self.copies.resize(payload + claim.len + CRC_LEN, 0);
        self.parts.push(Ready { claim, block: None, at: start..self.copies.len() });
        true
    }

    /// Says of each part that it goes out now, and learns its number.
    pub(super) fn commit(&mut self, mut commit: impl FnMut(&Claim) -> PartHeader) {
        self.headers.clear();
        self.headers.extend(self.parts.iter().map(|part| commit(&part.claim)));
    }

    /// Makes datagrams of the parts, and sends them: those that lie in a row and have the same length, in one call.
    pub(super) fn send(
        &mut self,
        stage: &mut Stage<'_>,
        to: Destination,
        port: &Port,
        guard: Option<&Guard>,
    ) -> Outcome {
        let sealer = guard.and_then(Guard::sealer);
        for (part, header) in self.parts.iter().zip(&self.headers) {
            let bytes = match part.block {
                Some(number) => stage.bytes_mut(number).unwrap_or_default(),
                None => self.copies.as_mut_slice(),
            };
            let Some(datagram) = bytes.get_mut(part.at.clone()) else { continue };
            begin(datagram, &part.claim, *header, &mut self.scratch);
            match sealer {
                // The bytes in the block are for the hasher still.
                Some(sealer) => {
                    sealer.seal_data(datagram, &mut self.sealed);
                    self.ends.push(self.sealed.len());
                }
                None => finish(datagram),
            }
        }
        let outcome =
            if sealer.is_some() { self.send_sealed(to, port) } else { self.send_clear(stage, to, port) };
        self.parts.clear();
        self.copies.clear();
        self.sealed.clear();
        self.ends.clear();
        outcome
    }

    fn send_sealed(&self, to: Destination, port: &Port) -> Outcome {
        let mut outcome = Outcome::default();
        let (mut start, mut rest) = (0, self.ends.as_slice());
        while let Some(first) = rest.first() {
            let len = first - start;
            let is_equal = |(at, end): &(usize, &usize)| **end == start + (at + 1) * len;
            let most = MAX_BATCH.min(MAX_BATCH_LEN / len.max(1)).max(1);
            let count = rest.iter().enumerate().take(most).take_while(is_equal).count().max(1);
            outcome.note(port.send(to.to, to.from, &self.sealed[start..rest[count - 1]], len), to.to, len);
            start = rest[count - 1];
            rest = &rest[count..];
        }
        outcome
    }

    fn send_clear(&self, stage: &Stage<'_>, to: Destination, port: &Port) -> Outcome {
        let mut outcome = Outcome::default();
        let mut rest = self.parts.as_slice();
        while let Some(first) = rest.first() {
            let count = in_a_row(rest);
            let bytes = first.block.map_or(self.copies.as_slice(), |number| stage.bytes(number));
            if let Some(datagrams) = bytes.get(first.at.start..rest[count - 1].at.end) {
                outcome.note(port.send(to.to, to.from, datagrams, first.at.len()), to.to, first.at.len());
            }
            rest = &rest[count..];
        }
        outcome
    }
}

/// Puts what makes a datagram of a part before its bytes.
fn begin(datagram: &mut [u8], claim: &Claim, header: PartHeader, scratch: &mut Vec<u8>) {
    scratch.clear();
    begin_data(scratch, header.cid, header.pn);
    put_part_header(scratch, claim.chunk, claim.unit);
    datagram[..scratch.len()].copy_from_slice(scratch);
}

/// Puts its checksum behind it.
fn finish(datagram: &mut [u8]) {
    let (body, crc) = datagram.split_at_mut(datagram.len() - CRC_LEN);
    crc.copy_from_slice(&crc32c(body).to_be_bytes());
}

/// How many parts, from the first, go out in one call.
fn in_a_row(parts: &[Ready]) -> usize {
    let first = &parts[0];
    let len = first.at.len();
    let mut count = 1;
    for pair in parts.windows(2).take(MAX_BATCH - 1) {
        let next = &pair[1];
        let follows = next.block == first.block && next.at.start == pair[0].at.end;
        let fits = pair[0].at.len() == len && next.at.len() <= len;
        if !follows || !fits || next.at.end - first.at.start > MAX_BATCH_LEN {
            break;
        }
        count += 1;
    }
    count
}

/// Whether a claim is a whole chunk of this length, the first time.
pub(super) const fn is_whole(claim: &Claim, chunk_len: usize) -> bool {
    !claim.again && claim.unit == 0 && claim.len == chunk_len && chunk_len <= CHUNK_LEN
}
