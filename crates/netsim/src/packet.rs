//! What damage and resets do to whole IP packets.

use std::ops::Range;

use crate::damage::{Change, Damage};
use crate::faults::CorruptKind;

/// Damages an IPv4 or IPv6 packet, and says how; byte numbers count from the packet's first.
///
/// - [`CorruptKind::Bits`] flips a bit of the payload, or of the transport's header where there is none, and leaves the
///   checksum: the receiver's kernel drops the packet.
/// - [`CorruptKind::Fixup`] flips a bit of the payload and repairs the transport's checksum. In a fragment that does not
///   carry the checksum, a second bit is flipped that evens the sum.
/// - [`CorruptKind::Neutral`] swaps two words of the payload.
///
/// `None`, with the packet unchanged, where nothing can be done: to what is no IP packet, and with the latter two to a
/// packet without payload.
pub fn spoil(packet: &mut [u8], damage: Damage) -> Option<Change> {
    let parts = Parts::of(packet)?;
    let payload = &mut packet[parts.payload.clone()];
    match damage.kind() {
        CorruptKind::Bits if payload.is_empty() => {
            let segment = parts.transport..parts.payload.end;
            damage.apply(&mut packet[segment]).map(|change| change.moved(parts.transport))
        }
        CorruptKind::Fixup => match parts.checksum {
            Some(checksum) => {
                let change = damage.apply(payload)?.moved(parts.payload.start);
                if let Change::Bit { byte, bit } = change {
                    parts.repair(packet, checksum, byte, 1 << bit);
                }
                Some(change)
            }
            None => damage.flip_evenly(payload).map(|change| change.moved(parts.payload.start)),
        },
        CorruptKind::Bits | CorruptKind::Neutral => {
            damage.apply(payload).map(|change| change.moved(parts.payload.start))
        }
    }
}

/// Turns a TCP packet into a reset of its connection, checksum included. False, with the packet unchanged, for what is
/// no TCP packet with its header, and for what is a reset already.
pub fn reset(packet: &mut [u8]) -> bool {
    let Some(Parts { protocol: TCP, transport, checksum: Some(checksum), .. }) = Parts::of(packet) else {
        return false;
    };
    let at = transport + FLAGS;
    let before = packet[at];
    if before & RST != 0 {
        return false;
    }
    packet[at] = before & !(FIN | SYN | PSH) | RST | ACK;
    patch_checksum(packet, checksum, u16::from(before), u16::from(packet[at]));
    true
}

/// What is known of an IP packet, in a few words: `tcp 10.77.0.1:5000 > 10.77.0.2:80`.
#[must_use]
pub fn protocol_name(packet: &[u8]) -> &'static str {
    match Parts::of(packet) {
        Some(parts) if parts.fragment => "fragment",
        Some(Parts { protocol: TCP, .. }) => "tcp",
        Some(Parts { protocol: UDP, .. }) => "udp",
        Some(Parts { protocol: ICMP | ICMP6, .. }) => "icmp",
        _ => "other",
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Where what lies in an IP packet, all of it inside the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    protocol: u8,
    /// Whether it is a fragment that is not the first.
    fragment: bool,
    /// Where the transport's header begins, or a later fragment's bytes.
    transport: usize,
    payload: Range<usize>,
    /// Where the transport's checksum is, if it is here.
    checksum: Option<usize>,
}

impl Parts {
    fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::of_v4(packet),
            6 => Self::of_v6(packet),
            _ => None,
        }
    }

    fn of_v4(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<20>()?;
        let transport = usize::from(header[0] & 0xf) * 4;
        let end = usize::from(u16::from_be_bytes([header[2], header[3]])).min(packet.len());
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        if transport < 20 || transport > end {
            return None;
        }
        Some(Self::from_transport(packet, header[9], transport, end, fragment))
    }

    fn of_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<40>()?;
        let end = (40 + usize::from(u16::from_be_bytes([header[4], header[5]]))).min(packet.len());
        let (mut next, mut at, mut fragment) = (header[6], 40, false);
        loop {
            let extension = packet.get(at..end)?;
            let length = match next {
                0 | 43 | 60 => 8 + 8 * usize::from(*extension.get(1)?),
                44 => {
                    fragment |= u16::from_be_bytes([*extension.get(2)?, *extension.get(3)?]) & 0xfff8 != 0;
                    8
                }
                _ => return Some(Self::from_transport(packet, next, at, end, fragment)),
            };
            next = *extension.first()?;
            at += length;
        }
    }

    fn from_transport(packet: &[u8], protocol: u8, transport: usize, end: usize, fragment: bool) -> Self {
        let segment = &packet[transport..end];
        let (header, checksum) = match protocol {
            TCP if segment.len() >= 20 => (usize::from(segment[12] >> 4) * 4, Some(16)),
            UDP if segment.len() >= 8 => (8, Some(6)),
            ICMP | ICMP6 if segment.len() >= 8 => (8, Some(2)),
            _ => (0, None),
        };
        let (header, checksum) = if fragment { (0, None) } else { (header, checksum) };
        Self {
            protocol,
            fragment,
            transport,
            payload: (transport + header).min(end)..end,
            checksum: checksum.map(|offset| transport + offset),
        }
    }

    /// Makes the checksum good again after the bits of `mask` in the byte at `at` were flipped.
    fn repair(&self, packet: &mut [u8], checksum: usize, at: usize, mask: u8) {
        let unused = self.protocol == UDP && packet[checksum..checksum + 2] == [0, 0];
        if unused {
            return;
        }
        let shift = if (at - self.transport).is_multiple_of(2) { 8 } else { 0 };
        let new = u16::from(packet[at]) << shift;
        let old = u16::from(packet[at] ^ mask) << shift;
        patch_checksum(packet, checksum, old, new);
        if self.protocol == UDP && packet[checksum..checksum + 2] == [0, 0] {
            packet[checksum..checksum + 2].fill(0xff);
        }
    }
}

/// RFC 1624: the checksum after a word has changed.
fn patch_checksum(packet: &mut [u8], at: usize, old: u16, new: u16) {
    let checksum = u16::from_be_bytes([packet[at], packet[at + 1]]);
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    packet[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
