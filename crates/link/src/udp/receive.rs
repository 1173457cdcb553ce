//! Receiving chunks: every piece that is new goes to the sink as it comes, wherever it lies.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arq::{Assembly, Piece};
use framing::packet::UNIT_LEN;
use framing::{CHUNK_LEN, ChunkSet};

use super::inbox::{Delivery, What};
use super::mail::decode;
use super::{STATS_INTERVAL, TALK_INTERVAL, UdpLink};
use crate::block::{Block, ChunkRun};
use crate::{ChunkSink, LinkError};

impl UdpLink {
    pub(super) fn recv_all(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<(), LinkError> {
        self.assembly.begin(wanted);
        self.peer.lock().adapt_window(true);
        let mut pieces = Vec::new();
        let (mut heard, mut told) = (Instant::now(), Instant::now());
        while !wanted.is_empty() {
            sink.outgoing(&mut |message| self.send_message(message))?;
            if told.elapsed() >= STATS_INTERVAL {
                told = Instant::now();
                sink.stats(&self.link_stats());
            }
            let deliveries = self.take(&mut heard, true)?;
            for delivery in deliveries {
                let base = self.numbers.base();
                let bytes = take_delivery(&mut self.assembly, base, &delivery, wanted, sink, &mut pieces)?;
                self.give_credit(bytes);
            }
            // What came before a message was taken with it, or earlier.
            while !wanted.is_empty()
                && let Some(message) = self.mail.pop()
            {
                if sink.incoming(decode(&message)?)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes what is there out of the inbox, and the messages in; waits a moment when it is nothing. `heard`: when there was
    /// something last; `mail`: whether messages are something.
    pub(super) fn take(&mut self, heard: &mut Instant, mail: bool) -> Result<Vec<Delivery>, LinkError> {
        let mut state = self.peer.lock();
        for first in [true, false] {
            self.mail.fetch(&mut state)?;
            self.peer.arm(&mut state, self.handle.hub());
            let deliveries: Vec<Delivery> = std::iter::from_fn(|| state.inbox.pop()).collect();
            if !deliveries.is_empty() || (mail && !self.mail.is_empty()) {
                *heard = Instant::now();
                return Ok(deliveries);
            }
            if let Some(error) = state.end() {
                return Err(error);
            }
            if first {
                let now = Instant::now();
                if now.saturating_duration_since(*heard) > self.idle_limit {
                    return Err(LinkError::Silent(self.idle_limit));
                }
                state = self.peer.wait(state, now + TALK_INTERVAL);
            }
        }
        Ok(Vec::new())
    }

    /// Tells the connection, and in time the peer, that so many bytes make room for others.
    pub(super) fn give_credit(&mut self, bytes: u64) {
        let mut state = self.peer.lock();
        state.conn.consumed(bytes);
        self.peer.flush_locked(state, self.handle.hub(), &mut self.outbox);
    }
}

/// Hands what is new of a delivery, and of this transfer, to the sink: how many bytes of credit it frees.
fn take_delivery(
    assembly: &mut Assembly,
    base: u64,
    delivery: &Delivery,
    wanted: &mut ChunkSet,
    sink: &mut dyn ChunkSink,
    pieces: &mut Vec<Piece>,
) -> Result<u64, LinkError> {
    let mut bytes = 0;
    let mut run = Gathering::default();
    for part in &delivery.parts {
        let len = part.at.len();
        bytes += credit_of(len);
        // Of a plain transfer that this side has left; it is not repaired, so it is of no use either.
        let What::Part(unit) = part.what else { continue };
        // A late copy of an earlier transfer.
        if part.chunk < base {
            continue;
        }
        pieces.clear();
        assembly
            .take(part.chunk, unit, len, &mut |chunk| sink.chunk_len(chunk), pieces)
            .map_err(|error| LinkError::Misbehaved(error.to_string()))?;
        for piece in pieces.iter() {
            let start = part.at.start + piece.range.start as u32;
            let at = start..start + piece.range.len() as u32;
            if !run.follows(piece, sink) {
                run.flush(&delivery.block, wanted, sink)?;
            }
            run.push(piece, at);
        }
    }
    run.flush(&delivery.block, wanted, sink)?;
    Ok(bytes)
}

/// What a part of so many bytes takes of the credit.
pub(super) const fn credit_of(len: usize) -> u64 {
    (len.div_ceil(UNIT_LEN) * UNIT_LEN) as u64
}

/// Pieces in a row of the chunk space that go to the sink together.
#[derive(Debug, Default)]
struct Gathering {
    first: u64,
    skip: u32,
    /// The chunk that the row ends in, and where in it.
    end: (u64, usize),
    payloads: Vec<Range<u32>>,
    complete: Range<u64>,
}

impl Gathering {
    /// Whether a piece goes on where the row ends.
    fn follows(&self, piece: &Piece, sink: &dyn ChunkSink) -> bool {
        if self.payloads.is_empty() {
            return true;
        }
        let (chunk, end) = self.end;
        // Over the end of a short chunk only if nothing of it is missing.
        let may_pass = end == CHUNK_LEN || self.complete.contains(&chunk);
        let next = if end == sink.chunk_len(chunk) { (chunk + 1, 0) } else { self.end };
        let completes_next = self.complete.is_empty()
            || piece.complete.is_empty()
            || self.complete.end == piece.complete.start;
        (piece.chunk, piece.skip) == next && (may_pass || next.1 > 0) && completes_next
    }

    fn push(&mut self, piece: &Piece, at: Range<u32>) {
        if self.payloads.is_empty() {
            (self.first, self.skip) = (piece.chunk, piece.skip as u32);
        }
        // All chunks that a piece runs over are full.
        let end = piece.skip + piece.range.len();
        let last = end.saturating_sub(1) / CHUNK_LEN;
        self.end = (piece.chunk + last as u64, end - last * CHUNK_LEN);
        if self.complete.is_empty() {
            self.complete = piece.complete.clone();
        } else if !piece.complete.is_empty() {
            self.complete.end = piece.complete.end;
        }
        match self.payloads.last_mut() {
            Some(before) if before.end == at.start => before.end = at.end,
            _ => self.payloads.push(at),
        }
    }

    fn flush(
        &mut self,
        block: &Arc<Block>,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<(), LinkError> {
        let row = std::mem::take(self);
        if row.payloads.is_empty() {
            return Ok(());
        }
        wanted.remove(row.complete.clone());
        sink.write(ChunkRun::new(block, row.first, row.skip, row.payloads, row.complete))
    }
}
