//! Clients of a server that have proved their address, and have not said anything yet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many may wait. Of more, the one goes that has waited longest of those who come from where most do.
const MOST_WAITING: usize = 128;
/// Bytes of datagrams within which a first message has to be whole. What comes behind it may come before it.
const MOST_BYTES: usize = 128 * 1024;

/// Where clients wait until their first message is there: they have no thread, and nobody else's place.
#[derive(Debug)]
pub(super) struct Porch {
    limit: Duration,
    /// By their connection ids.
    waiting: HashMap<u32, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    origin: IpAddr,
    deadline: Instant,
    /// Bytes of datagrams that came from it.
    came: usize,
}

impl Porch {
    /// One where each may wait so long.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, waiting: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn contains(&self, cid: u32) -> bool {
        self.waiting.contains_key(&cid)
    }

    /// Lets one in: whom it takes the place of, if there is no other.
    pub(super) fn add(&mut self, now: Instant, cid: u32, origin: IpAddr) -> Option<u32> {
        let moved = (self.waiting.len() >= MOST_WAITING).then(|| self.last_of_the_largest_crowd()).flatten();
        self.waiting.insert(cid, Waiting { origin, deadline: now + self.limit, came: 0 });
        moved
    }

    fn last_of_the_largest_crowd(&self) -> Option<u32> {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for waiting in self.waiting.values() {
            *crowds.entry(waiting.origin).or_default() += 1;
        }
        let crowd = |waiting: &Waiting| crowds.get(&waiting.origin).copied().unwrap_or_default();
        let last = self
            .waiting
            .iter()
            .max_by_key(|(_, waiting)| (crowd(waiting), std::cmp::Reverse(waiting.deadline)));
        last.map(|(cid, _)| *cid)
    }

    /// Takes note that so many bytes came from one: whether it may send more before it has said something whole.
    pub(super) fn heard(&mut self, cid: u32, bytes: usize) -> bool {
        let Some(waiting) = self.waiting.get_mut(&cid) else { return true };
        waiting.came += bytes;
        waiting.came <= MOST_BYTES
    }

    pub(super) fn remove(&mut self, cid: u32) {
        self.waiting.remove(&cid);
    }

    /// When somebody has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }

    /// Those who have, by then.
    pub(super) fn overdue(&self, now: Instant) -> Vec<u32> {
        let overdue = self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now);
        overdue.map(|(cid, _)| *cid).collect()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u32> {
        self.waiting.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn host(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn a_crowd_from_one_place_is_in_its_own_way() {
        let (now, mut porch) = (Instant::now(), Porch::new(LIMIT));
        let later = |cid: u32| now + Duration::from_millis(u64::from(cid));
        assert_eq!(porch.add(now, 0, host(1)), None);
        for cid in 1..MOST_WAITING as u32 {
            assert_eq!(porch.add(later(cid), cid, host(2)), None);
        }
        let full = MOST_WAITING as u32;
        assert_eq!(porch.add(later(full), full, host(3)), Some(1), "the lone one was there before it");
    }

    #[test]
    fn who_waits_too_long_or_sends_too_much_has_to_go() {
        let (now, mut porch) = (Instant::now(), Porch::new(LIMIT));
        porch.add(now, 7, host(1));
        assert!(porch.heard(7, MOST_BYTES));
        assert!(!porch.heard(7, 1));
        assert!(porch.heard(8, usize::MAX), "it does not wait here");
        assert_eq!((porch.deadline(), porch.overdue(now)), (Some(now + LIMIT), vec![]));
        assert_eq!(porch.overdue(now + LIMIT), [7]);
        porch.remove(7);
        assert_eq!((porch.deadline(), porch.len()), (None, 0));
    }
}
