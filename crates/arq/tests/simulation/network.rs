//! What lies between the ends: a link each way that all flows share, with addresses on what travels.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use netsim::{Direction, Fate, Faults, Link};

/// A datagram that is about to enter the network.
#[derive(Debug)]
pub struct Datagram<'a> {
    pub direction: Direction,
    pub flow: usize,
    pub now: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: &'a [u8],
}

/// What a test does with a datagram.
#[derive(Debug)]
pub enum Tampering {
    Pass,
    Drop,
    /// It goes, and these go after it.
    Also(Vec<Vec<u8>>),
    /// These go in its place.
    Instead(Vec<Vec<u8>>),
}

pub type Tamper = Box<dyn FnMut(&Datagram<'_>) -> Tampering>;

/// A datagram under way.
#[derive(Debug)]
pub struct Flight {
    at: Duration,
    order: u64,
    pub direction: Direction,
    pub flow: usize,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Flight {}

pub struct Network {
    links: [Link; 2],
    flights: BinaryHeap<Flight>,
    sent: u64,
    /// The largest UDP payload that passes.
    pub path_mtu: usize,
    pub tamper: Option<Tamper>,
    /// Bytes that went to and came from each address of a client.
    pub sent_to: BTreeMap<SocketAddr, u64>,
    pub sent_from: BTreeMap<SocketAddr, u64>,
    queue_sum: f64,
    pub max_queue: Duration,
}

impl Network {
    pub fn new(up: Faults, down: Faults, seed: u64, path_mtu: usize) -> Self {
        Self {
            links: [Link::new(up, seed, 0), Link::new(down, seed, 1)],
            flights: BinaryHeap::new(),
            sent: 0,
            path_mtu,
            tamper: None,
            sent_to: BTreeMap::new(),
            sent_from: BTreeMap::new(),
            queue_sum: 0.0,
            max_queue: Duration::ZERO,
        }
    }

    pub fn link(&self, direction: Direction) -> &Link {
        &self.links[direction as usize]
    }

    pub fn link_mut(&mut self, direction: Direction) -> &mut Link {
        &mut self.links[direction as usize]
    }

    /// How many datagrams are under way.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn send(
        &mut self,
        direction: Direction,
        flow: usize,
        from: SocketAddr,
        to: SocketAddr,
        now: Duration,
        bytes: Vec<u8>,
    ) {
        let mut all = Vec::new();
        match &mut self.tamper {
            None => all.push(bytes),
            Some(tamper) => match tamper(&Datagram { direction, flow, now, from, to, bytes: &bytes }) {
                Tampering::Pass => all.push(bytes),
                Tampering::Drop => {}
                Tampering::Also(more) => {
                    all.push(bytes);
                    all.extend(more);
                }
                Tampering::Instead(others) => all = others,
            },
        }
        for bytes in all {
            self.enter(direction, flow, from, to, now, bytes);
        }
    }

    /// The same, past all hands of tests.
    pub fn enter(
        &mut self,
        direction: Direction,
        flow: usize,
        from: SocketAddr,
        to: SocketAddr,
        now: Duration,
        bytes: Vec<u8>,
    ) {
        let (address, count) = match direction {
            Direction::Up => (from, &mut self.sent_from),
            Direction::Down => (to, &mut self.sent_to),
        };
        *count.entry(address).or_default() += bytes.len() as u64;
        if bytes.len() > self.path_mtu {
            return;
        }
        let Fate::Delivered { first, second } = self.link_mut(direction).enter(now, bytes.len()).fate else {
            return;
        };
        let copy = second.map(|second| (second, bytes.clone()));
        for (delivery, mut bytes) in [(first, bytes)].into_iter().chain(copy) {
            if let Some(damage) = delivery.damage {
                damage.apply(&mut bytes);
            }
            self.flights.push(Flight { at: delivery.at, order: self.sent, direction, flow, from, to, bytes });
            self.sent += 1;
        }
    }

    pub fn next_arrival(&self) -> Option<Duration> {
        self.flights.peek().map(|flight| flight.at)
    }

    pub fn receive(&mut self, now: Duration) -> Option<Flight> {
        if self.next_arrival()? > now {
            return None;
        }
        self.flights.pop()
    }

    /// Time goes on; how long the queue of the way up was before.
    pub fn advance(&mut self, from: Duration, to: Duration) -> Duration {
        let queue = self.link(Direction::Up).queued(from);
        // It empties as time passes: the area under it.
        let begin = queue.as_secs_f64();
        let end = (begin - (to - from).as_secs_f64()).max(0.0);
        self.queue_sum += (begin + end) / 2.0 * (begin - end);
        self.max_queue = self.max_queue.max(queue);
        queue
    }

    /// The mean of the time that a packet would have had to wait, over all time so far.
    pub fn mean_queue(&self, now: Duration) -> Duration {
        Duration::from_secs_f64(self.queue_sum / now.as_secs_f64().max(1e-9))
    }

    /// The sum that [`Self::mean_queue`] is made of, in seconds squared.
    pub const fn queue_area(&self) -> f64 {
        self.queue_sum
    }
}
