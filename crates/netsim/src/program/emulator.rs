//! The link itself: a thread for each direction, which takes packets in, asks the fault model, and hands them over when
//! they are due.
//!
//! 1. Hand over what is due.
//! 2. Take in what has come, up to [`BATCH`] packets, and ask the model about each.
//! 3. Where nothing had come: sleep until something comes or is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netsim::{Delivery, Direction, Fate, Link, Stats, packet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::kernel;
use super::record::{Happened, Recorder};
use super::tally::{Busy, Errors, Stalls};
use super::wire::{Receiver, Sender};

/// How many packets are taken in before those that are due are seen to again.
const BATCH: usize = 32;

/// After how many rounds without a sleep it is seen whether it is time to stop.
const ROUNDS: u32 = 64;

/// Longer than any packet of IPv4.
const LONGEST: usize = 65_536;

/// The longest sleep where nothing is due. It ends early where something comes, so what takes longer is a time in which
/// netsim was not let run.
const IDLE: Duration = Duration::from_millis(20);

/// One direction at work.
pub(super) struct Course {
    pub(super) direction: Direction,
    pub(super) link: Link,
    pub(super) from: Receiver,
    pub(super) to: Sender,
    pub(super) record: Option<Arc<Recorder>>,
}

/// What one direction did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What the model decided.
    pub(super) stats: Stats,
    /// Packets that were handed over.
    pub(super) sent: u64,
    /// Packets that the receiving end did not take.
    pub(super) refused: u64,
    /// Packets still under way at the end.
    pub(super) under_way: u64,
    /// Packets that were to be damaged or reset, and had nothing where that could be done.
    pub(super) unspoilt: u64,
    /// Packets that the emulator did not fetch in time.
    pub(super) overrun: u64,
    /// How much later than due packets were handed over.
    pub(super) errors: Errors,
    pub(super) busy: Busy,
    /// Times in which it was not let run.
    pub(super) stalls: Stalls,
}

/// A packet under way. What is due first comes first, and what entered first of those.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    due: Duration,
    order: u64,
    bytes: Vec<u8>,
}

struct Running {
    course: Course,
    start: Instant,
    under_way: BinaryHeap<Reverse<Flight>>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    order: u64,
    outcome: Outcome,
}

impl Course {
    /// Carries packets until `stop` can be read from. Time 0 is `start`.
    pub(super) fn run(self, start: Instant, stop: &OwnedFd) -> io::Result<Outcome> {
        // The kernel lets timers of ordinary threads be 50 µs late, to save power. Where it will not be told, it is.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        // What it is late with is measured as the link's doing. Only root may be so impolite.
        let _ = kernel::run_before_all_others();
        let under_way = BinaryHeap::new();
        let outcome = Outcome { busy: Busy::new(start.elapsed()), ..Outcome::default() };
        let mut running = Running { course: self, start, under_way, spare: Vec::new(), order: 0, outcome };
        running.carry(stop)?;
        running.outcome.stats = running.course.link.stats();
        running.outcome.under_way = running.under_way.len() as u64;
        running.outcome.overrun = running.course.from.dropped();
        Ok(running.outcome)
    }
}

impl Running {
    fn carry(&mut self, stop: &OwnedFd) -> io::Result<()> {
        let mut buffer = vec![0; LONGEST];
        let mut rounds = 0;
        let mut awake = self.start.elapsed();
        loop {
            self.hand_over_due();
            let more = self.take_in(&mut buffer)? == BATCH;
            let now = self.start.elapsed();
            self.outcome.stalls.passed(now.saturating_sub(awake));
            awake = now;
            let due = self.under_way.peek().map(|Reverse(flight)| flight.due.saturating_sub(now));
            let rest = if more { Duration::ZERO } else { due.unwrap_or(IDLE).min(IDLE) };
            rounds += 1;
            if rest.is_zero() && rounds % ROUNDS != 0 {
                continue;
            }
            if self.sleep(rest, stop)? {
                return Ok(());
            }
            awake = self.start.elapsed();
            self.outcome.stalls.passed(awake.saturating_sub(now + rest));
            self.outcome.busy.slept(now, awake);
        }
    }

