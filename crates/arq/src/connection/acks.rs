//! What an acknowledgement changes.

use std::time::{Duration, Instant};

use framing::packet::Ack;

use super::Connection;
use super::train::TRAIN_PACKET;
use crate::congestion::{AckSample, Round};
use crate::parts::in_units;
use crate::sent::{Content, Outcome, SentPacket};

/// Pairs, as a share of what arrived, that a rate must be measured with.
const ENOUGH_PAIRS: f64 = 0.05;
/// The same for a rate over less than a round.
const ENOUGH_RECENT: u64 = 24;
/// More than anybody can let wait: what a peer says that it takes must be below what was sent and this.
const MAX_PEER_WINDOW: u64 = 1 << 40;
/// No connection lasts so long, in microseconds: 12 days.
const MAX_TIME_US: u64 = 1 << 40;
/// No clock of a receiver tells less apart.
const LEAST_SPACING: Duration = Duration::from_micros(20);

/// The receiver's count of packets that followed each other, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pairs {
    pub(super) time_us: u64,
    pub(super) bytes: u64,
}

impl Pairs {
    pub(super) const fn since(self, earlier: Self) -> Self {
        Self {
            time_us: self.time_us.saturating_sub(earlier.time_us),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    pub(super) fn rate(self, factor: f64) -> f64 {
        let seconds = (self.time_us as f64 / 1e6).max(LEAST_SPACING.as_secs_f64());
        self.bytes as f64 * factor / seconds
    }
}

/// The round trip that is under way.
#[derive(Debug)]
pub(super) struct RoundState {
    /// It is over when a packet with this number or a higher one is acknowledged.
    end: u64,
    started: Instant,
    pairs: Pairs,
    delivered: u64,
    acked_packets: u64,
    lost_packets: u64,
    min_rtt: Option<Duration>,
    /// When the rate was looked at last, and what was known then.
    looked: Option<(Instant, Pairs)>,
    /// Whether the path had the say in it, and not the sender or the receiver.
    app_limited: bool,
}

impl RoundState {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            end: 0,
            started: now,
            pairs: Pairs { time_us: 0, bytes: 0 },
            delivered: 0,
            acked_packets: 0,
            lost_packets: 0,
            min_rtt: None,
            looked: None,
            app_limited: true,
        }
    }
}

impl Connection {
    pub(super) fn take_ack(&mut self, now: Instant, ack: &Ack<'_>) {
        let mut outcome = Outcome::default();
        if !self.sent.acknowledge(ack.ranges(), &mut outcome) {
            self.misbehaved("it acknowledged a packet that was never sent".to_owned());
            return;
        }
        if let Err(what) = self.take_claims(ack) {
            self.misbehaved(what.to_owned());
            return;
        }
        if outcome.acked.is_empty() && outcome.late.is_empty() {
            return;
        }
        self.timers.acknowledged();
        let delay = Duration::from_micros(ack.ack_delay_us);
        // The ranges come from the highest down, but the list of what is new need not begin with the highest.
        let newest = outcome.acked.iter().max_by_key(|(pn, _)| *pn).map(|(pn, packet)| (*pn, packet.time));
        let mut rtt = None;
        if let Some((pn, sent)) = newest
            && pn == ack.largest
        {
            self.rtt.update(now.saturating_duration_since(sent), delay);
            rtt = Some(self.rtt.latest());
        }
        for packet in &outcome.late {
            let late = now.saturating_duration_since(packet.time).saturating_sub(self.rtt.smoothed());
            self.sent.widen(late, self.rtt.smoothed());
        }
        self.find_lost(now, &mut outcome);
        self.measure_trains(ack.largest);
        let highest = newest.map(|(pn, _)| pn);
        let (acked, lost) = self.settle(now, &outcome);
        let round = self.advance_round(now, highest, rtt);
        let sample = AckSample {
            now,
            acked,
            lost,
            in_flight: self.sent.in_flight(),
            rtt,
            smoothed_rtt: self.rtt.smoothed(),
            rtt_variation: self.rtt.variation(),
            round,
            recent_rate: self.recent_rate(now),
            newest_sent: newest.map_or(now, |(_, sent)| sent),
        };
        self.controller.on_ack(&sample);
        let keep = (self.rtt.smoothed() * 3).max(Duration::from_millis(200));
        self.sent.forget(now, keep);
    }

