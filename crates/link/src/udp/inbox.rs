//! Parts that have come and wait for the session's thread.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::block::Block;

/// Copied bytes that are gathered in one block at most, about.
const COPIED_LEN: usize = 64 * 1024;
/// A received block is kept only for at least so many bytes of parts, so that what waits takes no more memory than twice
/// its bytes.
const WORTH_KEEPING: usize = 16 * 1024;
/// Bytes that may wait before plain chunks are dropped.
const MOST_PLAIN: usize = 8 << 20;

/// A piece of the chunk space in one datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    /// The chunk that it begins in.
    pub(super) chunk: u64,
    pub(super) what: What,
    /// Its bytes in the block.
    pub(super) at: Range<u32>,
}

/// How it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A part, that begins with this unit of its chunk.
    Part(u8),
    /// A whole chunk without repair, and whether its bytes have their checksum.
    Plain { intact: bool },
}

/// Parts that lie in one block.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) block: Arc<Block>,
    pub(super) parts: Vec<Arrived>,
}

impl Delivery {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.at.len()).sum()
    }
}

/// What waits, in the order in which it came. How much that may be is what the sender has credit for.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    deliveries: VecDeque<Delivery>,
    /// Bytes that were copied, and the parts in them; they came after all deliveries.
    copied: Vec<u8>,
    copied_parts: Vec<Arrived>,
    /// Bytes of all of it.
    len: usize,
}

impl Inbox {
    /// Whether so much waits that plain chunks, which nobody gives credit for, are dropped.
    pub(super) const fn is_full(&self) -> bool {
        self.len >= MOST_PLAIN
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        if self.deliveries.is_empty() {
            self.close_copied();
        }
        let delivery = self.deliveries.pop_front()?;
        self.len -= delivery.len();
        Some(delivery)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes bytes of a received block along with the block. [`Self::settle`] has to follow.
    pub(super) fn keep(&mut self, block: &Arc<Block>, chunk: u64, what: What, at: Range<usize>) {
        self.close_copied();
        self.len += at.len();
        let part = Arrived { chunk, what, at: at.start as u32..at.end as u32 };
        match self.deliveries.back_mut() {
            Some(last) if Arc::ptr_eq(&last.block, block) => last.parts.push(part),
            _ => self.deliveries.push_back(Delivery { block: Arc::clone(block), parts: vec![part] }),
        }
    }

    /// Takes a copy of bytes.
    pub(super) fn copy(&mut self, chunk: u64, what: What, bytes: &[u8]) {
        if self.copied.len() + bytes.len() > COPIED_LEN {
            self.close_copied();
        }
        self.len += bytes.len();
        let start = self.copied.len() as u32;
        self.copied.extend_from_slice(bytes);
        self.copied_parts.push(Arrived { chunk, what, at: start..self.copied.len() as u32 });
    }

    /// Lets go of received blocks that were kept for too little, of those that came since there were `before` deliveries.
    pub(super) fn settle(&mut self, before: usize) {
        for delivery in self.deliveries.iter_mut().skip(before) {
            if delivery.len() < WORTH_KEEPING && delivery.block.bytes().len() > COPIED_LEN / 2 {
                let mut copied = Vec::with_capacity(delivery.len());
                for part in &mut delivery.parts {
                    let start = copied.len() as u32;
                    copied.extend_from_slice(
                        &delivery.block.bytes()[part.at.start as usize..part.at.end as usize],
                    );
                    part.at = start..copied.len() as u32;
                }
                delivery.block = Block::from_vec(copied);
            }
        }
    }

    /// How many deliveries there are, for [`Self::settle`].
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries.len()
    }

    fn close_copied(&mut self) {
        if !self.copied_parts.is_empty() {
            self.deliveries.push_back(Delivery {
                block: Block::from_vec(std::mem::take(&mut self.copied)),
                parts: std::mem::take(&mut self.copied_parts),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_handed_on_in_order_and_small_kept_blocks_are_copied() {
        let mut inbox = Inbox::default();
        let large = Block::from_vec((0..60_000).map(|at| (at / 4096) as u8).collect());
        let part = What::Part(0);
        inbox.copy(1, part, &[1; 100]);
        inbox.copy(2, part, &[2; 100]);
        let before = inbox.deliveries();
        inbox.keep(&large, 3, part, 0..4096);
        inbox.settle(before);
        let before = inbox.deliveries();
        (4..14).for_each(|chunk| {
            inbox.keep(&large, chunk, part, chunk as usize * 4096..(chunk as usize + 1) * 4096);
        });
        inbox.settle(before);
        inbox.copy(14, part, &[14; 100]);
        let mut chunks = Vec::new();
        while let Some(delivery) = inbox.pop() {
            for part in delivery.parts {
                let bytes = &delivery.block.bytes()[part.at.start as usize..part.at.end as usize];
                let first = if part.chunk == 3 { 0 } else { part.chunk as u8 };
                assert!(bytes.iter().all(|byte| *byte == first), "{}", part.chunk);
                chunks.push((part.chunk, Arc::ptr_eq(&delivery.block, &large)));
            }
        }
        let expected: Vec<(u64, bool)> = (1..15).map(|chunk| (chunk, (4..14).contains(&chunk))).collect();
        assert_eq!(chunks, expected);
        assert!(inbox.len == 0);
    }
}
