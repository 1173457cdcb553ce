//! Who is being served.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use link::{Closer, origin};
use session::Turn;

use crate::units;

/// How long a client that has asked for something keeps its seat from others who want it, while it asks for nothing more.
const GRACE: Duration = Duration::from_secs(3);
/// How many clients that make way are told why at a time; what more there are, see their connections close.
const MOST_TOLD: usize = 16;

/// How many clients there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seats {
    /// In all.
    pub(super) all: usize,
    /// From one address that is not of this machine.
    pub(super) each: usize,
    /// From one address of this machine.
    pub(super) each_near: usize,
}

impl Seats {
    fn each(&self, from: IpAddr) -> usize {
        if from.is_loopback() { self.each_near } else { self.each }
    }
}

/// Why somebody gets no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All are being sent away.
    Stopping,
    /// So many seats are all that there are.
    All(usize),
    /// So many are all that there are for one address.
    Address(usize),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = |count: usize| units::count(count as u64, "client", "clients");
        match *self {
            Self::Stopping => f.write_str("the server is being stopped"),
            Self::All(all) => write!(f, "the server serves {} already (--max-clients)", clients(all)),
            Self::Address(each) => {
                write!(f, "the server serves {} of your address already (--max-per-address)", clients(each))
            }
        }
    }
}

/// Everyone who is being served.
#[derive(Debug)]
pub(super) struct Clients {
    seats: Seats,
    served: Mutex<Served>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Served {
    next: u64,
    clients: HashMap<u64, Client>,
    is_stopping: bool,
}

#[derive(Debug)]
struct Client {
    closer: Closer,
    origin: IpAddr,
    stage: Stage,
    since: Instant,
}

/// What a client does with its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has just come.
    Arrived,
    /// It has not asked for anything yet.
    Silent,
    /// What it asked for is being done.
    Busy,
    /// It has asked for something, and now for nothing.
    Idle,
    /// It is told why it has to leave.
    Leaving,
    /// The seat is somebody else's.
    Gone,
}

impl Client {
    fn has_seat(&self) -> bool {
        self.stage != Stage::Gone
    }

    /// Whether it may have to make way for somebody else.
    fn is_movable(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Silent | Stage::Leaving => true,
            Stage::Arrived | Stage::Idle => now.saturating_duration_since(self.since) >= GRACE,
            Stage::Busy | Stage::Gone => false,
        }
    }
}

impl Served {
    fn seated(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|client| client.has_seat())
    }

    fn crowd(&self, from: IpAddr) -> usize {
        self.seated().filter(|client| client.origin == from).count()
    }

    /// Whether somebody from there gets a seat, if need be that of somebody else.
    fn find_seat(&mut self, seats: &Seats, from: IpAddr, now: Instant) -> Result<(), Full> {
        if self.is_stopping {
            return Err(Full::Stopping);
        }
        // Those who make way are soon gone; until then they cost something.
        let may_move = self.clients.len() < 2 * seats.all;
        let own = self.crowd(from);
        let each = seats.each(from);
        if each < seats.all && own >= each {
            let made = may_move && self.make_way(now, |client, _| client.origin == from);
            return if made { Ok(()) } else { Err(Full::Address(each)) };
        }
        if self.seated().count() < seats.all {
            return Ok(());
        }
        // A crowd from one address is in its own way, and in nobody else's.
        let made = may_move && self.make_way(now, |_, crowd| crowd >= own);
        if made { Ok(()) } else { Err(Full::All(seats.all)) }
    }

    /// Takes the seat of the client that did nothing for the longest time, of those who are `eligible` by how many come from
    /// where they do, from where most come.
    fn make_way(&mut self, now: Instant, eligible: impl Fn(&Client, usize) -> bool) -> bool {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for client in self.seated() {
            *crowds.entry(client.origin).or_default() += 1;
        }
        let crowd = |client: &Client| crowds.get(&client.origin).copied().unwrap_or_default();
        let gone = self.clients.values().filter(|client| !client.has_seat()).count();
        let movable = self
            .clients
            .values_mut()
            .filter(|client| client.is_movable(now) && eligible(client, crowd(client)))
            .max_by_key(|client| (crowd(client), Reverse(client.since)));
        let Some(client) = movable else { return false };
        let is_told = matches!(client.stage, Stage::Silent | Stage::Idle) && gone < MOST_TOLD;
        client.stage = Stage::Gone;
        if is_told {
            client.closer.deafen();
        } else {
            client.closer.close();
        }
        true
    }
}

impl Clients {
    pub(super) fn new(seats: Seats) -> Arc<Self> {
        Arc::new(Self { seats, served: Mutex::default(), left: Condvar::new() })
    }

    /// Takes a client from there in, if there is a seat for it.
    pub(super) fn enter(self: &Arc<Self>, closer: Closer, from: IpAddr) -> Result<Seat, Full> {
        self.enter_at(closer, from, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, closer: Closer, from: IpAddr, now: Instant) -> Result<Seat, Full> {
        let origin = origin(from);
        let mut served = self.served();
        served.find_seat(&self.seats, origin, now)?;
        let number = served.next;
        served.next += 1;
        served.clients.insert(number, Client { closer, origin, stage: Stage::Arrived, since: now });
        Ok(Seat { clients: self.clone(), number, on_panic: None })
    }

    /// Whether all are being sent away.
    pub(super) fn is_stopping(&self) -> bool {
        self.served().is_stopping
    }

    /// Sends all away, takes nobody in any more, and waits until all have left, at most so long: whether they have.
    pub(super) fn stop(&self, limit: Duration) -> bool {
        let mut served = self.served();
        served.is_stopping = true;
        served.clients.values().for_each(|client| client.closer.close());
        let waited = self.left.wait_timeout_while(served, limit, |served| !served.clients.is_empty());
        waited.map_or_else(
            |poisoned| poisoned.into_inner().0.clients.is_empty(),
            |(served, _)| served.clients.is_empty(),
        )
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a client, given back when dropped, however its thread ends.
pub(super) struct Seat {
    clients: Arc<Clients>,
    number: u64,
    on_panic: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Seat {
    /// Says what is to be done when the thread that holds this panics.
    pub(super) fn on_panic(&mut self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_panic = Some(Box::new(tell));
    }

    /// Takes note of what its client does: whether it still has the seat.
    pub(super) fn turn(&self, turn: Turn) -> bool {
        self.turn_at(turn, Instant::now())
    }

    fn turn_at(&self, turn: Turn, now: Instant) -> bool {
        let mut served = self.clients.served();
        let Some(client) = served.clients.get_mut(&self.number).filter(|client| client.has_seat()) else {
            return false;
        };
        client.stage = match (turn, client.stage) {
            (Turn::Waits, Stage::Arrived | Stage::Silent) => Stage::Silent,
            (Turn::Waits, _) => Stage::Idle,
            (Turn::Asked, _) => Stage::Busy,
            (Turn::Leaves, _) => Stage::Leaving,
        };
        client.since = now;
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if thread::panicking()
            && let Some(tell) = &self.on_panic
        {
            tell();
        }
        self.clients.served().clients.remove(&self.number);
        self.clients.left.notify_all();
    }
}

#[cfg(test)]
mod tests;
