//! Trains of packets: how far apart they come out of the path shows its rate, before the first byte of a file is sent.
//!
//! One train can be fooled: a machine on the way that pauses for some milliseconds lets it out all at once. So there are
//! several, some time apart, and the slowest one is believed.

use std::time::{Duration, Instant};

use super::Connection;
use super::acks::Pairs;
use crate::congestion;

/// Bytes of a packet of a train.
pub(super) const TRAIN_PACKET: u64 = 1200;
/// How many trains.
const TRAINS: usize = 3;
/// The most packets of one: 29 KB, some 2 ms of 100 Mbit/s.
const MOST_PACKETS: u64 = 24;
/// The least packets that must have come for a rate.
const ENOUGH: u64 = 6;
/// The share of what is to be sent that all trains together may cost.
const SHARE: u64 = 48;
/// The least time between two trains.
const MIN_GAP: Duration = Duration::from_millis(3);

/// One train that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    first: u64,
    last: u64,
    /// What the receiver had counted when it had seen most of it.
    seen: Option<Pairs>,
}

/// The trains of a connection.
#[derive(Debug, Default)]
pub(super) struct Trains {
    /// Packets of each; none are planned while it is 0.
    packets: u64,
    /// Packets of the present one that are to be sent still.
    left: u64,
    sent: Vec<Sent>,
    /// When the next one goes.
    next: Option<Instant>,
    before: Pairs,
}

impl Trains {
    /// Plans them for so many bytes to come.
    pub(super) fn plan(&mut self, now: Instant, bytes: u64) {
        let packets = (bytes / SHARE / TRAIN_PACKET / TRAINS as u64).min(MOST_PACKETS);
        if self.packets == 0 && packets > ENOUGH {
            self.packets = packets;
            self.next = Some(now);
        }
    }

    /// When the next packet of a train goes.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether a packet goes now, and whether it is the first of its train.
    pub(super) fn due(&mut self, now: Instant) -> Option<bool> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let is_first = self.left == 0;
        if is_first {
            self.left = self.packets;
        }
        Some(is_first)
    }

    /// Packets of the present train that are to be sent still.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Takes note of a packet.
    pub(super) fn packet_sent(&mut self, now: Instant, pn: u64, is_first: bool, known: Pairs, rtt: Duration) {
        if is_first {
            if self.sent.is_empty() {
                self.before = known;
            }
            self.sent.push(Sent { first: pn, last: pn, seen: None });
        }
        if let Some(train) = self.sent.last_mut() {
            train.last = pn;
        }
        self.left -= 1;
        if self.left == 0 {
            self.next = (self.sent.len() < TRAINS).then(|| now + (rtt / 16).max(MIN_GAP));
        }
    }

    /// Takes in what the receiver has counted up to this packet: the rates of the trains so far, each with its bytes.
    fn measure(&mut self, largest: u64, pairs: Pairs) -> Option<Vec<f64>> {
        let train =
            self.sent.iter_mut().find(|train| (train.first + ENOUGH..=train.last).contains(&largest))?;
        train.seen = Some(pairs);
        let mut before = self.before;
        let mut rates = Vec::with_capacity(TRAINS);
        for seen in self.sent.iter().filter_map(|train| train.seen) {
            let here = seen.since(before);
            if here.bytes >= ENOUGH * TRAIN_PACKET {
                rates.push(here.rate(1.0));
            }
            before = seen;
        }
        (!rates.is_empty()).then_some(rates)
    }
}

impl Connection {
    /// Tells the controller what the trains have shown so far.
    pub(super) fn measure_trains(&mut self, largest: u64) {
        let Some(rates) = self.trains.measure(largest, self.pairs) else { return };
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let len = TRAIN_PACKET as f64;
        let rate = slowest * (len + f64::from(self.config.overhead)) / len;
        self.controller.on_train(&congestion::Train {
            rate,
            span: Duration::from_secs_f64((self.trains.packets * TRAIN_PACKET) as f64 / slowest),
            is_confirmed: rates.len() > 1,
            smoothed_rtt: self.rtt.smoothed(),
            min_rtt: self.rtt.min(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_that_came_all_at_once_is_not_believed() {
        let now = Instant::now();
        let mut trains = Trains::default();
        trains.plan(now, 60_000_000);
        let mut pn = 10;
        let mut at = now;
        let mut pairs = Pairs::default();
        let mut rates = Vec::new();
        for train in 0..TRAINS {
            pn += 1;
            let known = pairs;
            while let Some(is_first) = trains.due(at) {
                trains.packet_sent(at, pn, is_first, known, Duration::from_millis(100));
                pn += 1;
                pairs.bytes += TRAIN_PACKET;
                // 100 us each; but the second one comes all at once.
                pairs.time_us += if train == 1 { 1 } else { 100 };
            }
            rates = trains.measure(pn - 1, pairs).unwrap();
            at += Duration::from_millis(20);
        }
        assert_eq!(rates.len(), TRAINS);
        assert!(rates[1] > 1e8);
        let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
        assert!((slowest / 12e6 - 1.0).abs() < 0.01, "{slowest}");
        assert!(trains.deadline().is_none());
    }
}
