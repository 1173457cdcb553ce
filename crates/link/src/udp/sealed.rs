//! What lies between the packets of a connection and the socket where there is a key.

use std::sync::{Arc, OnceLock};

use framing::packet::{Packet, TOKEN_LEN};
use seal::datagram::{self, Greeting, Opener, Sealer};
use seal::{HandshakeError, Key};

use super::arrivals::Arrival;
use crate::block::Block;

/// What a connection seals its packets with.
#[derive(Debug)]
pub(super) struct Guard {
    /// The handshake, on a client.
    greeting: Option<Greeting>,
    /// There is none before the handshake is over.
    sealer: OnceLock<Sealer>,
}

impl Guard {
    /// That of a client which begins a handshake for a connection of this id.
    pub(super) fn greet(key: &Key, cid: u32) -> Result<Self, HandshakeError> {
        Ok(Self { greeting: Some(Greeting::begin(key, cid)?), sealer: OnceLock::new() })
    }

    /// That of a server for a client that has proved its key.
    pub(super) fn of(sealer: Sealer) -> Self {
        Self { greeting: None, sealer: OnceLock::from(sealer) }
    }

    /// Takes a Retry: what opens the packets that follow it, once.
    pub(super) fn welcome(&self, retry: &mut [u8]) -> Option<Opener> {
        let greeting = self.greeting.as_ref().filter(|_| self.sealer.get().is_none())?;
        let (sealer, opener) = greeting.welcome(retry)?;
        self.sealer.set(sealer).ok()?;
        Some(opener)
    }

    /// Seals the packet that `packets` ends with, from `start` on. One that can't be, yet, is taken away.
    pub(super) fn seal(&self, packets: &mut Vec<u8>, start: usize) {
        match (self.sealer.get(), &self.greeting) {
            (Some(sealer), _) => sealer.seal(packets, start),
            (None, Some(greeting)) => datagram::seal_init(greeting.hello(), packets, start),
            (None, None) => packets.truncate(start),
        }
    }

    /// Seals single packets.
    pub(super) fn sealer(&self) -> Option<&Sealer> {
        self.sealer.get()
    }
}

/// The id and token of the Retry that a server would send without a key, at the end of `replies`, which is taken away.
pub(super) fn take_retry(replies: &mut Vec<u8>, start: usize) -> Option<(u32, [u8; TOKEN_LEN])> {
    let retry = match Packet::parse(replies.get(start..)?) {
        Ok(Packet::Retry { server_cid, token, .. }) => Some((server_cid, token)),
        _ => None,
    };
    replies.truncate(start);
    retry
}

/// A packet that had come sealed for a connection that was not known then, opened by itself.
#[derive(Debug)]
pub(super) struct Late(Arc<Block>);

impl Late {
    /// Opens a copy of what came.
    pub(super) fn open(arrival: &Arrival<'_>, opener: &mut Opener) -> Option<Self> {
        let mut copy = arrival.datagram().to_vec();
        opener.open(&mut copy).then(|| Self(Block::from_vec(copy)))
    }

    /// It as it would have come.
    pub(super) fn arrival<'a>(&'a self, came: &Arrival<'_>) -> Option<Arrival<'a>> {
        let parsed = datagram::parse(self.0.bytes())?;
        let end = self.0.bytes().len() - parsed.surplus;
        let Arrival { from, to, at, stamp, .. } = *came;
        Some(Arrival {
            packet: parsed.packet,
            from,
            to,
            at,
            stamp,
            block: &self.0,
            start: 0,
            end,
            surplus: parsed.surplus,
            dense: false,
            is_sealed: parsed.is_sealed,
        })
    }
}
