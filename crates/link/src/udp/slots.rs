//! What datagrams are received into.
//!
//! The kernel may join datagrams of one sender (GRO), so each slot holds the largest batch. A slot that came well filled is
//! handed on as it is, and another block takes its place: then the bytes of chunks are never copied in this process.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::sync::Arc;

use quinn_udp::{BATCH_SIZE, RecvMeta};

use super::socket::Port;
use crate::block::Block;

/// Bytes of a slot: the most that one receive gives.
const SLOT_LEN: usize = 64 * 1024;
/// A slot with so many bytes is worth handing on as it is.
const DENSE_LEN: usize = SLOT_LEN / 2;
/// Blocks that were handed on and are watched for their return.
const MOST_LENT: usize = 128;
/// How many of those are looked at for one that is free.
const LOOKS: usize = 4;

/// The buffers of a socket.
#[derive(Debug)]
pub(super) struct Slots {
    blocks: Vec<Arc<Block>>,
    meta: [RecvMeta; BATCH_SIZE],
    /// Blocks that were handed on, the oldest first.
    lent: VecDeque<Arc<Block>>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let blocks = std::iter::repeat_with(fresh).take(BATCH_SIZE).collect();
        Self { blocks, meta: [RecvMeta::default(); BATCH_SIZE], lent: VecDeque::new() }
    }

    /// Receives what is there: how many slots were used.
    pub(super) fn receive(&mut self, port: &Port) -> io::Result<usize> {
        self.renew();
        let mut blocks = self.blocks.iter_mut();
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            let block = blocks.next().and_then(Arc::get_mut);
            IoSliceMut::new(block.map_or(&mut [], Block::bytes_mut))
        });
        port.recv(&mut slices, &mut self.meta)
    }

    /// The blocks and what is in them, of as many slots as were used.
    pub(super) fn used(&self, used: usize) -> impl Iterator<Item = (&Arc<Block>, &RecvMeta)> {
        self.blocks.iter().zip(&self.meta).take(used)
    }

    fn used_mut(&mut self, used: usize) -> impl Iterator<Item = (&mut [u8], &RecvMeta)> {
        let blocks = self.blocks.iter_mut().zip(&self.meta).take(used);
        // Nobody else has them yet.
        blocks.filter_map(|(block, meta)| Some((Arc::get_mut(block)?.bytes_mut(), meta)))
    }

    /// Each datagram of as many slots as were used, to be changed where it lies.
    pub(super) fn datagrams_mut(&mut self, used: usize) -> impl Iterator<Item = &mut [u8]> {
        self.used_mut(used).flat_map(|(bytes, meta)| {
            let len = meta.len.min(bytes.len());
            bytes[..len].chunks_mut(meta.stride.max(1))
        })
    }

    /// Puts other blocks in the place of those that were handed on.
    fn renew(&mut self) {
        for at in 0..self.blocks.len() {
            if Arc::strong_count(&self.blocks[at]) > 1 {
                let block = self.free().unwrap_or_else(fresh);
                let lent = std::mem::replace(&mut self.blocks[at], block);
                if self.lent.len() < MOST_LENT {
                    self.lent.push_back(lent);
                }
            }
        }
    }

    /// A block that has come back.
    fn free(&mut self) -> Option<Arc<Block>> {
        let at = self.lent.iter().take(LOOKS).position(|block| Arc::strong_count(block) == 1)?;
        self.lent.remove(at)
    }
}

/// Whether a slot with so many bytes is handed on as it is.
pub(super) const fn is_dense(len: usize) -> bool {
    len >= DENSE_LEN
}

fn fresh() -> Arc<Block> {
    Block::from_vec(vec![0; SLOT_LEN])
}
