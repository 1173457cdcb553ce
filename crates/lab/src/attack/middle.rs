//! Somebody on the way between clients and a server, who sees all that passes and does with it what they like.

mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Transport;

/// How soon a thread notices that it is to end.
const SOON: Duration = Duration::from_millis(20);

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// A piece of a conversation: a datagram; on TCP the first message of a side, or a record.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Which connection of the client it is, from 0 on.
    pub(super) session: usize,
    /// Where it was to go.
    pub(super) way: Way,
    /// Which piece it is of those that go there in this session, from 0 on.
    pub(super) index: usize,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

/// Decides what is sent in the place of a piece, and where to. On TCP nothing at all cuts the connection.
pub(super) type Hands = Box<dyn FnMut(&Piece) -> Vec<(Way, Vec<u8>)> + Send>;

/// Lets a piece pass as it is.
#[must_use]
pub(super) fn pass(piece: &Piece) -> Vec<(Way, Vec<u8>)> {
    vec![(piece.way, piece.bytes.clone())]
}

/// It ends when it is dropped.
pub(super) struct Middle {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// Whose conversation is sealed, so that records can be told apart.
    hands: Mutex<(Hands, Vec<Piece>)>,
    has_ended: AtomicBool,
}

impl Middle {
    /// One between clients with a key and this server.
    pub(super) fn new(transport: Transport, server: SocketAddr, hands: Hands) -> anyhow::Result<Self> {
        let shared =
            Shared { server, hands: Mutex::new((hands, Vec::new())), has_ended: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let address = match transport {
            Transport::Tcp => tcp::listen(&shared)?,
            Transport::Udp => udp::listen(&shared)?,
        };
        Ok(Self { address, shared })
    }

    /// What clients are to take for the server.
    #[must_use]
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that came to it so far, as it was before it laid hands on it.
    #[must_use]
    pub(super) fn seen(&self) -> Vec<Piece> {
        self.shared.hands.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// What to send in the place of a piece.
    fn judge(&self, piece: Piece) -> Vec<(Way, Vec<u8>)> {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = (hands.0)(&piece);
        hands.1.push(piece);
        sent
    }
}
