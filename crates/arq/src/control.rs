//! The stream of messages: reliable and in order, in both directions.
//!
//! A message is its length (u32, big-endian) and its bytes; the stream is cut into pieces as the datagrams have room.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Bytes of the stream that may be on their way or wait to be taken. A constant of the protocol.
pub(crate) const WINDOW: u64 = 1 << 20;
/// The most bytes of one message: one of `framing` and what a link may put before it.
pub const MAX_MESSAGE_LEN: usize = framing::MAX_MESSAGE_LEN + 16;
const PREFIX_LEN: usize = 4;
/// Pieces behind gaps that are kept at most. A sender cuts its stream into some 2000, and what was lost into a few more.
const MAX_PIECES: usize = 10_000;

/// The sending half: keeps what is not acknowledged.
#[derive(Debug, Default)]
pub(crate) struct ControlSender {
    /// Bytes from `base` on.
    buffer: VecDeque<u8>,
    /// Everything below this is acknowledged.
    base: u64,
    /// Everything below this was sent at least once.
    next: u64,
    /// Pieces above `base` that are acknowledged: start to end.
    acked: BTreeMap<u64, u64>,
    /// Pieces that were lost and go first.
    lost: BTreeMap<u64, u64>,
    /// What the peer takes.
    credit: u64,
}

impl ControlSender {
    pub(crate) fn new() -> Self {
        Self { credit: WINDOW, ..Self::default() }
    }

    /// Appends a message, unless the window is full.
    pub(crate) fn push(&mut self, message: &[u8]) -> bool {
        let len = PREFIX_LEN + message.len();
        if message.len() > MAX_MESSAGE_LEN || (self.buffer.len() + len) as u64 > WINDOW {
            return false;
        }
        self.buffer.extend((message.len() as u32).to_be_bytes());
        self.buffer.extend(message);
        true
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Bytes that are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.buffer.len()
    }

    /// Takes in up to where the peer takes the stream. `false` when that is more than it may.
    pub(crate) fn set_credit(&mut self, credit: u64) -> bool {
        self.credit = self.credit.max(credit);
        credit <= self.next + WINDOW
    }

    fn end(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Whether a piece waits to be sent.
    pub(crate) fn has_pending(&self) -> bool {
        !self.lost.is_empty() || self.next < self.end().min(self.credit)
    }

    /// The next piece to send, at most so long.
    pub(crate) fn next_piece(&mut self, most: usize) -> Option<Range<u64>> {
        while let Some((start, end)) = self.lost.pop_first() {
            // A copy of it may have arrived meanwhile.
            let start = start.max(self.base);
            if start >= end {
                continue;
            }
            let cut = end.min(start + most as u64);
            if cut < end {
                self.lost.insert(cut, end);
            }
            return Some(start..cut);
        }
        let end = self.end().min(self.credit).min(self.next + most as u64);
        if end <= self.next {
            return None;
        }
        let piece = self.next..end;
        self.next = end;
        Some(piece)
    }

    /// The oldest piece that is not acknowledged, whether it was sent or not.
    pub(crate) fn oldest_piece(&self, most: usize) -> Option<Range<u64>> {
        let end = self.acked.first_key_value().map_or(self.next, |(start, _)| *start).min(self.next);
        let piece = self.base..end.min(self.base + most as u64);
        (!piece.is_empty()).then_some(piece)
    }

    /// The bytes of a piece.
    pub(crate) fn bytes(&self, piece: &Range<u64>) -> Vec<u8> {
        let start = piece.start.saturating_sub(self.base) as usize;
        let end = (piece.end.saturating_sub(self.base) as usize).min(self.buffer.len());
        self.buffer.range(start.min(end)..end).copied().collect()
    }

    pub(crate) fn acknowledge(&mut self, piece: Range<u64>) {
        if piece.end <= self.base {
            return;
        }
        insert(&mut self.acked, piece);
        if let Some((start, end)) = self.acked.first_key_value().map(|(start, end)| (*start, *end))
            && start <= self.base
        {
            self.acked.pop_first();
            self.buffer.drain(..((end - self.base) as usize).min(self.buffer.len()));
            self.base = end;
        }
    }

    /// A piece was lost: what of it is not acknowledged goes again.
    pub(crate) fn lose(&mut self, piece: Range<u64>) {
        let mut start = piece.start.max(self.base);
        while start < piece.end {
            let covering = self.acked.range(..=start).next_back().map(|(_, end)| *end);
            if let Some(end) = covering.filter(|end| *end > start) {
                start = end;
                continue;
            }
            let end = self.acked.range(start..).next().map_or(piece.end, |(next, _)| *next).min(piece.end);
            insert(&mut self.lost, start..end);
            start = end;
        }
    }
}

/// Adds a range to a map of ranges that lie apart.
fn insert(map: &mut BTreeMap<u64, u64>, mut range: Range<u64>) {
    while let Some((start, end)) = map.range(..=range.end).next_back().map(|(start, end)| (*start, *end)) {
        if end < range.start {
            break;
        }
        map.remove(&start);
        range = range.start.min(start)..range.end.max(end);
    }
    map.insert(range.start, range.end);
}

/// Why the peer's stream can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ControlError {
    #[error("it sent more of its messages than it may at a time")]
    Window,
    #[error("it announced a message of {0} bytes")]
    TooLong(usize),
    #[error("it sent its messages in too many pieces")]
    Crumbs,
}

