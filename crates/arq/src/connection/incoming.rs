//! What a packet changes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framing::packet::{self, Frame, MAX_CHUNK, Packet, restore_pn};

use super::{Candidate, Connection, MAX_CHALLENGES, Phase, Received};
use crate::end::End;
use crate::parts::in_units;

/// How far a peer may send beyond its credit by chance, before it is taken for malice.
const CREDIT_SLACK: u64 = 1 << 20;

/// A Reset may be the answer to so many packets of late, whether their fate is known or not.
const RESET_PACKETS: u64 = 64;

/// How a packet came.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    now: Instant,
    arrived: Instant,
    from: SocketAddr,
    len: usize,
}

/// The datagram in these frames, if there is one: all that is read of a copy, so that whoever counts datagrams can count those.
fn datagram_of(frames: &[u8]) -> Option<&[u8]> {
    packet::frames(frames).find_map(|frame| match frame {
        Ok(Frame::Datagram(payload)) => Some(payload),
        _ => None,
    })
}

impl Connection {
    /// Whether a Retry with this echo would be taken: the answer to an Init of this client, while it waits for one. What opens
    /// sealed packets must be taken from no other Retry: anybody may have had that one made, with a copy of an Init.
    #[must_use]
    pub fn has_asked(&self, echo: u64) -> bool {
        self.asked(echo).is_some()
    }

    /// When this client sent the Init with this echo, if it still waits for an answer.
    fn asked(&self, echo: u64) -> Option<Instant> {
        match &self.phase {
            Phase::Init { first_echo, sent } => sent.get(echo.wrapping_sub(*first_echo) as usize).copied(),
            _ => None,
        }
    }

