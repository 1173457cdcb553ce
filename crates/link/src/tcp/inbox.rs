//! What was read from the socket: frames, the last one perhaps cut off.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::frame::{Frame, FrameError, Kind, MAX_FRAME_LEN};

use crate::LinkError;
use crate::block::{BLOCK_LEN, Block, Pool};

/// How long one frame may take from its first byte to its last.
const FRAME_LIMIT: Duration = Duration::from_secs(60);
/// Room that a block should have before it is read into again.
const WORTHWHILE: usize = BLOCK_LEN / 2;

const _: () = assert!(MAX_FRAME_LEN <= WORTHWHILE);

/// A frame in the inbox; its payload's place in the block.
#[derive(Debug)]
pub(super) enum Found {
    Message(Range<usize>),
    Chunk { chunk: u64, payload: Range<usize>, intact: bool },
}

#[derive(Debug)]
pub(super) struct Inbox {
    block: Arc<Block>,
    /// What of the block was read and not yet looked at.
    unread: Range<usize>,
    /// Since when the frame at its start is cut off.
    cut_off: Option<Instant>,
    /// Whether the peer has proved that it speaks the protocol.
    met: bool,
}

impl Inbox {
    pub(super) const fn new(block: Arc<Block>) -> Self {
        Self { block, unread: 0..0, cut_off: None, met: false }
    }

    pub(super) const fn block(&self) -> &Arc<Block> {
        &self.block
    }

    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.block.bytes()[range]
    }

    /// Whether so many bytes can be read into it before something is taken out.
    pub(super) fn has_room(&self, least: usize) -> bool {
        BLOCK_LEN - self.unread.end >= least && Arc::strong_count(&self.block) == 1
    }

    /// Finds the next whole frame and takes it out.
    pub(super) fn next(&mut self) -> Result<Option<Found>, LinkError> {
        let unread = &self.block.bytes()[self.unread.clone()];
        let frame = match Frame::parse(unread) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                let waiting = !unread.is_empty();
                self.cut_off = if waiting { self.cut_off.or_else(|| Some(Instant::now())) } else { None };
                return Ok(None);
            }
            Err(error) => return Err(self.explain(error)),
        };
        let intact = frame.is_intact();
        let end = self.unread.start + frame.len();
        let payload = end - frame.payload.len()..end;
        let found = match frame.header.kind {
            Kind::Message if !intact => {
                return Err(LinkError::Damaged("a message does not have its checksum"));
            }
            Kind::Message => Found::Message(payload),
            Kind::Chunk => Found::Chunk { chunk: frame.header.chunk, payload, intact },
        };
        self.unread.start = end;
        self.cut_off = None;
        self.met = true;
        Ok(Some(found))
    }

    /// Sees to it that there is room to read into, by moving to a fresh block where the old one is used up or still held.
    pub(super) fn make_room(&mut self, pool: &mut Pool) {
        let held = Arc::strong_count(&self.block) > 1;
        if self.unread.is_empty() && !held {
            self.unread = 0..0;
        }
        if !held && BLOCK_LEN - self.unread.end >= WORTHWHILE {
            return;
        }
        let mut fresh = pool.take();
        let rest = self.unread.len();
        if let Some(block) = Arc::get_mut(&mut fresh) {
            block.bytes_mut()[..rest].copy_from_slice(&self.block.bytes()[self.unread.clone()]);
        }
        pool.give(std::mem::replace(&mut self.block, fresh));
        self.unread = 0..rest;
    }

    /// The free rest of the block: empty while somebody else holds it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let end = self.unread.end;
        Arc::get_mut(&mut self.block).map_or(&mut [], |block| &mut block.bytes_mut()[end..])
    }

    /// Takes in what was read elsewhere already: much less than a block.
    pub(super) fn fill(&mut self, heard: &[u8]) {
        let room = self.room();
        let len = heard.len().min(room.len());
        room[..len].copy_from_slice(&heard[..len]);
        self.filled(len);
    }

    pub(super) const fn filled(&mut self, bytes: usize) {
        self.unread.end += bytes;
    }

    /// Refuses to wait any longer for the end of a frame that takes too long.
    pub(super) fn check_pace(&self) -> Result<(), LinkError> {
        match self.cut_off {
            Some(since) if since.elapsed() > FRAME_LIMIT => Err(LinkError::Slow(FRAME_LIMIT)),
            _ => Ok(()),
        }
    }

    fn explain(&self, error: FrameError) -> LinkError {
        match error {
            FrameError::Version(theirs) if !self.met => {
                let is_handshake = self.block.bytes()[self.unread.clone()].starts_with(&seal::MAGIC);
                if is_handshake { LinkError::Keyed } else { LinkError::Version(theirs) }
            }
            FrameError::NotAFrame(_) if !self.met => {
                let unread = &self.block.bytes()[self.unread.clone()];
                let start = &unread[..unread.len().min(16)];
                LinkError::Foreign(format!("\"{}\"", start.escape_ascii()))
            }
            FrameError::NotAFrame(_) | FrameError::Version(_) => {
                LinkError::Damaged("a frame does not start like one")
            }
            FrameError::HeaderDamaged => LinkError::Damaged("a frame header does not have its checksum"),
            FrameError::UnknownKind(_) | FrameError::Length(_) => LinkError::MalformedFrame(error),
        }
    }
}
