//! From received bytes to packets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use framing::packet::Packet;
use quinn_udp::RecvMeta;
use seal::datagram::{self, Parsed};

use super::slots::is_dense;
use crate::block::Block;

/// How long ago a datagram may have come for the kernel's time to be taken. One that waited longer met a queue in the socket,
/// which is a part of the path then.
const MOST_AGE: Duration = Duration::from_millis(5);

/// A socket's buffer empties in less. More than this is a clock that was set.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// The time, by the clock that durations are measured with and by the one that the kernel tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: Instant,
    /// Since 1970.
    wall: Duration,
}

impl Clock {
    pub(super) fn now() -> Self {
        Self { now: Instant::now(), wall: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default() }
    }

    /// When a datagram came that the kernel gave this time, unless that was so long ago.
    fn instant(&self, timestamp: Option<Duration>, most_age: Duration) -> Instant {
        let age = timestamp.map(|timestamp| self.wall.saturating_sub(timestamp));
        age.filter(|age| *age <= most_age).and_then(|age| self.now.checked_sub(age)).unwrap_or(self.now)
    }
}

/// A datagram that is a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) packet: Packet<'a>,
    pub(super) from: SocketAddr,
    /// The address of ours that it was sent to.
    pub(super) to: Option<IpAddr>,
    /// When the kernel received it, or now where it waited long for this program.
    pub(super) at: Instant,
    /// When the kernel received it.
    pub(super) stamp: Instant,
    /// The block that it lies in, and where.
    pub(super) block: &'a Arc<Block>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes behind its end that only a sealed packet has.
    pub(super) surplus: usize,
    /// Whether it is sealed still: it came for nobody that was known.
    pub(super) is_sealed: bool,
    /// Whether the block is to be kept, not copied from.
    pub(super) dense: bool,
}

impl Arrival<'_> {
    pub(super) const fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn datagram(&self) -> &[u8] {
        &self.block.bytes()[self.start..self.end + self.surplus]
    }

    /// The connection that it is for; none of an Init, nor of a Reset, which tells the other side's id.
    pub(super) const fn cid(&self) -> Option<u32> {
        match self.packet {
            Packet::Init { .. } | Packet::Reset { .. } => None,
            Packet::Retry { client_cid: cid, .. }
            | Packet::Version { client_cid: cid, .. }
            | Packet::Connect { server_cid: cid, .. }
            | Packet::Data { cid, .. }
            | Packet::Plain { cid, .. } => Some(cid),
        }
    }
}

/// Appends the packets of one slot: how many datagrams were none. `has_key`: what was sealed is open by now.
pub(super) fn parse<'a>(
    block: &'a Arc<Block>,
    meta: &RecvMeta,
    clock: &Clock,
    has_key: bool,
    arrivals: &mut Vec<Arrival<'a>>,
) -> u64 {
    let len = meta.len.min(block.bytes().len());
    let stride = meta.stride.max(1);
    let dense = is_dense(len);
    let at = clock.instant(meta.timestamp, MOST_AGE);
    let stamp = clock.instant(meta.timestamp, MOST_WAIT);
    let mut garbage = 0;
    for start in (0..len).step_by(stride) {
        let end = len.min(start + stride);
        let datagram = &block.bytes()[start..end];
        let parsed = match has_key {
            true => datagram::parse(datagram),
            false => {
                Packet::parse(datagram).ok().map(|packet| Parsed { packet, is_sealed: false, surplus: 0 })
            }
        };
        match parsed {
            Some(Parsed { packet, is_sealed, surplus }) => {
                arrivals.push(Arrival {
                    packet,
                    from: meta.addr,
                    to: meta.dst_ip,
                    at,
                    stamp,
                    block,
                    start,
                    end: end - surplus,
                    surplus,
                    is_sealed,
                    dense,
                });
            }
            None => garbage += 1,
        }
    }
    garbage
}
