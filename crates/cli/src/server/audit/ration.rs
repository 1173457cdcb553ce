//! How many lines may be written of what costs a client next to nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use link::origin;

/// Lines that one host may cause at once, and how long until it may cause one more.
const OF_HOST: Pace = Pace { most: 50, each: Duration::from_millis(200) };
/// The same of all hosts together.
const OF_ALL: Pace = Pace { most: 200, each: Duration::from_millis(100) };
/// Lines that are not written on details.
const SPARED: u32 = 10;
/// Hosts that are remembered before those that may cause all their lines again are forgotten. [`OF_ALL`] lets fewer than
/// that through before the first of them is.
const MANY_HOSTS: usize = 512;

/// Lines that are left, for each host and for all together.
#[derive(Debug)]
pub(super) struct Ration {
    all: Bucket,
    hosts: HashMap<IpAddr, Bucket>,
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    most: u32,
    each: Duration,
}

/// Lines that are left.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    /// Since when the next one is on its way.
    since: Instant,
}

impl Ration {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Bucket::full(OF_ALL, now), hosts: HashMap::new(), left_out: 0 }
    }

    /// Whether a line may be written because of this host. If not, it counts as left out.
    pub(super) fn take(&mut self, now: Instant, host: IpAddr) -> bool {
        self.take_sparing(now, host, 0)
    }

    /// The same of a line that is a mere detail of another, for which there must be one left.
    pub(super) fn take_detail(&mut self, now: Instant, host: IpAddr) -> bool {
        self.take_sparing(now, host, SPARED)
    }

    fn take_sparing(&mut self, now: Instant, host: IpAddr, spared: u32) -> bool {
        if self.hosts.len() >= MANY_HOSTS {
            self.hosts.retain(|_, bucket| bucket.fill(OF_HOST, now) < OF_HOST.most);
        }
        let host = origin(host);
        let mut of_host = self.hosts.get(&host).copied().unwrap_or_else(|| Bucket::full(OF_HOST, now));
        let has_one = of_host.fill(OF_HOST, now) > spared && self.all.fill(OF_ALL, now) > spared;
        if has_one {
            of_host.left -= 1;
            self.all.left -= 1;
            self.hosts.insert(host, of_host);
        } else {
            self.left_out += 1;
        }
        has_one
    }

    /// Whether no line may be written now because of this host.
    pub(super) fn is_short(&mut self, now: Instant, host: IpAddr) -> bool {
        let of_host =
            self.hosts.get_mut(&origin(host)).map_or(OF_HOST.most, |bucket| bucket.fill(OF_HOST, now));
        of_host == 0 || self.all.fill(OF_ALL, now) == 0
    }

    /// Counts so many lines as left out.
    pub(super) const fn leave_out(&mut self, lines: u64) {
        self.left_out += lines;
    }

    /// Whether lines were left out that were not asked for yet.
    pub(super) const fn has_left_out(&self) -> bool {
        self.left_out > 0
    }

    /// Lines that were left out since this was asked.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

impl Bucket {
    const fn full(pace: Pace, now: Instant) -> Self {
        Self { left: pace.most, since: now }
    }

    /// Puts in what has come since: how many there are.
    fn fill(&mut self, pace: Pace, now: Instant) -> u32 {
        let waited = now.saturating_duration_since(self.since).as_nanos();
        let come = u32::try_from(waited / pace.each.as_nanos()).unwrap_or(u32::MAX);
        if come >= pace.most - self.left {
            *self = Self::full(pace, now);
        } else {
            self.left += come;
            self.since += pace.each * come;
        }
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn one_host_leaves_room_for_others() {
        let now = Instant::now();
        let mut ration = Ration::new(now);
        let written =
            |ration: &mut Ration, now, number| (0..1000).filter(|_| ration.take(now, host(number))).count();
        assert_eq!(written(&mut ration, now, 1), 50);
        assert_eq!(written(&mut ration, now, 2), 50);
        assert_eq!(ration.take_left_out(), 1900);
        assert_eq!(ration.take_left_out(), 0);
        assert!(!ration.take_detail(now, host(1)));
        assert_eq!((0..1000).filter(|_| ration.take_detail(now, host(3))).count(), 40);
        assert!(ration.take(now, host(3)));
        ration.take_left_out();
        assert!(ration.is_short(now, host(1)) && !ration.is_short(now, host(3)));
        // Time gives lines back, and no more than there were.
        assert!(!ration.is_short(now + Duration::from_secs(1), host(1)));
        assert_eq!(written(&mut ration, now + Duration::from_secs(1), 1), 5);
        assert_eq!(written(&mut ration, now + Duration::from_secs(3600), 1), 50);
    }

    #[test]
    fn many_hosts_write_no_more_than_all_may() {
        let start = Instant::now();
        let mut ration = Ration::new(start);
        let mut written = 0;
        for number in 0..1_000_000_u32 {
            let now = start + Duration::from_millis(u64::from(number) / 100);
            written += u32::from(ration.take(now, host(number)));
        }
        // Ten seconds.
        assert!((290..=300).contains(&written), "{written}");
        assert!(ration.hosts.len() <= MANY_HOSTS, "{}", ration.hosts.len());
    }

    #[test]
    fn a_network_counts_as_one_host() {
        let now = Instant::now();
        let mut ration = Ration::new(now);
        let written =
            (0..1000_u128).filter(|low| ration.take(now, IpAddr::V6((7 << 64 | low).into()))).count();
        assert_eq!(written, 50);
    }
}
