//! One direction of a link, packet by packet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::damage::Damage;
use crate::dice::{Dice, Purpose, below, chance, normal, pareto};
use crate::faults::{Faults, Jitter, Loss, Queue, Reorder, Reset, Spread};

/// One direction of a link: what becomes of each packet that enters it.
#[derive(Debug, Clone)]
pub struct Link {
    faults: Faults,
    dice: Dice,
    bottleneck: Bottleneck,
    /// Whether the two-state chain of the loss is in its bad state.
    bad: bool,
    /// When the last packet that keeps the order arrives, in nanoseconds since the start.
    last: u64,
    stats: Stats,
}

/// What becomes of a packet that entered.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The packet's number: how many entered this direction before it.
    pub number: u64,
    /// Whether it arrives.
    pub fate: Fate,
}

impl Verdict {
    /// Why it was dropped, if it was.
    #[must_use]
    pub const fn dropped(&self) -> Option<Cause> {
        match self.fate {
            Fate::Dropped(cause) => Some(cause),
            Fate::Delivered { .. } => None,
        }
    }

    /// Each time that it arrives: never, once or twice, the packet itself before its copy (which may arrive earlier).
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery> + use<> {
        let (first, second) = match self.fate {
            Fate::Dropped(_) => (None, None),
            Fate::Delivered { first, second } => (Some(first), second),
        };
        first.into_iter().chain(second)
    }
}

/// Whether a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Delivered {
        /// The packet itself.
        first: Delivery,
        /// Its copy, where it was duplicated. It may arrive before the packet itself.
        second: Option<Delivery>,
    },
    /// It does not.
    Dropped(Cause),
}

/// One arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When, since the start.
    pub at: Duration,
    /// Whether it was held back for others to overtake it.
    pub reordered: bool,
    /// The damage that it comes with.
    pub damage: Option<Damage>,
    /// Whether it becomes a reset, if it is TCP's.
    pub reset: bool,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It entered during a blackout.
    Blackout,
    /// The queue in front of the bottleneck was full.
    Queue,
    /// It was lost on the way.
    Loss,
}

/// What a link has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Packets that entered.
    pub entered: u64,
    /// Their bytes, without the overhead.
    pub entered_bytes: u64,
    /// Packets that arrive, copies included.
    pub delivered: u64,
    /// Their bytes, without the overhead.
    pub delivered_bytes: u64,
    /// Packets that entered during a blackout.
    pub blacked_out: u64,
    /// Packets that the queue was too full for.
    pub queue_dropped: u64,
    /// Packets that were lost on the way.
    pub lost: u64,
    /// Packets that arrive twice.
    pub duplicated: u64,
    /// Arrivals that were held back.
    pub reordered: u64,
    /// Arrivals that were damaged.
    pub corrupted: u64,
    /// Arrivals that were to become resets, if they are TCP's.
    pub reset: u64,
    /// Packets that loss was tried on: not those that a blackout or the queue took, nor those outside `during`.
    pub loss_trials: u64,
    /// Packets that duplication was tried on.
    pub duplicate_trials: u64,
    /// Arrivals that reordering, corruption and resets were tried on.
    pub arrival_trials: u64,
}

impl Link {
    /// A direction with these faults. The two directions of a link have the same seed and different numbers.
    ///
    /// # Panics
    /// Where the faults do not pass [`Faults::check`]: call that first on what a person asked for.
    #[must_use]
    pub fn new(faults: Faults, seed: u64, direction: u8) -> Self {
        assert_possible(&faults);
        Self {
            faults,
            dice: Dice::new(seed, direction),
            bottleneck: Bottleneck::default(),
            bad: false,
            last: 0,
            stats: Stats::default(),
        }
    }

    /// Goes on with other faults. Numbers and counters go on; what is in the queue or on the way keeps its time, and
    /// what follows does not overtake it, unless the new faults reorder.
    ///
    /// # Panics
    /// As [`Link::new`].
    pub fn change(&mut self, faults: Faults) {
        assert_possible(&faults);
        self.faults = faults;
    }

