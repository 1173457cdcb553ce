//! Messages: what the conversation says, and what the two links say to each other.

use std::collections::VecDeque;

use framing::Message;

use super::account;
use super::peer::State;
use crate::{LinkError, LinkStats};

/// What a message is, its first byte.
mod kind {
    /// Of the conversation.
    pub(super) const MESSAGE: u8 = 0;
    /// What the link of a sender has seen of the path.
    pub(super) const STATS: u8 = 1;
}

/// Bytes of messages that may wait before more are taken: beyond that the peer has to wait.
const MOST_WAITING: usize = 1 << 20;

/// Messages that have come.
#[derive(Debug, Default)]
pub(super) struct Mail {
    messages: VecDeque<Vec<u8>>,
    /// Bytes of all of them.
    len: usize,
    /// What the sender of chunks told last.
    stats: Option<LinkStats>,
}

impl Mail {
    /// Takes the messages in that have come, as many as may wait here.
    ///
    /// Where that makes room for others the peer has to be told: [`Peer::arm`](super::peer::Peer::arm) is to follow.
    pub(super) fn fetch(&mut self, state: &mut State) -> Result<(), LinkError> {
        while self.len < MOST_WAITING
            && let Some(message) = state.conn.recv_message()
        {
            self.len += message.len();
            match message.split_first() {
                Some((&kind::MESSAGE, _)) => self.messages.push_back(message),
                Some((&kind::STATS, record)) => {
                    self.stats = account::decode(record).or(self.stats);
                    self.len -= message.len();
                }
                _ => return Err(LinkError::Misbehaved("it sent a message of no kind".to_owned())),
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The next message of the conversation, for [`decode`].
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.len -= message.len();
        Some(message)
    }

    /// What the sender of chunks has told.
    pub(super) const fn stats(&self) -> Option<LinkStats> {
        self.stats
    }

    /// Forgets what the sender of an earlier transfer has told.
    pub(super) const fn forget_stats(&mut self) {
        self.stats = None;
    }

    /// The refusal that a peer may have sent before the end. Everything before it is passed over.
    pub(super) fn refusal(&mut self, state: &mut State) -> Option<LinkError> {
        loop {
            // What is wrong behind it does not matter any more.
            let is_good = self.fetch(state).is_ok();
            let is_last = self.messages.is_empty() || !is_good;
            let refusal = std::iter::from_fn(|| self.pop())
                .find_map(|message| decode(&message).err().filter(is_refusal));
            if refusal.is_some() || is_last {
                return refusal;
            }
        }
    }
}

const fn is_refusal(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused { .. })
}

/// Reads a message of the conversation.
pub(super) fn decode(message: &[u8]) -> Result<Message<'_>, LinkError> {
    decode_datagram(message.get(1..).unwrap_or_default())
}

/// Reads a message that came as a datagram: only the conversation sends those.
pub(super) fn decode_datagram(message: &[u8]) -> Result<Message<'_>, LinkError> {
    match Message::decode(message)? {
        Message::Refuse { refusal, text } => Err(LinkError::Refused { refusal, text: text.to_owned() }),
        message => Ok(message),
    }
}

/// Writes a message of the conversation.
pub(super) fn encode(message: &Message<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.push(kind::MESSAGE);
    message.encode(out);
}

/// Writes what this link has seen of the path.
pub(super) fn encode_stats(stats: &LinkStats, out: &mut Vec<u8>) {
    out.clear();
    out.push(kind::STATS);
    account::encode(stats, out);
}
