//! Whether large datagrams vanish because they are large (a black hole, RFC 8899 section 4.3), or by chance.

use std::time::Instant;

use crate::mtu::BASE_LEN;

/// How improbable it must be that all of them vanished by chance.
const CHANCE: f64 = 1e-10;
/// No path loses less than this for certain.
const LEAST_LOSS: f64 = 0.1;
/// Small packets that must have come through meanwhile: where nothing comes through there is no black hole, but a blackout.
const LEAST_SMALL: u32 = 2;
/// From so many of them on they alone tell the loss; before that, what was known counts as well.
const MANY_SMALL: u32 = 40;

/// Watches the fate of datagrams by their length.
///
/// What counts is the order in which they were sent: losses are noticed many at a time, and after those that came through
/// among them.
#[derive(Debug, Default)]
pub(crate) struct BlackHole {
    /// The newest large datagram that came through: when it was sent, and its length.
    newest: Option<(Instant, u16)>,
    suspicion: Option<Suspicion>,
    /// The loss before a black hole was found, which all that vanished in it would hide.
    loss_before: Option<f64>,
}

/// Large datagrams have vanished, and none that was sent later has come through.
#[derive(Debug)]
struct Suspicion {
    /// When the first of them was sent.
    since: Instant,
    /// The length of the shortest of them.
    least: u16,
    lost: u32,
    /// Shorter packets that were sent since then: how many came through, and how many did not.
    small_came: u32,
    small_lost: u32,
    /// The share of packets that was lost before.
    loss: f64,
}

impl Suspicion {
    /// Whether chance can't have taken all of them.
    fn is_sure(&self) -> bool {
        let all = self.small_lost + self.small_came;
        let small = f64::from(self.small_lost + 1) / f64::from(all + 2);
        let known = if all < MANY_SMALL { self.loss } else { 0.0 };
        let loss = small.max(known).clamp(LEAST_LOSS, 0.95);
        self.small_came >= LEAST_SMALL && loss.powi(self.lost.min(10_000) as i32) < CHANCE
    }
}

impl BlackHole {
    /// A datagram of this length that was sent then came through.
    pub(crate) fn came(&mut self, len: u16, sent: Instant) {
        if let Some(suspicion) = &mut self.suspicion
            && len < suspicion.least
        {
            suspicion.small_came += u32::from(sent > suspicion.since);
            return;
        }
        if len > BASE_LEN {
            self.suspicion = None;
            self.loss_before = None;
            if self.newest.is_none_or(|(at, _)| sent > at) {
                self.newest = Some((sent, len));
            }
        }
    }

    /// One did not; `loss` is the share of packets that were lost of late. The length from which on they vanish, when that
    /// is certain.
    pub(crate) fn vanished(&mut self, len: u16, sent: Instant, loss: f64) -> Option<u16> {
        if self.newest.is_some_and(|(at, largest)| sent <= at && len <= largest) {
            return None;
        }
        match &mut self.suspicion {
            Some(suspicion) if len <= BASE_LEN => {
                suspicion.small_lost += u32::from(sent > suspicion.since);
                return None;
            }
            Some(suspicion) => {
                suspicion.lost += 1;
                suspicion.least = suspicion.least.min(len);
                suspicion.since = suspicion.since.min(sent);
            }
            None if len <= BASE_LEN => return None,
            None => {
                let loss = self.loss_before.map_or(loss, |before| before.min(loss));
                let first =
                    Suspicion { since: sent, least: len, lost: 1, small_came: 0, small_lost: 0, loss };
                self.suspicion = Some(first);
            }
        }
        let found = self.suspicion.take_if(|suspicion| suspicion.is_sure())?;
        *self = Self { loss_before: Some(found.loss), ..Self::default() };
        Some(found.least)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Path {
        hole: BlackHole,
        start: Instant,
        sent: u64,
        random: u64,
    }

    impl Path {
        fn new() -> Self {
            Self { hole: BlackHole::default(), start: Instant::now(), sent: 0, random: 1 }
        }

        fn next(&mut self) -> Instant {
            self.sent += 1;
            self.start + Duration::from_micros(self.sent * 100)
        }

        fn lose(&mut self, loss: f64) -> bool {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((self.random >> 33) as f64) < loss * f64::from(1_u32 << 31)
        }
    }

    #[test]
    fn chance_is_not_mistaken_however_losses_are_noticed() {
        for loss in [0.01, 0.3, 0.6] {
            let mut path = Path::new();
            for _ in 0..3000 {
                // A hundred large ones and a few small ones, noticed all at a time: first what came.
                let mut lost = Vec::new();
                for n in 0..105 {
                    let (sent, len) = (path.next(), if n % 20 == 7 { 60 } else { 1431 });
                    if path.lose(loss) {
                        lost.push((len, sent));
                    } else {
                        path.hole.came(len, sent);
                    }
                }
                for (len, sent) in lost {
                    assert_eq!(path.hole.vanished(len, sent, loss), None);
                }
            }
        }
    }

    #[test]
    fn a_blackout_is_no_black_hole() {
        let mut path = Path::new();
        for _ in 0..1000 {
            let sent = path.next();
            assert_eq!(path.hole.vanished(1431, sent, 0.0), None);
            let sent = path.next();
            assert_eq!(path.hole.vanished(60, sent, 0.0), None);
        }
        // Nor is what came through before.
        let before = path.start;
        (0..100).for_each(|_| path.hole.came(60, before));
        let sent = path.next();
        assert_eq!(path.hole.vanished(1431, sent, 0.0), None);
    }

    #[test]
    fn a_second_black_hole_is_not_hidden_by_the_losses_of_the_first() {
        let mut path = Path::new();
        let mut found = Vec::new();
        for n in 0..40 {
            let len = if found.is_empty() { 4119 } else { 1431 };
            let sent = path.next();
            let loss = if n == 0 { 0.05 } else { 0.95 };
            found.extend(path.hole.vanished(len, sent, loss));
            let sent = path.next();
            path.hole.came(60, sent);
        }
        assert_eq!(found[..2], [4119, 1431]);
    }

    #[test]
    fn a_black_hole_is_noticed_soon_even_by_the_last_part_of_a_file() {
        for (len, loss, most) in [(1431, 0.0, 14), (1290, 0.0, 14), (1431, 0.5, 40), (4119, 0.1, 14)] {
            let mut path = Path::new();
            let sent = path.next();
            path.hole.came(1210, sent);
            let noticed = (1..100).find(|_| {
                let sent = path.next();
                let noticed = path.hole.vanished(len, sent, loss);
                assert!(noticed.is_none_or(|least| least == len));
                let sent = path.next();
                path.hole.came(60, sent);
                noticed.is_some()
            });
            assert!(noticed.is_some_and(|count| count <= most), "{len}, {loss}: {noticed:?}");
        }
    }
}
