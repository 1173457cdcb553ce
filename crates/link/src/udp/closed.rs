//! Connections that are over.
//!
//! Late packets of a closed connection are answered with its last packet, and a late copy of the packet that opened it
//! opens nothing.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a connection is remembered: longer than its token is good.
const MEMORY: Duration = Duration::from_secs(65);
/// How many are.
const MOST: usize = 4096;
/// How often the last packet is said again, at most.
const PAUSE: Duration = Duration::from_millis(10);

/// The connections that are over.
#[derive(Debug, Default)]
pub(super) struct Closed {
    by_cid: HashMap<u32, Last>,
    /// In the order in which they ended.
    order: VecDeque<(Instant, u32)>,
}

/// What a packet of a connection that is over deserves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// Nothing: it is a stranger's, or has been answered just now.
    Nothing,
    /// The last packet of the connection.
    Last(&'a [u8]),
    /// Word that there is no such connection: it ended without a last packet.
    Reset,
}

#[derive(Debug)]
struct Last {
    packet: Vec<u8>,
    to: SocketAddr,
    said: Instant,
}

impl Closed {
    /// Remembers a connection that was closed with this packet.
    pub(super) fn add(&mut self, now: Instant, cid: u32, packet: Vec<u8>, to: SocketAddr) {
        while let Some((since, oldest)) = self.order.front().copied()
            && (self.order.len() >= MOST || now.saturating_duration_since(since) > MEMORY)
        {
            self.order.pop_front();
            self.by_cid.remove(&oldest);
        }
        self.by_cid.insert(cid, Last { packet, to, said: now });
        self.order.push_back((now, cid));
    }

    /// Whether one more would make it forget another one before its time. A copy of what opened that could open it again,
    /// with the same secrets.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let oldest = self.order.front();
        self.order.len() >= MOST
            && oldest.is_some_and(|(since, _)| now.saturating_duration_since(*since) <= MEMORY)
    }

    /// What to say to a packet from there of a connection that is over: `None` if it is of none.
    pub(super) fn answer(&mut self, now: Instant, cid: u32, from: SocketAddr) -> Option<Answer<'_>> {
        let last = self.by_cid.get_mut(&cid)?;
        let again = now.saturating_duration_since(last.said) >= PAUSE;
        if !again || last.to != from {
            return Some(Answer::Nothing);
        }
        last.said = now;
        Some(if last.packet.is_empty() { Answer::Reset } else { Answer::Last(&last.packet) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_and_forgets() {
        let (now, peer) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 9)));
        let mut closed = Closed::default();
        for cid in 0..2 * MOST as u32 {
            closed.add(now, cid, vec![1], peer);
        }
        assert_eq!((closed.by_cid.len(), closed.order.len()), (MOST, MOST));
        let cid = 2 * MOST as u32 - 1;
        assert_eq!(closed.answer(now, cid, peer), Some(Answer::Nothing), "it has just been said");
        let later = now + PAUSE;
        let stranger = SocketAddr::from(([127, 0, 0, 1], 10));
        assert_eq!(closed.answer(later, cid, stranger), Some(Answer::Nothing));
        assert_eq!(closed.answer(later, cid, peer), Some(Answer::Last(&[1])));
        let later = now + MEMORY + PAUSE;
        closed.add(later, 1, Vec::new(), peer);
        assert_eq!((closed.by_cid.len(), closed.answer(later, cid, peer)), (1, None));
        assert_eq!(closed.answer(later + PAUSE, 1, peer), Some(Answer::Reset));
    }
}
