//! The packets that were sent, and which of them are lost (RFC 9002 section 6, with the time threshold of RFC 8985).

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use crate::parts::PartId;

/// The least time that a packet may be overtaken by before it counts as lost.
const MIN_REORDERING: Duration = Duration::from_micros(500);
/// How much of the round-trip time that is at first (the quarter of RFC 8985 is a lot on a long path).
const REORDERING_SHARE: u32 = 8;
/// Rounds without a false alarm after which less is waited again (RFC 8985 section 6.2).
const CALM_ROUNDS: u32 = 16;

/// What was in a packet that matters when it is lost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// A part of a chunk, with so many bytes of payload.
    Part { id: PartId, payload: u16 },
    /// A piece of the stream of messages.
    Control(Range<u64>),
    /// A probe for the size of the path.
    Probe,
    /// A packet of a train, or a ping.
    Ping,
    /// Bytes that are not sent again.
    Datagram,
    /// Something that is not asked to be acknowledged: never in flight, never lost.
    Untracked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Acked,
    Lost,
}

/// A packet that was sent.
#[derive(Debug, Clone)]
pub(crate) struct SentPacket {
    pub(crate) time: Instant,
    /// Bytes on the wire: with the IP and UDP headers.
    pub(crate) wire_len: u16,
    pub(crate) content: Content,
    state: State,
}

/// Everything that was sent and whose fate is open, or was not long ago.
#[derive(Debug)]
pub(crate) struct SentPackets {
    /// Packet number of the first entry.
    base: u64,
    packets: VecDeque<SentPacket>,
    in_flight: u64,
    in_flight_packets: u64,
    largest_acked: Option<u64>,
    /// When the largest acknowledged packet had been sent.
    largest_acked_sent: Option<Instant>,
    /// Everything below this is acknowledged or counted as lost.
    settled: u64,
    reordering: Option<Duration>,
    calm_rounds: u32,
    /// How long what was lost is kept.
    keep: Duration,
    pub(crate) lost_packets: u64,
    pub(crate) spurious: u64,
}

/// What an acknowledgement told.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Packets that arrived: their numbers and themselves.
    pub(crate) acked: Vec<(u64, SentPacket)>,
    /// Packets that arrived though they had been taken for lost.
    pub(crate) late: Vec<SentPacket>,
    /// Packets that are lost.
    pub(crate) lost: Vec<SentPacket>,
}

impl SentPackets {
    pub(crate) const fn new() -> Self {
        Self {
            base: 0,
            packets: VecDeque::new(),
            in_flight: 0,
            in_flight_packets: 0,
            largest_acked: None,
            largest_acked_sent: None,
            settled: 0,
            reordering: None,
            calm_rounds: 0,
            keep: Duration::from_secs(1),
            lost_packets: 0,
            spurious: 0,
        }
    }

    /// The number of the next packet.
    pub(crate) fn next_pn(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Bytes on their way.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) const fn in_flight_packets(&self) -> u64 {
        self.in_flight_packets
    }

    /// The lowest packet whose acknowledgement still matters.
    pub(crate) fn floor(&self) -> u64 {
        self.base
    }

    /// Takes note of a packet: its number.
    pub(crate) fn push(&mut self, packet: NewPacket) -> u64 {
        // Who only acknowledges hears of nothing that is settled: what is behind a lost packet must not pile up.
        self.forget_front(packet.time);
        let tracked = packet.content != Content::Untracked;
        if tracked {
            self.in_flight += u64::from(packet.wire_len);
            self.in_flight_packets += 1;
        }
        let pn = self.next_pn();
        if !tracked && self.packets.is_empty() {
            self.base += 1;
            return pn;
        }
        let NewPacket { time, wire_len, content } = packet;
        let state = if tracked { State::InFlight } else { State::Acked };
        self.packets.push_back(SentPacket { time, wire_len, content, state });
        pn
    }

    /// Leaves a number out, so that the receiver does not take idle time for the spacing of two packets.
    pub(crate) fn skip_number(&mut self, now: Instant) {
        self.push(NewPacket { time: now, wire_len: 0, content: Content::Untracked });
    }

    /// Takes in what arrived. `false` when a packet is acknowledged that was never sent.
    pub(crate) fn acknowledge(
        &mut self,
        ranges: impl Iterator<Item = RangeInclusive<u64>>,
        outcome: &mut Outcome,
    ) -> bool {
        for range in ranges {
            if *range.end() >= self.next_pn() {
                return false;
            }
            let start = (*range.start()).max(self.base);
            for pn in (start..=*range.end()).rev() {
                let Some(packet) = self.packets.get_mut((pn - self.base) as usize) else { continue };
                match packet.state {
                    State::Acked => continue,
                    State::InFlight => {
                        self.in_flight -= u64::from(packet.wire_len);
                        self.in_flight_packets -= 1;
                        packet.state = State::Acked;
                        outcome.acked.push((pn, packet.clone()));
                    }
                    State::Lost => {
                        packet.state = State::Acked;
                        self.spurious += 1;
                        self.lost_packets -= u64::from(packet.content != Content::Probe);
                        outcome.late.push(packet.clone());
                    }
                }
                if self.largest_acked.is_none_or(|largest| pn > largest) {
                    self.largest_acked = Some(pn);
                    self.largest_acked_sent = Some(packet.time);
                }
            }
        }
        true
    }