    /// A packet of `len` bytes enters at `now`, the time since the start; what becomes of it. Times are to go forwards.
    pub fn enter(&mut self, now: Duration, len: usize) -> Verdict {
        let number = self.stats.entered;
        self.stats.entered += 1;
        self.stats.entered_bytes = self.stats.entered_bytes.saturating_add(len as u64);
        // Drawn for each packet, so that the chain's state is the same whatever a blackout or the queue takes.
        let active = self.active(now);
        let lost = self.lost(number) && active;
        let fate = match self.departure(now, len, lost, active) {
            Ok(departure) => self.deliver(number, now, departure, len, active),
            Err(cause) => {
                match cause {
                    Cause::Blackout => self.stats.blacked_out += 1,
                    Cause::Queue => self.stats.queue_dropped += 1,
                    Cause::Loss => self.stats.lost += 1,
                }
                Fate::Dropped(cause)
            }
        };
        Verdict { number, fate }
    }

    /// How long a packet that entered at `now` would wait for the bottleneck to be free.
    #[must_use]
    pub const fn queued(&self, now: Duration) -> Duration {
        Duration::from_nanos(self.bottleneck.free_at.saturating_sub(nanos(now)))
    }

    /// What it has done so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The faults that it has now.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Whether a packet that enters now is one that the faults of chance may happen to.
    fn active(&self, now: Duration) -> bool {
        self.faults.during.is_empty() || self.faults.during.iter().any(|window| window.contains(now))
    }

    /// When the packet has passed the bottleneck, if it gets to the other side of it and is not lost there.
    fn departure(&mut self, now: Duration, len: usize, lost: bool, active: bool) -> Result<u64, Cause> {
        if self.faults.blackouts.iter().any(|window| window.contains(now)) {
            return Err(Cause::Blackout);
        }
        let mut departure = nanos(now);
        if let Some(rate) = self.faults.rate {
            let len = (len as u64).saturating_add(u64::from(self.faults.overhead));
            departure = self.bottleneck.pass(departure, len, rate, self.faults.queue).ok_or(Cause::Queue)?;
        }
        self.stats.loss_trials += u64::from(active);
        if lost { Err(Cause::Loss) } else { Ok(departure) }
    }

    fn lost(&mut self, number: u64) -> bool {
        let (worsen, recover, loss_good, loss_bad) = match self.faults.loss {
            Loss::None => return false,
            Loss::Nth(step) => return number % step == step - 1,
            Loss::Packets(ref numbers) => return numbers.contains(&number),
            Loss::Bernoulli(loss) => return chance(self.dice.roll(Purpose::Loss, number, 0)[0], loss),
            Loss::GilbertElliott { loss, burst } => (loss / (1.0 - loss) / burst, 1.0 / burst, 0.0, 1.0),
            Loss::TwoState { worsen, recover, loss_good, loss_bad } => (worsen, recover, loss_good, loss_bad),
        };
        let [change, loss] = self.dice.roll(Purpose::Loss, number, 0);
        self.bad = if self.bad { !chance(change, recover) } else { chance(change, worsen) };
        chance(loss, if self.bad { loss_bad } else { loss_good })
    }

    fn deliver(&mut self, number: u64, now: Duration, departure: u64, len: usize, active: bool) -> Fate {
        let twice = active
            && self.faults.duplicate > 0.0
            && chance(self.dice.roll(Purpose::Duplicate, number, 0)[0], self.faults.duplicate);
        self.stats.duplicate_trials += u64::from(active);
        self.stats.duplicated += u64::from(twice);
        let reset = active && self.resets(number, now);
        let first = Delivery { reset, ..self.delivery(number, 0, departure, len, active) };
        let second = twice.then(|| Delivery { reset, ..self.delivery(number, 1, departure, len, active) });
        self.stats.reset += u64::from(reset) * if twice { 2 } else { 1 };
        Fate::Delivered { first, second }
    }