    /// Takes in what the peer says that it can take and has measured, unless that can't be.
    fn take_claims(&mut self, ack: &Ack<'_>) -> Result<(), &'static str> {
        if ack.credit > self.stats.bytes_sent + MAX_PEER_WINDOW {
            return Err("it takes more than there is");
        }
        if !self.control_out.set_credit(ack.control_credit) {
            return Err("it takes more messages than it may");
        }
        if ack.pair_bytes > self.stats.bytes_sent || ack.ce > self.stats.packets_sent {
            return Err("it measured more than was sent");
        }
        if ack.pair_time_us > MAX_TIME_US || ack.ack_delay_us > MAX_TIME_US {
            return Err("it measured an impossible time");
        }
        self.peer_credit = self.peer_credit.max(ack.credit);
        let pairs = Pairs { time_us: ack.pair_time_us, bytes: ack.pair_bytes };
        if pairs.bytes >= self.pairs.bytes && pairs.time_us >= self.pairs.time_us {
            self.pairs = pairs;
        }
        Ok(())
    }

    /// Looks for packets that are lost by now.
    pub(super) fn find_lost(&mut self, now: Instant, outcome: &mut Outcome) {
        let window = self.sent.reordering_window(self.rtt.min());
        let next = self.sent.detect_lost(now, self.rtt.latest(), window, outcome);
        self.timers.set_loss(next);
    }

    /// Does what the timer of the loss detection asks for.
    pub(super) fn lose_overdue(&mut self, now: Instant) {
        let mut outcome = Outcome::default();
        self.find_lost(now, &mut outcome);
        self.settle(now, &outcome);
    }

    /// Hands on what arrived and what did not: bytes of both.
    fn settle(&mut self, now: Instant, outcome: &Outcome) -> (u64, u64) {
        let (mut acked, mut lost) = (0, 0);
        let overhead = self.config.overhead;
        let len_of = |packet: &SentPacket| packet.wire_len - overhead;
        for (_, packet) in &outcome.acked {
            acked += u64::from(packet.wire_len);
            match &packet.content {
                Content::Part { id, .. } => self.outgoing.acked(*id),
                Content::Control(piece) => self.control_out.acknowledge(piece.clone()),
                Content::Probe => self.mtu.probe_acked(len_of(packet)),
                Content::Ping | Content::Datagram | Content::Untracked => {}
            }
            self.mtu.came(len_of(packet), packet.time);
        }
        for packet in &outcome.late {
            match &packet.content {
                Content::Part { id, payload } => {
                    self.part_bytes += in_units(usize::from(*payload));
                    self.outgoing.acked_late(*id);
                }
                Content::Control(piece) => self.control_out.acknowledge(piece.clone()),
                Content::Probe => self.mtu.probe_acked(len_of(packet)),
                Content::Ping | Content::Datagram | Content::Untracked => {}
            }
        }
        let loss = self.loss();
        for packet in &outcome.lost {
            match &packet.content {
                Content::Part { id, payload } => {
                    self.part_bytes -= in_units(usize::from(*payload));
                    self.outgoing.lose(*id);
                }
                Content::Control(piece) => self.control_out.lose(piece.clone()),
                Content::Probe => {
                    self.mtu.probe_lost(now, len_of(packet), loss, self.rtt.smoothed());
                    continue;
                }
                Content::Ping | Content::Datagram | Content::Untracked => {}
            }
            lost += u64::from(packet.wire_len);
            self.mtu.vanished(now, len_of(packet), packet.time, loss);
        }
        self.count(outcome);
        self.delivered += acked;
        self.delivered_at = now;
        (acked, lost)
    }

    fn count(&mut self, outcome: &Outcome) {
        let is_probe = |content: &Content| *content == Content::Probe;
        let lost = outcome.lost.iter().filter(|packet| !is_probe(&packet.content)).count();
        let back = outcome.late.iter().filter(|packet| !is_probe(&packet.content)).count();
        self.round.acked_packets += (outcome.acked.len() + back) as u64;
        self.round.lost_packets = (self.round.lost_packets + lost as u64).saturating_sub(back as u64);
        self.recent_acked += (outcome.acked.len() + back) as f64;
        self.recent_lost = (self.recent_lost + lost as f64 - back as f64).max(0.0);
        if self.recent_acked + self.recent_lost > 2048.0 {
            self.recent_acked /= 2.0;
            self.recent_lost /= 2.0;
        }
    }

    /// What the wire carries for each byte of a datagram.
    fn wire_factor(&self) -> f64 {
        let len = f64::from(self.mtu.current());
        (len + f64::from(self.config.overhead)) / len
    }

    fn advance_round(&mut self, now: Instant, highest: Option<u64>, rtt: Option<Duration>) -> Option<Round> {
        if let Some(rtt) = rtt {
            self.round.min_rtt = Some(self.round.min_rtt.map_or(rtt, |min| min.min(rtt)));
        }
        if highest.is_none_or(|pn| pn < self.round.end) {
            return None;
        }
        self.sent.round_over();
        let elapsed = now.saturating_duration_since(self.round.started).as_secs_f64().max(1e-6);
        let delivered = self.delivered - self.round.delivered;
        let pairs = self.pairs.since(self.round.pairs);
        let enough = delivered as f64 * ENOUGH_PAIRS;
        let many = pairs.bytes as f64 > enough && pairs.bytes >= 4 * TRAIN_PACKET && pairs.time_us > 0;
        let round = Round {
            slot_rate: many.then(|| pairs.rate(self.wire_factor())),
            delivery_rate: delivered as f64 / elapsed,
            acked_packets: self.round.acked_packets,
            lost_packets: self.round.lost_packets,
            app_limited: self.round.app_limited,
            min_rtt: self.round.min_rtt.unwrap_or_else(|| self.rtt.smoothed()),
        };
        let end = self.sent.next_pn();
        self.round = RoundState {
            end,
            started: now,
            pairs: self.pairs,
            delivered: self.delivered,
            acked_packets: 0,
            lost_packets: 0,
            min_rtt: None,
            looked: self.round.looked,
            app_limited: self.app_limited_until >= end || !self.has_more(),
        };
        Some(round)
    }

    /// The slot rate since the last look, if that is long enough ago and enough came since.
    fn recent_rate(&mut self, now: Instant) -> Option<f64> {
        let (at, before) = self.round.looked.unwrap_or((self.round.started, self.round.pairs));
        let pairs = self.pairs.since(before);
        let long = now.saturating_duration_since(at) >= self.rtt.smoothed() / 4;
        if !long || pairs.bytes < ENOUGH_RECENT * TRAIN_PACKET || pairs.time_us == 0 {
            return None;
        }
        self.round.looked = Some((now, self.pairs));
        Some(pairs.rate(self.wire_factor()))
    }

    /// Whether chunks or datagrams wait for the path.
    pub(super) fn has_more(&self) -> bool {
        !self.outgoing.is_done() || !self.datagrams.is_empty()
    }

    /// Takes note that there is nothing to send now that the path would carry.
    pub(super) fn is_idle_now(&mut self) {
        self.app_limited_until = self.sent.next_pn();
        self.round.app_limited = true;
    }
}