    /// Whether it is time to stop.
    fn sleep(&self, time: Duration, stop: &OwnedFd) -> io::Result<bool> {
        let time = Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ };
        let mut sources = [PollFd::new(&self.course.from, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut sources, Some(&time)) {
            Ok(_) if sources[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL) => {
                Err(io::Error::other("the interface at one end is gone"))
            }
            Ok(_) => Ok(!sources[1].revents().is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn hand_over_due(&mut self) {
        let mut now = self.start.elapsed();
        let mut since = 0;
        while self.under_way.peek().is_some_and(|Reverse(flight)| flight.due <= now) {
            let Some(Reverse(flight)) = self.under_way.pop() else { return };
            self.hand_over(&flight.bytes, flight.due, now);
            self.spare.push(flight.bytes);
            since += 1;
            if since % 4 == 0 {
                now = self.start.elapsed();
            }
        }
    }

    fn hand_over(&mut self, bytes: &[u8], due: Duration, now: Duration) {
        match self.course.to.send(bytes) {
            Ok(()) => self.outcome.sent += 1,
            // It is a network: what an end does not take is lost, and counted.
            Err(_) => self.outcome.refused += 1,
        }
        self.outcome.errors.add(now.saturating_sub(due));
    }

    /// Takes in up to a batch, and tells how many.
    fn take_in(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for count in 0..BATCH {
            let Some(length) = self.course.from.receive(buffer)? else { return Ok(count) };
            self.enter(&buffer[..length]);
        }
        Ok(BATCH)
    }

    fn enter(&mut self, bytes: &[u8]) {
        let now = self.start.elapsed();
        let verdict = self.course.link.enter(now, bytes.len());
        let record = self.course.record.clone();
        let mut happened = Happened::new(self.course.direction, now, &verdict);
        match verdict.fate {
            Fate::Delivered { first, second: None } if first.damage.is_none() && !first.reset => {
                if let Some(record) = record {
                    record.packet(bytes, &happened);
                }
                self.deliver(bytes, first.at, now);
            }
            Fate::Delivered { first, second } => {
                for (copy, delivery) in [Some(first), second].into_iter().enumerate() {
                    let Some(delivery) = delivery else { continue };
                    let mut spoilt = self.copy(bytes);
                    self.spoil(&mut spoilt, delivery, &mut happened, copy);
                    self.fly(spoilt, delivery.at);
                }
                if let Some(record) = record {
                    record.packet(bytes, &happened);
                }
            }
            Fate::Dropped(_) => {
                if let Some(record) = record {
                    record.packet(bytes, &happened);
                }
            }
        }
    }

    /// At once where it is due, and nothing that is due before it still waits.
    fn deliver(&mut self, bytes: &[u8], due: Duration, now: Duration) {
        if due <= now && self.under_way.peek().is_none_or(|Reverse(flight)| flight.due > due) {
            self.hand_over(bytes, due, now);
        } else {
            let bytes = self.copy(bytes);
            self.fly(bytes, due);
        }
    }

    fn spoil(&mut self, bytes: &mut [u8], delivery: Delivery, happened: &mut Happened, copy: usize) {
        if let Some(damage) = delivery.damage {
            let change = packet::spoil(bytes, damage);
            happened.arrivals[copy].change = change;
            self.outcome.unspoilt += u64::from(change.is_none());
        }
        if delivery.reset {
            let reset = packet::reset(bytes);
            happened.arrivals[copy].reset = reset;
            self.outcome.unspoilt += u64::from(!reset);
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(bytes);
        copy
    }

    fn fly(&mut self, bytes: Vec<u8>, due: Duration) {
        self.under_way.push(Reverse(Flight { due, order: self.order, bytes }));
        self.order += 1;
    }
}
