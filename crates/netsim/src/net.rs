//! Two links and what is under way on them, for tests on a virtual clock.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::faults::Faults;
use crate::link::{Fate, Link, Verdict};

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// From the client, or the first of two ends, to the other: direction 0.
    Up = 0,
    /// Back: direction 1.
    Down = 1,
}

impl Direction {
    /// Both, in order.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// A packet under way.
#[derive(Debug)]
struct Flight {
    at: Duration,
    /// Packets that arrive at the same time do so in the order that they were sent in.
    order: u64,
    direction: Direction,
    bytes: Vec<u8>,
}

impl Flight {
    const fn key(&self) -> (Duration, u64) {
        (self.at, self.order)
    }
}

/// The greatest is what arrives first.
impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

/// A link in both directions with what is under way on it. It has no clock: each call is told the time since the start.
#[derive(Debug)]
pub struct Net {
    links: [Link; 2],
    flights: BinaryHeap<Flight>,
    sent: u64,
}

impl Net {
    /// A link with these faults each way. The directions never share a draw, even with the same faults.
    ///
    /// # Panics
    /// As [`Link::new`]: where the faults do not pass [`Faults::check`].
    #[must_use]
    pub fn new(up: Faults, down: Faults, seed: u64) -> Self {
        let links = [Link::new(up, seed, Direction::Up as u8), Link::new(down, seed, Direction::Down as u8)];
        Self { links, flights: BinaryHeap::new(), sent: 0 }
    }

    /// Sends a packet, and tells what becomes of it; [`Net::receive`] hands over what arrives, damaged as it was.
    pub fn send(&mut self, direction: Direction, now: Duration, bytes: Vec<u8>) -> Verdict {
        let verdict = self.link_mut(direction).enter(now, bytes.len());
        if let Fate::Delivered { first, second } = verdict.fate {
            let copy = second.map(|second| (second, bytes.clone()));
            for (delivery, mut bytes) in [(first, bytes)].into_iter().chain(copy) {
                if let Some(damage) = delivery.damage {
                    damage.apply(&mut bytes);
                }
                self.flights.push(Flight { at: delivery.at, order: self.sent, direction, bytes });
                self.sent += 1;
            }
        }
        verdict
    }

    /// When the next packet arrives, in whichever direction.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Duration> {
        self.flights.peek().map(|flight| flight.at)
    }

    /// The next packet that has arrived by `now`, and which way it went. Call it until it gives none.
    pub fn receive(&mut self, now: Duration) -> Option<(Direction, Vec<u8>)> {
        if self.next_arrival()? > now {
            return None;
        }
        self.flights.pop().map(|flight| (flight.direction, flight.bytes))
    }

    /// How many packets are under way, copies included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// One direction: its counters, its queue.
    #[must_use]
    pub const fn link(&self, direction: Direction) -> &Link {
        &self.links[direction as usize]
    }

    /// One direction, to change its faults.
    pub const fn link_mut(&mut self, direction: Direction) -> &mut Link {
        &mut self.links[direction as usize]
    }
}