    fn delivery(&mut self, number: u64, copy: u8, departure: u64, len: usize, active: bool) -> Delivery {
        let mut at = departure.saturating_add(nanos(self.faults.delay));
        let mut keeps_order = true;
        if let Some(Jitter { spread, reorders }) = self.faults.jitter {
            at = jittered(at, spread, self.dice.roll(Purpose::Jitter, number, copy)[0]).max(departure);
            keeps_order = !reorders;
        }
        let held_back = self.held_back(number, copy).filter(|_| active);
        if let Some(extra) = held_back {
            at = at.saturating_add(extra);
        } else if keeps_order {
            at = at.max(self.last);
            self.last = at;
        }
        let damage = self.faults.corrupt.filter(|_| active && len > 0).and_then(|corrupt| {
            let [whether, place] = self.dice.roll(Purpose::Corrupt, number, copy);
            chance(whether, corrupt.probability).then(|| Damage::new(corrupt.kind, place))
        });
        self.stats.delivered += 1;
        self.stats.delivered_bytes = self.stats.delivered_bytes.saturating_add(len as u64);
        self.stats.arrival_trials += u64::from(active);
        self.stats.reordered += u64::from(held_back.is_some());
        self.stats.corrupted += u64::from(damage.is_some());
        Delivery { at: Duration::from_nanos(at), reordered: held_back.is_some(), damage, reset: false }
    }

    fn resets(&self, number: u64, now: Duration) -> bool {
        match &self.faults.reset {
            None => false,
            Some(Reset::Chance(probability)) => {
                chance(self.dice.roll(Purpose::Reset, number, 0)[0], *probability)
            }
            Some(Reset::Packets(numbers)) => numbers.contains(&number),
            Some(Reset::Windows(windows)) => windows.iter().any(|window| window.contains(now)),
        }
    }

    /// For how long a packet is held back, if it is.
    fn held_back(&self, number: u64, copy: u8) -> Option<u64> {
        let Reorder { probability, least, most } = self.faults.reorder?;
        let [whether, how_long] = self.dice.roll(Purpose::Reorder, number, copy);
        let (least, most) = (nanos(least), nanos(most));
        chance(whether, probability).then(|| least + below(how_long, most - least + 1))
    }
}

fn assert_possible(faults: &Faults) {
    if let Err(error) = faults.check() {
        panic!("faults that no link can have: {error}");
    }
}

fn jittered(at: u64, spread: Spread, draw: u64) -> u64 {
    match spread {
        Spread::Uniform(most) => at.saturating_add(below(draw, nanos(most) + 1)),
        Spread::Normal(deviation) => {
            at.saturating_add_signed((normal(draw) * nanos(deviation) as f64) as i64)
        }
        Spread::Pareto { scale, shape, limit } => {
            // An infinite factor of a scale of 0 is no number, and becomes 0.
            let extra = (pareto(draw, shape) * nanos(scale) as f64) as u64;
            at.saturating_add(extra.min(nanos(limit)))
        }
    }
}

/// A time in nanoseconds; 584 years, if it is longer than that.
const fn nanos(time: Duration) -> u64 {
    let nanos = time.as_nanos();
    if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }
}

/// Where packets are serialised. What is left over in whole nanoseconds is carried on, so that no rate drifts.
#[derive(Debug, Clone, Default)]
struct Bottleneck {
    /// When it has sent all that has entered, in whole nanoseconds since the start.
    free_at: u64,
    /// What it has to send after that still, in nanobits: less than a nanosecond's worth.
    rest: u64,
    /// When each packet that it has not yet sent will be.
    departures: VecDeque<u64>,
}

impl Bottleneck {
    /// When a packet of `len` bytes that enters at `now` will have been sent, unless the queue is too full for it.
    fn pass(&mut self, now: u64, len: u64, rate: u64, queue: Option<Queue>) -> Option<u64> {
        const NANO: u128 = 1_000_000_000;
        if self.free_at < now {
            self.free_at = now;
            self.rest = 0;
        }
        while self.departures.front().is_some_and(|&sent| sent <= now) {
            self.departures.pop_front();
        }
        // In nanobits, of which as many go in a nanosecond as bits in a second.
        let backlog = u128::from(self.free_at - now) * u128::from(rate) + u128::from(self.rest);
        let packet = u128::from(len) * 8 * NANO;
        let fits = match queue {
            None => true,
            Some(Queue::Bytes(limit)) => backlog + packet <= u128::from(limit) * 8 * NANO,
            Some(Queue::Packets(limit)) => self.departures.len() < limit as usize,
            Some(Queue::Time(limit)) => backlog + packet <= u128::from(nanos(limit)) * u128::from(rate),
        };
        if !fits && self.free_at > now {
            return None;
        }
        let work = u128::from(self.rest) + packet;
        let time = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        self.free_at = self.free_at.saturating_add(time);
        self.rest = (work % u128::from(rate)) as u64;
        self.departures.push_back(self.free_at);
        Some(self.free_at)
    }
}
