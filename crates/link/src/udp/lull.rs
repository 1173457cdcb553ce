//! Rests between receives, while so much comes that to wake up for each datagram would cost more than the datagrams do.

use std::time::{Duration, Instant};

/// The longest rest: little beside the time for which an acknowledgement may wait, and beside what the socket can hold.
const LONGEST: Duration = Duration::from_micros(500);
/// As many datagrams as should come in a rest: what one receive takes.
const BATCH: u32 = 32;
/// Where datagrams come less often than this, each of them is heard at once.
const OFTEN: Duration = Duration::from_micros(80);

/// How often datagrams come, and how long to rest for that.
///
/// The kernel tells when each of them came, so that no measurement suffers.
#[derive(Debug)]
pub(super) struct Lull {
    last: Instant,
    /// Mean time between datagrams, over the last receives.
    spacing: Duration,
}

impl Lull {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, spacing: LONGEST }
    }

    /// So many receives' worth of datagrams came, apart or joined by the kernel: until when to rest.
    pub(super) fn received(&mut self, now: Instant, count: usize) -> Option<Instant> {
        let count = u32::try_from(count).ok().filter(|count| *count > 0)?;
        let spacing = now.saturating_duration_since(self.last) / count;
        self.last = now;
        self.spacing = (self.spacing * 7 + spacing.min(LONGEST)) / 8;
        (self.spacing <= OFTEN).then(|| now + (self.spacing * BATCH).min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Receives `count` at a time, so often: how long it rests in the end.
    fn rest(spacing: Duration, count: u32) -> Option<Duration> {
        let start = Instant::now();
        let mut lull = Lull::new(start);
        let mut now = start;
        let mut until = None;
        for _ in 0..100 {
            now += spacing * count;
            until = lull.received(now, count as usize);
        }
        until.map(|until| until - now)
    }

    #[test]
    fn only_a_stream_of_datagrams_is_rested_in() {
        assert_eq!(rest(Duration::from_millis(10), 1), None);
        assert_eq!(rest(Duration::from_micros(120), 1), None, "100 Mbit/s");
        let fast = rest(Duration::from_micros(12), 1).unwrap();
        assert!((300..=400).contains(&fast.as_micros()), "1 Gbit/s: {fast:?}");
        assert_eq!(rest(Duration::from_micros(12), 32), Some(fast));
        assert_eq!(rest(Duration::from_micros(40), 8), Some(LONGEST));
        let mut lull = Lull::new(Instant::now());
        assert_eq!(lull.received(Instant::now(), 0), None, "nothing came");
    }
}
