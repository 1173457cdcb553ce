//! Plain transfers: each chunk once, in one datagram, and nothing repaired.

use std::time::{Duration, Instant};

use arq::Waiting;
use framing::{ChunkSet, packet};

use super::account::Account;
use super::inbox::{Delivery, What};
use super::mail::decode;
use super::receive::credit_of;
use super::sealed::Guard;
use super::stage::{Short, Stage};
use super::{STATS_INTERVAL, TALK_INTERVAL, UdpLink};
use crate::block::{ChunkRun, Pool};
use crate::{ChunkSink, ChunkSource, LinkError, PlainReport};

/// How long stragglers are waited for after the sender has said that it sent everything, at least.
const LEAST_PATIENCE: Duration = Duration::from_millis(200);
/// The same, in round-trip times without one.
const PATIENCE: u32 = 3;

impl UdpLink {
    pub(super) fn send_each(
        &mut self,
        wanted: &ChunkSet,
        source: &mut dyn ChunkSource,
    ) -> Result<(), LinkError> {
        let mut account = std::mem::take(&mut self.account);
        let mut pool = std::mem::take(&mut self.pool);
        account.begin();
        let sent = self.send_plainly(wanted, source, &mut pool, &mut account);
        account.end();
        self.account = account;
        self.pool = pool;
        sent
    }

    fn send_plainly(
        &mut self,
        wanted: &ChunkSet,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), LinkError> {
        let mut stage = Stage::new(wanted);
        let mut told = Instant::now();
        source.outgoing(&mut |message| self.send_message(message))?;
        loop {
            match stage.read_block(source, pool, account) {
                Ok(()) => {}
                Err(Short::Pause) => {
                    source.outgoing(&mut |message| self.send_message(message))?;
                    continue;
                }
                Err(Short::Gone) => return self.tell_stats(account).map(|_| ()),
            }
            for (chunk, bytes) in stage.newest() {
                self.send_one(chunk, bytes, account)?;
            }
            stage.hand_on(u64::MAX, source, pool, account);
            if told.elapsed() >= STATS_INTERVAL {
                told = Instant::now();
                source.stats(&self.tell_stats(account)?);
            }
            source.outgoing(&mut |message| self.send_message(message))?;
            let mut state = self.peer.lock();
            self.mail.fetch(&mut state)?;
            self.peer.arm(&mut state, self.handle.hub());
            drop(state);
            while let Some(message) = self.mail.pop() {
                if source.incoming(decode(&message)?)?.is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Sends a chunk as soon as it may go.
    fn send_one(&mut self, chunk: u64, bytes: &[u8], account: &mut Account) -> Result<(), LinkError> {
        let mut state = self.peer.lock();
        loop {
            if let Some(error) = state.end() {
                return Err(self.mail.refusal(&mut state).unwrap_or(error));
            }
            let now = Instant::now();
            match state.conn.next_plain(now, bytes.len()) {
                Ok(header) => {
                    self.scratch.clear();
                    packet::plain(&mut self.scratch, header.cid, header.pn, chunk, bytes);
                    let to = state.destination();
                    drop(state);
                    if let Some(sealer) = self.peer.guard().and_then(Guard::sealer) {
                        let clear = std::mem::take(&mut self.scratch);
                        sealer.seal_plain(&clear, &mut self.scratch);
                    }
                    // What does not go out is lost, as everything else may be here.
                    let _ = self.hub().port().send_fragmented(to.to, to.from, &self.scratch);
                    return Ok(());
                }
                Err(again) => {
                    state = self.peer.wait(state, again.min(now + TALK_INTERVAL));
                    account.waited(Waiting::RateLimit, now.elapsed());
                }
            }
        }
    }

    pub(super) fn recv_each(
        &mut self,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<PlainReport, LinkError> {
        let base = self.numbers.base();
        let mut coming = Coming { base, all: wanted.clone(), highest: None, report: PlainReport::default() };
        let (mut heard, mut told) = (Instant::now(), Instant::now());
        // When the sender had said that it sent everything, or the last straggler after that had come.
        let mut over: Option<Instant> = None;
        loop {
            sink.outgoing(&mut |message| self.send_message(message))?;
            if told.elapsed() >= STATS_INTERVAL {
                told = Instant::now();
                sink.stats(&self.link_stats());
            }
            let patience = (self.peer.lock().conn.stats().smoothed_rtt * PATIENCE).max(LEAST_PATIENCE);
            if over.is_some_and(|over| wanted.is_empty() || over.elapsed() >= patience) {
                return Ok(coming.report);
            }
            for delivery in self.take(&mut heard, over.is_none())? {
                let bytes = coming.take(&delivery, wanted, sink)?;
                self.give_credit(bytes);
                over = over.map(|_| Instant::now());
            }
            while over.is_none()
                && let Some(message) = self.mail.pop()
            {
                if sink.incoming(decode(&message)?)?.is_break() {
                    over = Some(Instant::now());
                }
            }
        }
    }
}

/// What has come so far.
struct Coming {
    /// The number of the transfer's first chunk.
    base: u64,
    all: ChunkSet,
    highest: Option<u64>,
    report: PlainReport,
}

impl Coming {
    /// Takes what came: how many bytes of credit it frees.
    fn take(
        &mut self,
        delivery: &Delivery,
        wanted: &mut ChunkSet,
        sink: &mut dyn ChunkSink,
    ) -> Result<u64, LinkError> {
        let mut bytes = 0;
        for part in &delivery.parts {
            let What::Plain { intact } = part.what else {
                bytes += credit_of(part.at.len());
                continue;
            };
            let (chunk, chunks) = (part.chunk, part.chunk..part.chunk + 1);
            // A straggler of an earlier transfer.
            if chunk < self.base {
                continue;
            }
            if !self.all.contains(chunk) {
                return Err(LinkError::Misbehaved(format!("it sent chunk {chunk}, which nobody asked for")));
            }
            if part.at.len() != sink.chunk_len(chunk) {
                let text =
                    format!("chunk {chunk} has {} bytes instead of {}", part.at.len(), sink.chunk_len(chunk));
                return Err(LinkError::Misbehaved(text));
            }
            if !wanted.contains(chunk) {
                self.report.duplicated.insert(chunks);
                continue;
            }
            if self.highest.is_some_and(|highest| chunk < highest) {
                self.report.reordered.insert(chunks.clone());
            }
            self.highest = self.highest.max(Some(chunk));
            if !intact {
                self.report.damaged.insert(chunks.clone());
            }
            wanted.remove(chunks.clone());
            sink.write(ChunkRun::new(&delivery.block, chunk, 0, vec![part.at.clone()], chunks))?;
        }
        Ok(bytes)
    }
}
