//! How large a datagram the path carries: packetization-layer path MTU discovery (RFC 8899), which loss cannot fool.
//!
//! Only the sizes that make a difference are tried: those at which one more unit of 128 bytes saves datagrams a chunk.

use std::time::{Duration, Instant};

use framing::packet::{CRC_LEN, DATA_HEADER_LEN, UNIT_LEN, UNITS_PER_CHUNK};

use crate::black_hole::BlackHole;

/// Bytes of a datagram that every path is trusted to carry (BASE_PLPMTU of RFC 8899 section 5.1.2).
pub(crate) const BASE_LEN: u16 = 1200;
/// What a part costs beside its payload at most: packet header, part header, checksum.
pub(crate) const PART_OVERHEAD: usize = DATA_HEADER_LEN + 1 + 8 + 1 + CRC_LEN;
/// Units in a part that are worth a try: 10 fits a tunnel's 1420 bytes, 11 fits Ethernet's 1500, 32 is a whole chunk.
const CANDIDATES: [usize; 3] = [10, 11, UNITS_PER_CHUNK as usize];
/// When a size that did not come through is tried again (PMTU_RAISE_TIMER is 600 s; our connections are shorter).
const RAISE_INTERVAL: Duration = Duration::from_secs(30);
/// Probes of a size that must vanish before it is given up, with no loss known (MAX_PROBES of RFC 8899).
const MIN_PROBES: u32 = 3;
/// The same at any loss.
const MAX_PROBES: u32 = 24;
/// Bytes of a datagram with so many units.
const fn len_of(units: usize) -> u16 {
    (PART_OVERHEAD + units * UNIT_LEN) as u16
}

/// The search for the largest datagram.
#[derive(Debug)]
pub(crate) struct MtuSearch {
    current: u16,
    /// The largest that may be tried.
    limit: u16,
    tries: [Try; CANDIDATES.len()],
    hole: BlackHole,
}

#[derive(Debug, Clone, Copy)]
enum Try {
    /// Vanished so often; the next one may go then.
    Open { lost: u32, next: Option<Instant> },
    /// One is on its way.
    Probing { lost: u32 },
    /// It came through.
    Good,
    /// It does not fit, as far as is known; to be tried again then.
    Bad { again: Instant },
    /// This side's own network can't send it.
    Impossible,
}

impl MtuSearch {
    pub(crate) fn new(limit: u16) -> Self {
        let fresh = |units| {
            if len_of(units) > limit { Try::Impossible } else { Try::Open { lost: 0, next: None } }
        };
        Self { current: BASE_LEN.min(limit), limit, tries: CANDIDATES.map(fresh), hole: BlackHole::default() }
    }

    /// Bytes of a full datagram.
    pub(crate) const fn current(&self) -> u16 {
        self.current
    }

    /// Units that fit a part now.
    pub(crate) fn units(&self) -> usize {
        (usize::from(self.current).saturating_sub(PART_OVERHEAD) / UNIT_LEN)
            .clamp(1, UNITS_PER_CHUNK as usize)
    }

    /// The probe to send now: its length.
    pub(crate) fn probe(&mut self, now: Instant) -> Option<u16> {
        let current = self.current;
        for (units, state) in CANDIDATES.iter().zip(&mut self.tries).rev() {
            let len = len_of(*units);
            if len <= current {
                continue;
            }
            let lost = match *state {
                Try::Open { lost, next } if next.is_none_or(|next| next <= now) => lost,
                Try::Bad { again } if again <= now => 0,
                _ => continue,
            };
            *state = Try::Probing { lost };
            return Some(len);
        }
        None
    }