    /// How long a packet may be overtaken before it counts as lost.
    pub(crate) fn reordering_window(&self, min_rtt: Duration) -> Duration {
        let least = (min_rtt / REORDERING_SHARE).max(MIN_REORDERING);
        self.reordering.map_or(least, |seen| seen.max(least))
    }

    /// A packet that had been taken for lost arrived after all, so late.
    pub(crate) fn widen(&mut self, late: Duration, smoothed_rtt: Duration) {
        let most = smoothed_rtt.max(Duration::from_millis(50)) * 2;
        let wider = (late + late / 4).min(most);
        if self.reordering.is_none_or(|seen| wider > seen) {
            self.reordering = Some(wider);
        }
        self.calm_rounds = 0;
    }

    /// A round trip is over.
    pub(crate) fn round_over(&mut self) {
        self.calm_rounds += 1;
        if self.calm_rounds >= CALM_ROUNDS {
            self.calm_rounds = 0;
            self.reordering = self.reordering.map(|seen| seen * 3 / 4).filter(|seen| *seen > MIN_REORDERING);
        }
    }

    /// Finds the packets that are lost: those overtaken by so much. Gives the time at which the next one will be.
    pub(crate) fn detect_lost(
        &mut self,
        now: Instant,
        latest_rtt: Duration,
        window: Duration,
        outcome: &mut Outcome,
    ) -> Option<Instant> {
        let (largest, largest_sent) = (self.largest_acked?, self.largest_acked_sent?);
        let from = self.settled.max(self.base);
        let mut next = None;
        for pn in from..largest {
            let Some(packet) = self.packets.get_mut((pn - self.base) as usize) else { break };
            if packet.state == State::InFlight {
                let overtaken = largest_sent.saturating_duration_since(packet.time);
                let due = packet.time + latest_rtt + window;
                if overtaken >= window || due <= now {
                    packet.state = State::Lost;
                    self.in_flight -= u64::from(packet.wire_len);
                    self.in_flight_packets -= 1;
                    // That a probe vanishes is no fault of the path.
                    self.lost_packets += u64::from(packet.content != Content::Probe);
                    outcome.lost.push(packet.clone());
                } else {
                    // Packets behind this one were sent later.
                    next = Some(due);
                    break;
                }
            }
            self.settled = pn + 1;
        }
        next
    }

    /// Forgets what is settled; what was lost is kept for a while, in case it arrives after all.
    pub(crate) fn forget(&mut self, now: Instant, keep: Duration) {
        self.keep = keep;
        self.forget_front(now);
    }

    fn forget_front(&mut self, now: Instant) {
        while let Some(first) = self.packets.front() {
            let is_over = match first.state {
                State::InFlight => false,
                State::Acked => true,
                State::Lost => now.saturating_duration_since(first.time) > self.keep,
            };
            if !is_over {
                break;
            }
            self.packets.pop_front();
            self.base += 1;
        }
    }
}

/// A packet that is about to be sent.
#[derive(Debug, Clone)]
pub(crate) struct NewPacket {
    pub(crate) time: Instant,
    pub(crate) wire_len: u16,
    pub(crate) content: Content,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(time: Instant) -> NewPacket {
        NewPacket { time, wire_len: 100, content: Content::Ping }
    }

    #[test]
    fn overtaken_packets_are_lost_by_time() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut sent = SentPackets::new();
        for n in 0..10 {
            sent.push(packet(start + ms(n)));
        }
        let mut outcome = Outcome::default();
        assert!(sent.acknowledge([7..=7].into_iter(), &mut outcome));
        let next = sent.detect_lost(start + ms(107), ms(100), ms(4), &mut outcome);
        assert_eq!(outcome.lost.len(), 4, "0 to 3 were overtaken by 4 ms and more");
        assert_eq!(next, Some(start + ms(4 + 100 + 4)));
        assert_eq!(sent.in_flight(), 500);
        let mut outcome = Outcome::default();
        sent.detect_lost(start + ms(108), ms(100), ms(4), &mut outcome);
        assert_eq!(outcome.lost.len(), 1);
        // One of them comes after all.
        let mut outcome = Outcome::default();
        assert!(sent.acknowledge([2..=2].into_iter(), &mut outcome));
        assert_eq!((outcome.late.len(), sent.spurious, sent.lost_packets), (1, 1, 4));
        assert!(!sent.acknowledge([10..=10].into_iter(), &mut outcome), "never sent");
    }
    #[test]
    fn acknowledgements_that_are_sent_leave_nothing_behind_a_lost_packet() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut sent = SentPackets::new();
        (0..3).for_each(|n| {
            sent.push(packet(start + ms(n)));
        });
        let mut outcome = Outcome::default();
        assert!(sent.acknowledge([2..=2].into_iter(), &mut outcome));
        sent.detect_lost(start + ms(500), ms(10), ms(1), &mut outcome);
        sent.forget(start + ms(50), ms(200));
        assert_eq!((outcome.lost.len(), sent.len()), (2, 3));
        for n in 0..1000 {
            sent.push(NewPacket { content: Content::Untracked, ..packet(start + ms(50 + n)) });
        }
        assert_eq!((sent.len(), sent.next_pn()), (0, 1003));
    }
}