    /// Takes in a packet of `len` bytes that came `from` there.
    ///
    /// It came to this machine at `arrived`, as the kernel tells, or at `now`: only the spacing of packets is measured with
    /// it. Call [`Self::poll_transmit`] after it.
    pub fn handle<'a>(
        &mut self,
        now: Instant,
        arrived: Instant,
        from: SocketAddr,
        packet: &Packet<'a>,
        len: usize,
    ) -> Received<'a> {
        let came = Arrival { now, arrived, from, len };
        if self.end.is_some() {
            return Received::Nothing;
        }
        match *packet {
            Packet::Retry { client_cid, server_cid, echo, token } => {
                if client_cid == self.own_cid
                    && let Some(asked) = self.asked(echo)
                {
                    self.rtt.update(now.saturating_duration_since(asked), Duration::ZERO);
                    self.peer_cid = server_cid;
                    self.phase = Phase::Connecting { token };
                    self.timers.heard(now);
                    self.timers.ping(now);
                }
                Received::Nothing
            }
            Packet::Version { version, client_cid, echo } => {
                if client_cid == self.own_cid && self.asked(echo).is_some() {
                    self.finish(End::Version(version));
                }
                Received::Nothing
            }
            Packet::Reset { cid, pn, .. } => {
                let pn = restore_pn(self.sent.next_pn().checked_sub(1), pn);
                // Who only acknowledges has nothing on its way, and hears of it all the same.
                let next = self.sent.next_pn();
                let is_ours = (self.sent.floor().min(next.saturating_sub(RESET_PACKETS))..next).contains(&pn);
                if self.is_established() && cid == self.peer_cid && is_ours {
                    self.finish(End::Reset);
                }
                Received::Nothing
            }
            Packet::Connect { server_cid, client_cid, pn, frames, .. } => {
                if server_cid == self.own_cid && client_cid == self.peer_cid && self.is_established() {
                    self.take_numbered(came, pn, frames)
                } else {
                    Received::Nothing
                }
            }
            Packet::Data { cid, pn, frames } if cid == self.own_cid && self.is_established() => {
                if matches!(self.phase, Phase::Connecting { .. }) {
                    self.phase = Phase::Open;
                }
                self.take_numbered(came, pn, frames)
            }
            Packet::Plain { cid, pn, chunk, payload, intact }
                if cid == self.own_cid && self.is_established() =>
            {
                let pn = restore_pn(self.received.largest(), pn);
                self.received.receive(arrived, pn, len);
                self.timers.heard(now);
                Received::Plain { chunk, payload, intact }
            }
            Packet::Init { .. } | Packet::Data { .. } | Packet::Plain { .. } => Received::Nothing,
        }
    }

    fn take_numbered<'a>(&mut self, came: Arrival, pn: u32, frames: &'a [u8]) -> Received<'a> {
        let Arrival { now, arrived, from, len } = came;
        let pn = restore_pn(self.received.largest(), pn);
        if !self.may_take_part(frames) {
            return Received::Nothing;
        }
        let is_newest = self.received.largest().is_none_or(|largest| pn > largest);
        if !self.received.receive(arrived, pn, len) {
            self.stats.garbage += 1;
            // Whoever sends copies has not heard of the first ones.
            self.received.elicit(now, len, false);
            return datagram_of(frames).map_or(Received::Nothing, Received::Datagram);
        }
        self.timers.heard(now);
        if from != self.remote && is_newest {
            self.notice_move(from, len);
        }
        let mut received = Received::Nothing;
        for (at, frame) in packet::frames(frames).enumerate() {
            match frame {
                Ok(Frame::Part { .. }) if at > 0 => {
                    self.misbehaved("it sent a part together with something else".to_owned());
                }
                Ok(frame) => {
                    if let Some(found) = self.take_frame(now, from, len, frame) {
                        received = found;
                    }
                }
                Err(error) => {
                    self.misbehaved(format!("it sent a malformed packet: {error}"));
                }
            }
            if self.end.is_some() {
                return Received::Nothing;
            }
        }
        received
    }

    /// Whether a part is within what the peer may send. If not, its packet never came: it is not acknowledged.
    fn may_take_part(&mut self, frames: &[u8]) -> bool {
        // A part stands alone in its packet.
        let Some(Ok(Frame::Part { chunk, payload, .. })) = packet::frames(frames).next() else { return true };
        if chunk >= MAX_CHUNK {
            self.misbehaved(format!("it sent chunk {chunk}, and there is no such number"));
            return false;
        }
        let ahead = (self.came + in_units(payload.len())).saturating_sub(self.told_credit.max(self.credit()));
        if ahead > CREDIT_SLACK {
            self.misbehaved("it sent more than it was allowed to".to_owned());
        }
        ahead == 0
    }

    fn take_frame<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        len: usize,
        frame: Frame<'a>,
    ) -> Option<Received<'a>> {
        match frame {
            Frame::Padding(_) => {}
            Frame::Ping => self.received.elicit(now, len, true),
            Frame::Ack(ack) => self.take_ack(now, &ack),
            Frame::Control { offset, bytes } => {
                self.received.elicit(now, len, true);
                if let Err(error) = self.control_in.receive(offset, bytes) {
                    self.misbehaved(error.to_string());
                }
            }
            Frame::Part { chunk, unit, payload } => {
                self.received.elicit(now, len, false);
                self.came += in_units(payload.len());
                return Some(Received::Part { chunk, unit, payload });
            }
            Frame::AckPolicy { floor, max_delay_us, max_bytes } => {
                self.received.elicit(now, len, true);
                self.received.obey(floor, Duration::from_micros(max_delay_us.min(1_000_000)), max_bytes);
            }
            Frame::Challenge(challenge) => {
                self.received.elicit(now, len, true);
                // One answer for each packet, to where it came from: never more than was received.
                self.response = Some((from, challenge));
            }
            Frame::Response(response) => {
                if let Some(candidate) = &self.candidate
                    && candidate.challenge == response
                    && candidate.address == from
                {
                    self.remote = from;
                    self.candidate = None;
                }
            }
            Frame::Close { code, reason } => self.finish(End::Closed { code, reason: reason.to_owned() }),
            Frame::Datagram(payload) => {
                self.received.elicit(now, len, false);
                return Some(Received::Datagram(payload));
            }
        }
        None
    }

    /// The newest packet came from another address: a NAT has forgotten the old one, or the peer has moved. Until it has
    /// proven the new one, packets go where they went before.
    fn notice_move(&mut self, from: SocketAddr, len: usize) {
        match &mut self.candidate {
            Some(candidate) if candidate.address == from => {
                candidate.came += len;
                if candidate.tries >= MAX_CHALLENGES {
                    candidate.tries = 0;
                }
            }
            _ => {
                let challenge = self.next_random().to_be_bytes();
                self.candidate = Some(Candidate {
                    address: from,
                    challenge,
                    challenged: None,
                    tries: 0,
                    came: len,
                    went: 0,
                });
            }
        }
    }
}
