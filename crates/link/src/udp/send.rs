//! Sending chunks: claim, read, commit, send.

use std::ops::{ControlFlow, Range};
use std::time::Instant;

use arq::{Claim, Next};
use framing::packet::UNIT_LEN;
use framing::{CHUNK_LEN, ChunkSet};

use super::account::Account;
use super::batch::{Batch, is_whole};
use super::mail::decode;
use super::socket::{MAX_BATCH, MAX_BATCH_LEN};
use super::stage::{Short, Stage};
use super::{STATS_INTERVAL, TALK_INTERVAL, UdpLink};
use crate::block::Pool;
use crate::{ChunkSource, LinkError};

/// Chunks that were read again and may be needed once more: the parts of a chunk are often lost together.
const MOST_REREAD: usize = 8;

/// One pass of sending.
struct Pass<'a> {
    stage: Stage<'a>,
    batch: Batch,
    claims: Vec<Claim>,
    /// Chunks that were read again, the oldest first.
    reread: Vec<(u64, Vec<u8>)>,
    /// Everything below this has been sent once.
    sent_to: u64,
    /// Whether it is time to ask the source for something to say.
    talk: bool,
    /// When something last moved, and when the source last heard stats.
    moved: Instant,
    /// When something last was sent.
    sent: Instant,
    told: Instant,
    /// Whether everything was sent once.
    tail: bool,
}

/// What is to be done next.
enum Step {
    /// To send what was claimed.
    Send,
    /// To look again.
    Again,
    /// Nothing: all is over.
    Over,
}

impl UdpLink {
    pub(super) fn send_all(
        &mut self,
        wanted: &ChunkSet,
        source: &mut dyn ChunkSource,
    ) -> Result<(), LinkError> {
        let mut account = std::mem::take(&mut self.account);
        let mut pool = std::mem::take(&mut self.pool);
        account.begin();
        let sent = self.run_pass(wanted, source, &mut pool, &mut account);
        account.end();
        self.account = account;
        self.pool = pool;
        sent
    }

    fn run_pass(
        &mut self,
        wanted: &ChunkSet,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), LinkError> {
        let now = Instant::now();
        let mut pass = Pass {
            stage: Stage::new(wanted),
            batch: Batch::default(),
            claims: Vec::new(),
            reread: Vec::new(),
            sent_to: 0,
            talk: true,
            moved: now,
            sent: now,
            told: now,
            tail: false,
        };
        self.peer.lock().conn.begin_chunks(wanted.clone());
        loop {
            if std::mem::take(&mut pass.talk) {
                source.outgoing(&mut |message| self.send_message(message))?;
            }
            // The receiver may be done before this side knows that, so it is told now and then, and when all is sent.
            let is_tail = !pass.tail && pass.sent_to > 0 && pass.sent_to >= wanted.end();
            if is_tail || pass.told.elapsed() >= STATS_INTERVAL {
                pass.tail |= is_tail;
                pass.told = Instant::now();
                source.stats(&self.tell_stats(account)?);
            }
            let step = self.claim(&mut pass, source, account)?;
            if self.hear(&mut pass, source)?.is_break() {
                return Ok(());
            }
            match step {
                Step::Send => self.send_claims(&mut pass, source, pool, account)?,
                Step::Again => {}
                Step::Over => break,
            }
        }
        self.read_rest(&mut pass, source, pool, account)?;
        self.tell_stats(account)?;
        Ok(())
    }

    /// Finds out what is to go next; waits if it is nothing.
    fn claim(
        &mut self,
        pass: &mut Pass<'_>,
        source: &dyn ChunkSource,
        account: &mut Account,
    ) -> Result<Step, LinkError> {
        let now = Instant::now();
        let mut state = self.peer.lock();
        self.mail.fetch(&mut state)?;
        self.peer.arm(&mut state, self.handle.hub());
        if !self.mail.is_empty() {
            return Ok(Step::Again);
        }
        if let Some(error) = state.end() {
            return Err(error);
        }
        let most = (MAX_BATCH_LEN / state.conn.datagram_len().max(1)).clamp(1, MAX_BATCH);
        pass.claims.clear();
        let next = state.conn.claim(now, &mut |chunk| source.chunk_len(chunk), most, &mut pass.claims);
        if !pass.claims.is_empty() {
            return Ok(Step::Send);
        }
        match next {
            Next::Ready => Ok(Step::Again),
            Next::Done => Ok(Step::Over),
            Next::Wait { until, why } => {
                if now.saturating_duration_since(pass.moved) > self.idle_limit {
                    return Err(LinkError::Silent(self.idle_limit));
                }
                if now.saturating_duration_since(pass.sent) > self.work_limit {
                    return Err(LinkError::Stalled(self.work_limit));
                }
                let deadline = until.map_or(now + TALK_INTERVAL, |until| until.min(now + TALK_INTERVAL));
                self.peer.arm(&mut state, self.hub());
                drop(self.peer.wait(state, deadline));
                account.waited(why, now.elapsed());
                pass.talk = true;
                Ok(Step::Again)
            }
        }
    }

