//! What goes out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framing::packet::{self, CRC_LEN, RESET_LEN, VERSION};

use super::train::TRAIN_PACKET;
use super::{CHALLENGE_LEN, Connection, Next, PartHeader, Phase, PlainHeader, Waiting};
use crate::mtu::{BASE_LEN, PART_OVERHEAD};
use crate::parts::{Claim, in_units};
use crate::sent::{Content, NewPacket};

/// The most bytes that acknowledgements take of a datagram.
const ACK_ROOM: usize = 1100;
/// Packets that may always be on their way, whatever the window says, so that messages get through.
const ALWAYS: u64 = 8;
/// Bytes of a Datagram frame before its payload.
const DATAGRAM_HEADER_LEN: usize = 1;
/// How long a path must have been idle for its next packet not to be compared with the one before.
const PAUSE: Duration = Duration::from_millis(5);

impl Connection {
    /// Appends one datagram that has to go out now: anything but parts of chunks. Call it until there is none, after
    /// everything that may have changed something. Gives the address that it goes to.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        match &mut self.phase {
            Phase::Init { first_echo, sent } => {
                if !self.timers.init_due(now) {
                    return None;
                }
                packet::init(out, VERSION, self.own_cid, first_echo.wrapping_add(sent.len() as u64));
                sent.push(now);
                self.timers.init_sent(now, sent.len() as u32);
                self.count_sent(packet::INIT_LEN);
                Some(self.remote)
            }
            Phase::Over { closes: 0 } => None,
            Phase::Over { closes } => {
                *closes -= 1;
                let start = out.len();
                let pn = self.push(now, 0, Content::Untracked);
                packet::begin_data(out, self.peer_cid, pn);
                let (code, reason) = &self.close_reason;
                packet::put_close(out, *code, reason);
                packet::seal(out, start);
                Some(self.remote)
            }
            Phase::Connecting { .. } | Phase::Open => self
                .send_challenge(now, out)
                .or_else(|| self.send_general(now, out))
                .or_else(|| self.send_next_datagram(now, out))
                .or_else(|| self.send_probe(now, out))
                .or_else(|| self.send_train(now, out)),
        }
    }

    const fn count_sent(&mut self, len: usize) {
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += len as u64;
    }

    /// Takes note of a packet with so many bytes of datagram: its number.
    fn push(&mut self, now: Instant, len: usize, content: Content) -> u64 {
        self.count_sent(len);
        if content != Content::Untracked {
            self.timers.sent(now);
        }
        self.sent.push(NewPacket { time: now, wire_len: self.wire_len(len), content })
    }

    /// Begins a packet. The number is put in when it is known what the packet holds, see [`Self::end_packet`].
    fn header_len(&self) -> usize {
        match self.phase {
            Phase::Connecting { .. } => packet::CONNECT_HEADER_LEN + usize::from(self.config.connect_extra),
            _ => packet::DATA_HEADER_LEN,
        }
    }

    /// Makes a packet of frames, and takes note of it.
    fn put_packet(&mut self, now: Instant, out: &mut Vec<u8>, frames: &[u8], content: Content) -> u64 {
        let start = out.len();
        let len = self.header_len() + frames.len() + CRC_LEN;
        let pn = self.push(now, len, content);
        match &self.phase {
            Phase::Connecting { token } => {
                packet::begin_connect(out, self.peer_cid, self.own_cid, token, pn);
            }
            _ => packet::begin_data(out, self.peer_cid, pn),
        }
        out.extend_from_slice(frames);
        packet::seal(out, start);
        pn
    }

    fn send_challenge(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let mut frames = Vec::new();
        if let Some((to, challenge)) = self.response.take() {
            packet::put_response(&mut frames, challenge);
            self.put_packet(now, out, &frames, Content::Untracked);
            return Some(to);
        }
        let candidate = self.candidate.as_mut()?;
        if candidate.due(now, self.rtt.smoothed()).is_none_or(|at| at > now) {
            return None;
        }
        candidate.challenged = Some(now);
        candidate.tries += 1;
        candidate.went += CHALLENGE_LEN;
        packet::put_challenge(&mut frames, candidate.challenge);
        let to = candidate.address;
        self.put_packet(now, out, &frames, Content::Untracked);
        Some(to)
    }

    /// Acknowledgements, messages, pings, and what the receiver shall know of our likes.
    fn send_general(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let mut frames = Vec::with_capacity(BASE_LEN as usize);
        let mut content = Content::Untracked;
        let piece = self.next_control_piece(now);
        let policy_due = self.timers.policy_due(now, self.rtt.smoothed(), self.pacing_rate());
        let policy = self.is_bulk && policy_due && !self.outgoing.is_done();
        let ping = self.timers.take_ping(now);
        let has_more = piece.is_some() || policy || ping;
        if self.received.is_due(now) || (has_more && self.received.has_news()) {
            self.put_ack(now, &mut frames, piece.is_some());
        }
        if policy {
            self.timers.policy_sent(now);
            let (delay, bytes) = self.ack_policy();
            packet::put_ack_policy(&mut frames, self.sent.floor(), delay.as_micros() as u64, bytes);
            content = Content::Ping;
        }
        if ping {
            packet::put_ping(&mut frames);
            // A server that was started anew answers nothing that is shorter.
            let len = self.header_len() + frames.len() + CRC_LEN;
            packet::put_padding(&mut frames, (RESET_LEN + 1).saturating_sub(len));
            content = Content::Ping;
        }
        if let Some(piece) = piece {
            let bytes = self.control_out.bytes(&piece);
            packet::put_control(&mut frames, piece.start, &bytes);
            content = Content::Control(piece);
            self.timers.control_sent(now);
        }
        if frames.is_empty() {
            return None;
        }
        if content != Content::Untracked {
            let len = self.header_len() + frames.len() + CRC_LEN;
            self.pacer.sent(u64::from(self.wire_len(len)));
        }
        self.put_packet(now, out, &frames, content);
        Some(self.remote)
    }

    /// The longest datagram that a packet carries now.
    #[must_use]
    pub fn datagram_room(&self) -> usize {
        usize::from(self.mtu.current()).saturating_sub(self.header_len() + DATAGRAM_HEADER_LEN + CRC_LEN)
    }

    /// The longest datagram that a packet carries on any path, and whatever becomes of this one.
    #[must_use]
    pub fn least_datagram_room(&self) -> usize {
        let len = self.mtu.current().min(BASE_LEN);
        usize::from(len).saturating_sub(packet::DATA_HEADER_LEN + DATAGRAM_HEADER_LEN + CRC_LEN)
    }

    fn send_next_datagram(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let len = self.datagrams.next_len(self.datagram_room())?;
        let is_unheard = !matches!(self.phase, Phase::Open) && self.sent.in_flight_packets() >= ALWAYS;
        if is_unheard || self.sent.in_flight() >= self.window() {
            return None;
        }
        let rate = self.pacing_rate();
        if let Err(at) = self.pacer.check(now, rate) {
            self.timers.pace_datagram(at);
            return None;
        }
        self.timers.datagram_sent();
        let mut frames = Vec::with_capacity(DATAGRAM_HEADER_LEN + len);
        packet::put_datagram_header(&mut frames);
        frames.extend_from_slice(&self.datagrams.pop()?);
        let len = self.header_len() + frames.len() + CRC_LEN;
        self.pacer.sent(u64::from(self.wire_len(len)));
        self.put_packet(now, out, &frames, Content::Datagram);
        if !self.has_more() {
            self.is_idle_now();
        }
        Some(self.remote)
    }

    /// How acknowledgements are wanted: often enough to see the queue, rarely enough to cost nothing.
    fn ack_policy(&self) -> (Duration, u64) {
        let delay = (self.rtt.min() / 32).clamp(Duration::from_micros(100), Duration::from_millis(8));
        (delay, (self.window() / 8).max(4 * u64::from(self.mtu.current())))
    }

    fn put_ack(&mut self, now: Instant, frames: &mut Vec<u8>, leave_room: bool) {
        let credit = self.credit();
        let control_credit = self.control_in.credit();
        let Some((mut fields, ranges)) = self.received.acknowledge(now) else { return };
        fields.credit = credit;
        fields.control_credit = control_credit;
        let room = if leave_room { ACK_ROOM / 2 } else { ACK_ROOM };
        packet::put_ack(frames, &fields, ranges, room);
        self.told_credit = credit;
        self.told_control_credit = control_credit;
    }

    /// The piece of the messages that goes now.
    fn next_control_piece(&mut self, now: Instant) -> Option<std::ops::Range<u64>> {
        let room =
            usize::from(self.mtu.current().min(BASE_LEN)) - self.header_len() - CRC_LEN - ACK_ROOM / 2 - 24;
        let room = if self.received.has_news() { room } else { room + ACK_ROOM / 2 };
        if self.control_out.has_pending() {
            let is_free = self.sent.in_flight_packets() < ALWAYS;
            let fits = self.sent.in_flight() < self.window();
            let rate = self.pacing_rate();
            match self.pacer.check(now, rate) {
                _ if is_free => return self.control_out.next_piece(room),
                Ok(()) if fits => return self.control_out.next_piece(room),
                Ok(()) => {}
                Err(at) if fits => self.timers.pace_control(at),
                Err(_) => {}
            }
            return None;
        }
        let is_lossy = self.loss().max(self.received.loss()) > 0.001 || self.stats.packets_sent < 64;
        let is_little = self.control_out.unacknowledged() <= 4096;
        if self.timers.take_repeat(now, self.rtt.smoothed(), is_lossy && is_little) {
            return self.control_out.oldest_piece(room);
        }
        None
    }

    fn send_probe(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if !self.is_bulk || !self.timers.mtu_due(now) {
            return None;
        }
        let Some(len) = self.mtu.probe(now) else {
            self.timers.set_mtu(self.mtu.deadline(now));
            return None;
        };
        let mut frames = Vec::with_capacity(usize::from(len));
        packet::put_ping(&mut frames);
        packet::put_padding(&mut frames, usize::from(len) - self.header_len() - CRC_LEN - 1);
        self.put_packet(now, out, &frames, Content::Probe);
        Some(self.remote)
    }

    fn send_train(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let is_first = self.trains.due(now)?;
        if is_first {
            self.sent.skip_number(now);
        }
        let mut frames = Vec::with_capacity(TRAIN_PACKET as usize);
        // Every few of them ask for an acknowledgement: one alone might be lost.
        if self.trains.left() % 4 == 1 {
            packet::put_ping(&mut frames);
        }
        let padding = TRAIN_PACKET as usize - self.header_len() - CRC_LEN - frames.len();
        packet::put_padding(&mut frames, padding);
        let pn = self.put_packet(now, out, &frames, Content::Ping);
        self.trains.packet_sent(now, pn, is_first, self.pairs, self.rtt.smoothed());
        Some(self.remote)
    }

    /// Finds the parts that may be sent now, at most `most` datagrams of them, and appends them to `claims`. Each of them
    /// is to be [committed](Self::commit) or [released](Self::release).
    ///
    /// `chunk_len` gives the bytes of a chunk that is wanted.
    pub fn claim(
        &mut self,
        now: Instant,
        chunk_len: &mut dyn FnMut(u64) -> usize,
        most: usize,
        claims: &mut Vec<Claim>,
    ) -> Next {
        let before = claims.len();
        let mut planned = 0;
        let mut waits = None;
        while claims.len() - before < most {
            if let Some(wait) = self.must_wait(now, planned) {
                waits = Some(wait);
                break;
            }
            let Some(claim) = self.claim_one(now, chunk_len) else { break };
            let wire = u64::from(self.wire_len(claim.len + PART_OVERHEAD));
            self.pacer.sent(wire);
            planned += wire;
            // So that the credit is not exceeded by what is claimed and not committed.
            self.part_bytes += in_units(claim.len);
            claims.push(claim);
        }
        if claims.len() > before {
            return Next::Ready;
        }
        if let Some(wait) = waits {
            return wait;
        }
        if self.outgoing.is_done() {
            return Next::Done;
        }
        self.is_idle_now();
        let until = self.outgoing.tail_deadline(self.loss(), self.rtt.smoothed());
        Next::Wait { until, why: Waiting::Path }
    }

    fn must_wait(&mut self, now: Instant, planned: u64) -> Option<Next> {
        if !matches!(self.phase, Phase::Open) && self.sent.in_flight_packets() > 64 {
            return Some(Next::Wait { until: None, why: Waiting::Path });
        }
        if self.sent.in_flight() + planned >= self.window() {
            return Some(Next::Wait { until: None, why: Waiting::Path });
        }
        if !self.outgoing.has_lost() && !self.outgoing.has_new() && self.outgoing.is_done() {
            return None;
        }
        let rate = self.pacing_rate();
        if let Err(at) = self.pacer.check(now, rate) {
            let why = if self.is_rate_limited() { Waiting::RateLimit } else { Waiting::Pacing };
            return Some(Next::Wait { until: Some(at), why });
        }
        let most = (self.mtu.units() * packet::UNIT_LEN) as u64;
        if self.part_bytes + most > self.peer_credit {
            self.is_idle_now();
            self.after_pause = true;
            let until = self.timers.ask_for_credit(now, self.rtt.smoothed());
            return Some(Next::Wait { until: Some(until), why: Waiting::Credit });
        }
        None
    }

    fn claim_one(&mut self, now: Instant, chunk_len: &mut dyn FnMut(u64) -> usize) -> Option<Claim> {
        let units = self.mtu.units();
        let loss = self.loss();
        self.outgoing
            .claim_lost(units)
            .or_else(|| self.outgoing.claim_new(units, chunk_len))
            .or_else(|| self.outgoing.claim_copy(now, units, loss, self.rtt.smoothed()))
    }

    /// A claimed part goes out now: what to put before it.
    pub fn commit(&mut self, now: Instant, claim: &Claim) -> PartHeader {
        let is_idle = self.sent.in_flight_packets() == 0 && self.timers.is_quiet(now, PAUSE);
        if self.after_pause || is_idle {
            self.after_pause = false;
            self.sent.skip_number(now);
        }
        self.outgoing.commit(now, claim.id);
        let header = packet::DATA_HEADER_LEN + packet::part_header_len(claim.chunk) + CRC_LEN;
        let content = Content::Part { id: claim.id, payload: claim.len as u16 };
        let pn = self.push(now, header + claim.len, content);
        self.stats.parts_sent += 1;
        self.stats.parts_sent_again += u64::from(claim.again);
        PartHeader { cid: self.peer_cid, pn }
    }

    /// A plain chunk of so many bytes goes out now: what to put before it. Or not before this moment.
    pub fn next_plain(&mut self, now: Instant, len: usize) -> Result<PlainHeader, Instant> {
        let rate = self.config.max_rate.map_or(super::PLAIN_RATE, |bits| bits as f64 / 8.0);
        self.plain_pacer.check(now, rate)?;
        let datagram = packet::PLAIN_HEADER_LEN + len;
        // A datagram that does not fit the path's 1500 bytes goes in pieces, each with an IP header of its own.
        let pieces = (datagram + 8).div_ceil(1480);
        self.plain_pacer.sent((datagram + 8 + 20 * pieces) as u64);
        let pn = self.push(now, datagram, Content::Untracked);
        Ok(PlainHeader { cid: self.peer_cid, pn })
    }
}
