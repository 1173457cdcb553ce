//! Settings of UDP links.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use arq::{Config, Congestion};
use seal::{Key, datagram};

use crate::{HANDSHAKE_LIMIT, IDLE_LIMIT, Note, Notice};

/// Settings of UDP links.
#[derive(Clone)]
pub struct UdpOptions {
    /// How the sending rate is found.
    pub congestion: Congestion,
    /// The most that is sent, in bits/s on the wire. What [`Congestion::Fixed`] sends at.
    pub rate: Option<u64>,
    /// The largest IP packet that may be sent, in bytes; found out by probing unless given.
    pub mtu: Option<u16>,
    /// What both sides must have. With it everything is sealed, without it nothing.
    pub key: Option<Key>,
    /// How long a peer may take until its first message is there, once its address is proven: [`HANDSHAKE_LIMIT`] unless
    /// changed. Only of a server.
    pub handshake_limit: Duration,
    /// Takes notices: settings of the system that are in the way, and on a server who was turned away.
    pub note: Option<Note>,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self {
            congestion: Congestion::default(),
            rate: None,
            mtu: None,
            key: None,
            handshake_limit: HANDSHAKE_LIMIT,
            note: None,
        }
    }
}

impl UdpOptions {
    /// The settings of a connection with this address, of which so many bytes of chunks may wait to be taken.
    pub(super) fn config(&self, peer: SocketAddr, window: u64) -> Config {
        let overhead = overhead(peer);
        let mut config = Config {
            congestion: self.congestion,
            max_rate: self.rate,
            overhead,
            idle_limit: IDLE_LIMIT,
            window,
            ..Config::default()
        };
        if let Some(mtu) = self.mtu {
            config.max_datagram = mtu.saturating_sub(overhead);
        }
        if self.key.is_some() {
            // The connection knows nothing of seals: to it they are a longer header.
            config.overhead += datagram::GROWTH as u16;
            config.max_datagram -= (datagram::GROWTH as u16).min(config.max_datagram);
            config.connect_extra = datagram::HELLO_LEN as u16;
        }
        config
    }

    pub(super) fn say(&self, line: &str) {
        if let Some(note) = &self.note {
            note(&Notice::Advice(line));
        }
    }

    pub(super) fn turned_away(&self, peer: SocketAddr, why: &str) {
        if let Some(note) = &self.note {
            note(&Notice::TurnedAway { peer, why });
        }
    }
}

impl fmt::Debug for UdpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { congestion, rate, mtu, key, handshake_limit, note: _ } = self;
        f.debug_struct("UdpOptions")
            .field("congestion", congestion)
            .field("rate", rate)
            .field("mtu", mtu)
            .field("key", key)
            .field("handshake_limit", handshake_limit)
            .finish_non_exhaustive()
    }
}

/// Bytes of the IP and UDP headers of a datagram to this address.
fn overhead(peer: SocketAddr) -> u16 {
    if peer.ip().to_canonical().is_ipv4() { 20 + 8 } else { 40 + 8 }
}
