//! What the time of a sender went into, and how it tells the receiver.

use std::time::{Duration, Instant};

use arq::{Stats, Waiting};

use crate::{Limiter, LinkStats};

/// Where the time of sending chunks went.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    link: Duration,
    receiver: Duration,
    rate_limit: Duration,
    disk: Duration,
    hashing: Duration,
    /// All of it; the rest is this side's own work.
    total: Duration,
    /// Since when it is at it now.
    since: Option<Instant>,
}

impl Account {
    /// Does something that the disk has the say in.
    pub(super) fn disk<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.disk += began.elapsed();
        done
    }

    /// Does something that the hashing has the say in.
    pub(super) fn hashing<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.hashing += began.elapsed();
        done
    }

    /// Has waited so long for this.
    pub(super) fn waited(&mut self, why: Waiting, time: Duration) {
        *match why {
            Waiting::Path | Waiting::Pacing => &mut self.link,
            Waiting::RateLimit => &mut self.rate_limit,
            Waiting::Credit => &mut self.receiver,
        } += time;
    }

    /// Begins with the work.
    pub(super) fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Ends it, for now.
    pub(super) fn end(&mut self) {
        self.total += self.since.take().map(|since| since.elapsed()).unwrap_or_default();
    }

    /// What took the most.
    fn limiter(&self) -> Limiter {
        let total = self.total + self.since.map(|since| since.elapsed()).unwrap_or_default();
        let waits = self.link + self.receiver + self.rate_limit + self.disk + self.hashing;
        let shares = [
            (total.saturating_sub(waits), Limiter::Sender),
            (self.hashing, Limiter::Hashing),
            (self.disk, Limiter::Disk),
            (self.receiver, Limiter::Receiver),
            (self.rate_limit, Limiter::RateLimit),
            (self.link, Limiter::Link),
        ];
        shares.into_iter().max_by_key(|(time, _)| *time).map_or(Limiter::Link, |(_, limiter)| limiter)
    }

    /// The same with what the connection knows.
    pub(super) fn stats(&self, stats: &Stats) -> LinkStats {
        LinkStats {
            packets_sent: stats.packets_sent,
            packets_lost: stats.packets_lost,
            parts_sent: stats.parts_sent,
            parts_sent_again: stats.parts_sent_again,
            bytes_sent: stats.bytes_sent,
            min_rtt: stats.min_rtt,
            mean_rtt: stats.mean_rtt,
            smoothed_rtt: stats.smoothed_rtt,
            datagram_len: stats.datagram_len,
            loss: stats.loss,
            limiter: self.limiter(),
        }
    }
}

/// Bytes of stats on the wire: nine numbers of eight bytes, a length and a limiter.
const RECORD_LEN: usize = 9 * 8 + 2 + 1;
const LIMITERS: [Limiter; 6] =
    [Limiter::Link, Limiter::Receiver, Limiter::Sender, Limiter::Disk, Limiter::Hashing, Limiter::RateLimit];

/// Appends stats as they are told to the peer.
pub(super) fn encode(stats: &LinkStats, out: &mut Vec<u8>) {
    let micros = |time: Duration| time.as_micros() as u64;
    let numbers = [
        stats.packets_sent,
        stats.packets_lost,
        stats.parts_sent,
        stats.parts_sent_again,
        stats.bytes_sent,
        micros(stats.min_rtt),
        micros(stats.mean_rtt),
        micros(stats.smoothed_rtt),
        // In millionths.
        (stats.loss * 1e6) as u64,
    ];
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    out.extend_from_slice(&stats.datagram_len.to_be_bytes());
    out.push(LIMITERS.iter().position(|limiter| *limiter == stats.limiter).unwrap_or_default() as u8);
}

/// Reads stats that the peer told; `None` when they are none. They are only shown: nothing is decided by them.
pub(super) fn decode(record: &[u8]) -> Option<LinkStats> {
    let record: &[u8; RECORD_LEN] = record.try_into().ok()?;
    let number = |at: usize| {
        let bytes = record[at * 8..].first_chunk().copied().unwrap_or_default();
        // No count of packets, bytes or microseconds comes near this.
        u64::from_be_bytes(bytes).min(1 << 60)
    };
    let micros = |at| Duration::from_micros(number(at));
    Some(LinkStats {
        packets_sent: number(0),
        packets_lost: number(1),
        parts_sent: number(2),
        parts_sent_again: number(3),
        bytes_sent: number(4),
        min_rtt: micros(5),
        mean_rtt: micros(6),
        smoothed_rtt: micros(7),
        loss: (number(8) as f64 / 1e6).min(1.0),
        datagram_len: u16::from_be_bytes([record[72], record[73]]),
        limiter: *LIMITERS.get(usize::from(record[74]))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_cross_the_wire() {
        let stats = Stats {
            packets_sent: 1,
            packets_lost: 2,
            parts_sent: 3,
            parts_sent_again: 4,
            bytes_sent: 5,
            min_rtt: Duration::from_micros(6),
            mean_rtt: Duration::from_micros(7),
            smoothed_rtt: Duration::from_micros(8),
            datagram_len: 1430,
            loss: 0.25,
            ..Stats::default()
        };
        let mut account = Account::default();
        account.waited(Waiting::Credit, Duration::from_secs(1));
        account.total = Duration::from_millis(1500);
        let stats = account.stats(&stats);
        assert_eq!(stats.limiter, Limiter::Receiver);
        let mut record = Vec::new();
        encode(&stats, &mut record);
        assert_eq!(record.len(), RECORD_LEN);
        assert_eq!(decode(&record), Some(stats));
        assert_eq!(decode(&record[1..]), None);
        assert!(decode(&[0xff; RECORD_LEN]).is_none());
        record[..72].fill(0xff);
        assert!(decode(&record).is_some());
    }

    #[test]
    fn what_took_longest_is_what_limits() {
        let mut account = Account { total: Duration::from_secs(3), ..Account::default() };
        assert_eq!(account.limiter(), Limiter::Sender);
        account.waited(Waiting::Pacing, Duration::from_secs(1));
        account.waited(Waiting::Path, Duration::from_secs(1));
        assert_eq!(account.limiter(), Limiter::Link);
    }
}