    /// Hands on the messages that have come.
    fn hear(
        &mut self,
        pass: &mut Pass<'_>,
        source: &mut dyn ChunkSource,
    ) -> Result<ControlFlow<()>, LinkError> {
        while let Some(message) = self.mail.pop() {
            pass.moved = Instant::now();
            pass.talk = true;
            self.is_answered = true;
            if source.incoming(decode(&message)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads what was claimed, and sends it.
    fn send_claims(
        &mut self,
        pass: &mut Pass<'_>,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), LinkError> {
        pass.moved = Instant::now();
        pass.sent = pass.moved;
        let claims = std::mem::take(&mut pass.claims);
        let mut unsent = Vec::new();
        for claim in &claims {
            loop {
                match pass.prepare(claim, source, pool, account) {
                    Ok(()) => break,
                    Err(Short::Gone) => {
                        unsent.push(*claim);
                        break;
                    }
                    Err(Short::Pause) => {
                        // What was read before goes out first.
                        self.send_batch(pass, &mut unsent);
                        pass.stage.hand_on(pass.sent_to, source, pool, account);
                        source.outgoing(&mut |message| self.send_message(message))?;
                    }
                }
            }
        }
        pass.claims = claims;
        self.send_batch(pass, &mut unsent);
        pass.stage.hand_on(pass.sent_to, source, pool, account);
        Ok(())
    }

    /// Sends what is ready, and tells the connection what can't be had.
    fn send_batch(&self, pass: &mut Pass<'_>, unsent: &mut Vec<Claim>) {
        let gone = pass.stage.take_gone();
        if pass.batch.is_empty() && unsent.is_empty() && gone.is_empty() {
            return;
        }
        let mut state = self.peer.lock();
        let now = Instant::now();
        pass.batch.commit(|claim| state.conn.commit(now, claim));
        unsent.drain(..).for_each(|claim| state.conn.release(&claim));
        gone.into_iter().for_each(|chunks| state.conn.abandon(chunks));
        self.peer.arm(&mut state, self.hub());
        let to = state.destination();
        drop(state);
        let outcome = pass.batch.send(&mut pass.stage, to, self.hub().port(), self.peer.guard());
        self.peer.take_outcome(self.hub(), &outcome);
    }

    /// Reads what was not read by now, though its neighbours can't be had, so that the source has told of every chunk.
    fn read_rest(
        &mut self,
        pass: &mut Pass<'_>,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), LinkError> {
        loop {
            match pass.stage.read_block(source, pool, account) {
                Ok(()) => {}
                Err(Short::Pause) => source.outgoing(&mut |message| self.send_message(message))?,
                Err(Short::Gone) => break,
            }
            pass.stage.hand_on(u64::MAX, source, pool, account);
        }
        pass.stage.hand_on(u64::MAX, source, pool, account);
        Ok(())
    }
}

impl Pass<'_> {
    /// Brings the bytes of a part into place.
    fn prepare(
        &mut self,
        claim: &Claim,
        source: &mut dyn ChunkSource,
        pool: &mut Pool,
        account: &mut Account,
    ) -> Result<(), Short> {
        let chunk_len = source.chunk_len(claim.chunk);
        if is_whole(claim, chunk_len) {
            let (block, payload) = self.stage.read_to(claim.chunk, source, pool, account)?;
            self.batch.push_staged(*claim, block, payload);
            self.sent_to = claim.chunk + 1;
            return Ok(());
        }
        let mut sent_to = claim.chunk;
        for piece in pieces(claim, &|chunk| source.chunk_len(chunk)) {
            if !claim.again {
                self.stage.read_to(piece.chunk, source, pool, account)?;
            } else if self.stage.find(piece.chunk).is_none() {
                self.read_again(piece.chunk, source, account)?;
            }
            sent_to = piece.chunk + u64::from(piece.is_end);
        }
        let (stage, reread) = (&self.stage, &self.reread);
        let pieces = pieces(claim, &|chunk| source.chunk_len(chunk));
        let written = self.batch.push_copy(*claim, |copies| {
            for piece in pieces {
                let bytes = match stage.find(piece.chunk) {
                    Some((block, payload)) => stage.bytes(block).get(payload),
                    None => {
                        reread.iter().find(|(chunk, _)| *chunk == piece.chunk).map(|(_, bytes)| &bytes[..])
                    }
                };
                let Some(bytes) = bytes.and_then(|bytes| bytes.get(piece.range)) else { return false };
                copies.extend_from_slice(bytes);
            }
            true
        });
        if !written {
            return Err(Short::Gone);
        }
        if !claim.again {
            self.sent_to = sent_to;
        }
        Ok(())
    }

    /// Reads a chunk again that is not at hand any more.
    fn read_again(
        &mut self,
        chunk: u64,
        source: &mut dyn ChunkSource,
        account: &mut Account,
    ) -> Result<(), Short> {
        if self.reread.iter().any(|(there, _)| *there == chunk) {
            return Ok(());
        }
        let mut bytes = if self.reread.len() == MOST_REREAD {
            self.reread.remove(0).1
        } else {
            Vec::with_capacity(CHUNK_LEN)
        };
        bytes.resize(source.chunk_len(chunk), 0);
        if account.disk(|| source.reread(chunk, &mut bytes)) {
            self.reread.push((chunk, bytes));
            return Ok(());
        }
        self.stage.give_up(chunk);
        Err(Short::Gone)
    }
}

/// A piece of a part in one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    chunk: u64,
    range: Range<usize>,
    /// Whether it goes on to the chunk's end.
    is_end: bool,
}

/// The pieces of a part, chunk by chunk.
fn pieces(claim: &Claim, chunk_len: &dyn Fn(u64) -> usize) -> impl Iterator<Item = Piece> + use<> {
    let mut pieces = Vec::with_capacity(2);
    let (mut chunk, mut start, mut left) = (claim.chunk, usize::from(claim.unit) * UNIT_LEN, claim.len);
    while left > 0 {
        let whole = chunk_len(chunk);
        let end = whole.min(start + left);
        if end <= start {
            break;
        }
        pieces.push(Piece { chunk, range: start..end, is_end: end == whole });
        left -= end - start;
        chunk += 1;
        start = 0;
    }
    pieces.into_iter()
}