/// The receiving half: puts the pieces in order.
#[derive(Debug, Default)]
pub(crate) struct ControlReceiver {
    /// Bytes in order that were not taken yet.
    ready: VecDeque<u8>,
    /// Where the next bytes belong.
    next: u64,
    /// Pieces behind a gap.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl ControlReceiver {
    /// Takes in a piece.
    pub(crate) fn receive(&mut self, offset: u64, bytes: &[u8]) -> Result<(), ControlError> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(ControlError::Window)?;
        if end > self.credit() {
            return Err(ControlError::Window);
        }
        if end <= self.next {
            return Ok(());
        }
        if offset > self.next {
            self.keep(offset, bytes);
            return if self.pieces.len() > MAX_PIECES { Err(ControlError::Crumbs) } else { Ok(()) };
        }
        self.ready.extend(&bytes[(self.next - offset) as usize..]);
        self.next = end;
        while let Some((offset, bytes)) = self.pieces.pop_first() {
            if offset > self.next {
                self.pieces.insert(offset, bytes);
                break;
            }
            let end = offset + bytes.len() as u64;
            if end > self.next {
                self.ready.extend(&bytes[(self.next - offset) as usize..]);
                self.next = end;
            }
        }
        self.check()
    }

    /// Keeps what is new of a piece behind a gap, so that copies cost nothing.
    fn keep(&mut self, offset: u64, bytes: &[u8]) {
        let (mut start, end) = (offset, offset + bytes.len() as u64);
        while start < end {
            let before = self.pieces.range(..=start).next_back();
            let covered = before.map_or(0, |(at, bytes)| at + bytes.len() as u64);
            if covered > start {
                start = covered;
                continue;
            }
            let stop = self.pieces.range(start..).next().map_or(end, |(at, _)| *at).min(end);
            self.pieces.insert(start, bytes[(start - offset) as usize..(stop - offset) as usize].to_vec());
            start = stop;
        }
    }

    /// Bytes that are kept, those behind gaps included.
    pub(crate) fn held(&self) -> usize {
        self.ready.len() + self.pieces.values().map(Vec::len).sum::<usize>()
    }

    /// How long the next message is, if so much is known.
    fn message_len(&self) -> Option<usize> {
        let mut prefix = [0; PREFIX_LEN];
        for (to, from) in prefix.iter_mut().zip(self.ready.iter()) {
            *to = *from;
        }
        (self.ready.len() >= PREFIX_LEN).then(|| u32::from_be_bytes(prefix) as usize)
    }

    fn check(&self) -> Result<(), ControlError> {
        match self.message_len() {
            Some(len) if len > MAX_MESSAGE_LEN => Err(ControlError::TooLong(len)),
            _ => Ok(()),
        }
    }

    /// Whether a whole message can be taken out.
    pub(crate) fn has_message(&self) -> bool {
        self.message_len().is_some_and(|len| self.ready.len() >= PREFIX_LEN + len)
    }

    /// Takes the next whole message out.
    pub(crate) fn pop(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        self.check()?;
        let Some(len) = self.message_len().filter(|_| self.has_message()) else { return Ok(None) };
        self.ready.drain(..PREFIX_LEN);
        Ok(Some(self.ready.drain(..len).collect()))
    }

    /// Up to where the sender may send.
    pub(crate) fn credit(&self) -> u64 {
        self.next - self.ready.len() as u64 + WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_survive_loss_and_shuffling(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..20),
            seed in any::<u64>(),
        ) {
            let mut state = seed;
            let mut draw = move |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % below
            };
            let (mut sender, mut receiver) = (ControlSender::new(), ControlReceiver::default());
            for message in &messages {
                prop_assert!(sender.push(message));
            }
            let mut flying: Vec<(Range<u64>, Vec<u8>)> = Vec::new();
            let mut got = Vec::new();
            for _ in 0..100_000 {
                if sender.is_acknowledged() {
                    break;
                }
                match draw(4) {
                    0 | 1 => {
                        let most = 1 + draw(1200);
                        flying.extend(sender.next_piece(most).map(|piece| (piece.clone(), sender.bytes(&piece))));
                    }
                    2 => {
                        flying.extend(sender.oldest_piece(100).map(|piece| (piece.clone(), sender.bytes(&piece))));
                    }
                    _ if flying.is_empty() => {}
                    _ => {
                        let (piece, bytes) = flying.swap_remove(draw(flying.len()));
                        if draw(3) == 0 {
                            sender.lose(piece);
                        } else {
                            prop_assert!(receiver.receive(piece.start, &bytes).is_ok());
                            sender.acknowledge(piece);
                        }
                    }
                }
                while let Some(message) = receiver.pop().unwrap() {
                    got.push(message);
                }
            }
            prop_assert!(sender.is_acknowledged());
            prop_assert!(got == messages, "{} messages of {}", got.len(), messages.len());
        }

        #[test]
        fn any_pieces_are_taken_or_refused(
            pieces in prop::collection::vec((0_u64..5000, prop::collection::vec(any::<u8>(), 0..500)), 0..50),
        ) {
            let mut receiver = ControlReceiver::default();
            for (offset, bytes) in pieces {
                if receiver.receive(offset, &bytes).is_err() {
                    break;
                }
                while let Ok(Some(_)) = receiver.pop() {}
            }
        }
    }

    #[test]
    fn absurd_numbers_are_refused() {
        let mut receiver = ControlReceiver::default();
        assert_eq!(receiver.receive(u64::MAX, &[1]), Err(ControlError::Window));
        assert_eq!(receiver.receive(WINDOW, &[1]), Err(ControlError::Window));
        assert_eq!(receiver.receive(0, &[0xff; 4]), Err(ControlError::TooLong(u32::MAX as usize)));
    }
}
