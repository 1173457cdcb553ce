//! What the emulator measures of itself.

use std::time::Duration;

/// How late packets were handed over, in whole microseconds up to a limit.
#[derive(Debug)]
pub(super) struct Errors {
    counts: Vec<u64>,
    count: u64,
    most: Duration,
}

/// What is later than this is only known to be.
const LIMIT: usize = 100_000;

impl Default for Errors {
    fn default() -> Self {
        Self { counts: vec![0; LIMIT + 1], count: 0, most: Duration::ZERO }
    }
}

impl Errors {
    pub(super) fn add(&mut self, error: Duration) {
        let micros = usize::try_from(error.as_micros()).unwrap_or(LIMIT).min(LIMIT);
        self.counts[micros] += 1;
        self.count += 1;
        self.most = self.most.max(error);
    }

    /// What this share of the packets was not later than.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut passed = 0;
        for (micros, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= wanted {
                return if micros == LIMIT { self.most } else { Duration::from_micros(micros as u64) };
            }
        }
        self.most
    }

    pub(super) const fn most(&self) -> Duration {
        self.most
    }
}

/// How much of its time a direction's thread had no rest, slot by slot.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// When this slot began.
    slot: Duration,
    slept: Duration,
    /// Slots that have passed, and how many of them had hardly any rest.
    slots: u64,
    full: u64,
}

const SLOT: Duration = Duration::from_millis(100);

/// A thread that has less rest than this does not keep up.
const REST: Duration = Duration::from_millis(3);

impl Busy {
    pub(super) fn new(now: Duration) -> Self {
        Self { slot: now, ..Self::default() }
    }

    /// It rested from `from` to `to`.
    pub(super) fn slept(&mut self, from: Duration, to: Duration) {
        let rest = to.saturating_sub(from);
        // A rest that reaches over slots makes none of them a full one.
        self.slept += rest;
        let passed = to.saturating_sub(self.slot);
        if passed >= SLOT {
            let slots = (passed.as_nanos() / SLOT.as_nanos()) as u64;
            self.slots += slots;
            self.full += if self.slept < REST * slots.min(u64::from(u32::MAX)) as u32 { slots } else { 0 };
            self.slot = to;
            self.slept = Duration::ZERO;
        }
    }

    /// How long it had no rest.
    pub(super) fn without_rest(&self) -> Duration {
        SLOT * self.full.min(u64::from(u32::MAX)) as u32
    }
}

/// How long a direction's thread was not let run: the machine was busy, or netsim was stopped.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    total: Duration,
}

/// What takes a round of the thread longer than this was not the thread's work.
const LONG: Duration = Duration::from_millis(5);

impl Stalls {
    /// So much more time than was meant to pass has passed between two looks at the clock.
    pub(super) fn passed(&mut self, time: Duration) {
        if time > LONG {
            self.total += time;
        }
    }

    pub(super) const fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn quantiles_of_what_was_added() {
        let mut errors = Errors::default();
        assert_eq!(errors.quantile(0.99), Duration::ZERO);
        (0..100).for_each(|error| errors.add(us(error)));
        assert_eq!((errors.quantile(0.5), errors.quantile(0.99), errors.most()), (us(49), us(98), us(99)));
        errors.add(Duration::from_secs(9));
        assert_eq!(errors.quantile(1.0), Duration::from_secs(9));
    }

    #[test]
    fn slots_with_and_without_rest() {
        let ms = Duration::from_millis;
        let mut busy = Busy::new(ms(0));
        busy.slept(ms(10), ms(60));
        busy.slept(ms(99), ms(101));
        assert_eq!(busy.without_rest(), ms(0));
        busy.slept(ms(350), ms(351));
        assert_eq!(busy.without_rest(), ms(200));
        busy.slept(ms(360), ms(2000));
        assert_eq!(busy.without_rest(), ms(200));
    }
}