    /// When [`Self::probe`] may have one.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        CANDIDATES
            .iter()
            .zip(&self.tries)
            .filter(|(units, _)| len_of(**units) > self.current)
            .filter_map(|(_, state)| match state {
                Try::Open { next, .. } => Some(next.unwrap_or(now)),
                Try::Bad { again } => Some(*again),
                _ => None,
            })
            .min()
    }

    fn state(&mut self, len: u16) -> Option<&mut Try> {
        CANDIDATES
            .iter()
            .zip(&mut self.tries)
            .find(|(units, _)| len_of(**units) == len)
            .map(|(_, state)| state)
    }

    /// A probe came through.
    pub(crate) fn probe_acked(&mut self, len: u16) {
        if let Some(state) = self.state(len) {
            *state = Try::Good;
        }
        self.current = self.current.max(len.min(self.limit));
    }

    /// A probe vanished. `loss` is the share of packets that vanish anyway, 0 to 1.
    pub(crate) fn probe_lost(&mut self, now: Instant, len: u16, loss: f64, rtt: Duration) {
        // So many that chance would take all of them only once in a thousand times.
        let enough =
            ((0.001_f64.ln() / loss.clamp(0.001, 0.999).ln()).ceil() as u32).clamp(MIN_PROBES, MAX_PROBES);
        if let Some(state) = self.state(len)
            && let Try::Probing { lost } = *state
        {
            *state = if lost + 1 >= enough {
                Try::Bad { again: now + RAISE_INTERVAL }
            } else {
                Try::Open { lost: lost + 1, next: Some(now + rtt / 4) }
            };
        }
    }

    /// The socket does not send datagrams of this length.
    pub(crate) fn too_big(&mut self, len: usize) {
        for (units, state) in CANDIDATES.iter().zip(&mut self.tries) {
            if usize::from(len_of(*units)) >= len {
                *state = Try::Impossible;
            }
        }
        if usize::from(self.current) >= len {
            self.fall_back(self.current);
        }
    }

    /// Datagrams of this length and above do not come through any more.
    fn fall_back(&mut self, below: u16) {
        let good = CANDIDATES
            .iter()
            .zip(&self.tries)
            .filter(|(units, state)| matches!(state, Try::Good) && len_of(**units) < below)
            .map(|(units, _)| len_of(*units))
            .max();
        self.current = good.unwrap_or(BASE_LEN).min(self.limit);
    }

    /// A datagram of this length that was sent then came through.
    pub(crate) fn came(&mut self, len: u16, sent: Instant) {
        self.hole.came(len, sent);
    }

    /// One that is no probe vanished. `loss` is the share of packets that vanish anyway.
    pub(crate) fn vanished(&mut self, now: Instant, len: u16, sent: Instant, loss: f64) {
        // What is larger was sent before it was known to be too large.
        if len > self.current {
            return;
        }
        if let Some(least) = self.hole.vanished(len, sent, loss) {
            for (units, state) in CANDIDATES.iter().zip(&mut self.tries) {
                if len_of(*units) >= least && matches!(state, Try::Good) {
                    *state = Try::Bad { again: now + RAISE_INTERVAL };
                }
            }
            self.fall_back(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ethernet_though_half_is_lost() {
        let now = Instant::now();
        let rtt = Duration::from_millis(100);
        let mut search = MtuSearch::new(65507);
        // Everything above 1472 vanishes, and every other one below it.
        let mut at = now;
        let mut coin = 0_u32;
        for _ in 0..200 {
            if let Some(len) = search.probe(at) {
                coin = coin.wrapping_mul(1_103_515_245).wrapping_add(12345);
                if len <= 1472 && coin >> 16 & 1 == 0 {
                    search.probe_acked(len);
                } else {
                    search.probe_lost(at, len, 0.5, rtt);
                }
            }
            at += rtt;
        }
        assert_eq!(search.current(), len_of(11));
        assert_eq!(search.units(), 11);
    }

    #[test]
    fn a_black_hole_takes_it_down_for_a_while() {
        let now = Instant::now();
        let mut search = MtuSearch::new(4119);
        assert_eq!(search.probe(now), Some(len_of(32)));
        search.probe_acked(len_of(11));
        search.probe_acked(len_of(10));
        search.probe_acked(len_of(32));
        let at = |n: u64| now + Duration::from_millis(n);
        let narrow = |search: &mut MtuSearch, from: u64, most: u16| {
            for n in from..from + 50 {
                let len = search.current();
                if len > most {
                    search.vanished(now, len, at(2 * n), 0.0);
                }
                search.came(60, at(2 * n + 1));
            }
        };
        narrow(&mut search, 0, 1472);
        assert_eq!(search.current(), len_of(11));
        narrow(&mut search, 100, 1272);
        assert_eq!(search.current(), BASE_LEN);
        assert_eq!(search.probe(now), None);
        assert_eq!(search.deadline(now), Some(now + RAISE_INTERVAL));
        assert_eq!(search.probe(now + RAISE_INTERVAL), Some(len_of(32)));
    }

    #[test]
    fn the_socket_has_the_last_word() {
        let now = Instant::now();
        let mut search = MtuSearch::new(65507);
        assert_eq!(search.probe(now), Some(len_of(32)));
        search.too_big(4119);
        assert_eq!(search.probe(now), Some(len_of(11)));
        search.probe_acked(len_of(11));
        assert_eq!(search.probe(now), None);
        assert_eq!(search.deadline(now), None);
    }
}
