//! Ends of connections and a network between them, on a virtual clock. Nothing sleeps; a seed decides everything.
//!
//! A [`World`] has one or several flows, each with a client, a server and a file, which share a link in each direction. The
//! server's end is made by the [`Gate`], as a real endpoint does it. Tests may look at everything between two events, change
//! it ([`World::at`]) and lay hands on each datagram ([`World::tamper`]).
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "each test uses what it needs of it, and may panic"
)]

mod flow;
mod network;
pub mod random;
mod scenario;
pub mod seals;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arq::{Connection, First, Gate};
use framing::packet::{self, Packet};

pub use flow::{Flow, State};
pub use netsim::Direction;
pub use network::{Datagram, Network, Tampering};
pub use scenario::{Moment, Report, SERVER, Scenario, chunk_len, client_address, content};

/// Events in which no time may pass, at most: more is a livelock.
const MAX_STEPS_AT_ONCE: u32 = 20_000;

type Plan = Box<dyn FnOnce(&mut World)>;

pub struct World {
    pub start: Instant,
    pub now: Duration,
    pub network: Network,
    pub gate: Gate,
    pub flows: Vec<Flow>,
    plans: Vec<(Duration, Plan)>,
    steps: u32,
    events: u64,
    last: Duration,
    pub limit: Duration,
}

impl World {
    /// One with one flow.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let network = Network::new(scenario.up.clone(), scenario.down.clone(), seed, scenario.path_mtu);
        let mut world = Self {
            start: Instant::now(),
            now: Duration::ZERO,
            network,
            gate: Gate::new([9; 32]),
            flows: Vec::new(),
            plans: Vec::new(),
            steps: 0,
            events: 0,
            last: Duration::ZERO,
            limit: scenario.limit,
        };
        world.join(scenario, seed, Duration::ZERO);
        world
    }

    /// Adds a flow that begins then. Of its scenario, the faults and the path count for nothing.
    pub fn join(&mut self, scenario: Scenario, seed: u64, begin: Duration) {
        let index = self.flows.len();
        let begins = self.start + begin;
        let client =
            Connection::connect(scenario.config.clone(), SERVER, 7 + index as u32, seed ^ 0x5eed, begins);
        self.flows.push(Flow::new(scenario, index, client, self.start));
        self.at(begin, move |world| world.flows[index].state = State::Connecting);
    }

    /// Does something at a time.
    pub fn at(&mut self, time: Duration, plan: impl FnOnce(&mut Self) + 'static) {
        self.plans.push((time, Box::new(plan)));
    }

    /// Lays hands on each datagram that is sent.
    pub fn tamper(&mut self, tamper: impl FnMut(&Datagram<'_>) -> Tampering + 'static) {
        self.network.tamper = Some(Box::new(tamper));
    }

    pub fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// The client of the first flow.
    pub fn client(&mut self) -> &mut Connection {
        &mut self.flows[0].client
    }

    /// The server of the first flow.
    pub fn server(&mut self) -> &mut Connection {
        self.flows[0].server.as_mut().unwrap()
    }

    /// Runs until each client has heard that all is stored, or is at its end. How the first one fared.
    pub fn run(self) -> Report {
        self.run_all().swap_remove(0)
    }

    /// The same, of all flows.
    pub fn run_all(mut self) -> Vec<Report> {
        while !self.flows.iter().all(Flow::is_over) && self.step() {}
        self.reports()
    }

    /// Runs until something is so, or nothing happens any more. Whether it is so.
    pub fn run_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            if is_so(self) {
                return true;
            }
            if !self.step() {
                return false;
            }
        }
    }

    pub fn run_to(&mut self, time: Duration) {
        self.at(time, |_| {});
        while self.now < time && self.step() {}
    }

    pub fn report(self) -> Report {
        self.reports().swap_remove(0)
    }

    pub fn reports(self) -> Vec<Report> {
        let (network, now) = (&self.network, self.now);
        self.flows.into_iter().map(|flow| flow.report(network, now)).collect()
    }

    /// Goes on to the next event. `false` when there is none, or time is up.
    pub fn step(&mut self) -> bool {
        for index in 0..self.flows.len() {
            self.flows[index].transmit(self.now, &mut self.network);
        }
        let Some(next) = self.next_event().filter(|next| *next <= self.limit) else { return false };
        let next = next.max(self.now);
        let queue = self.network.advance(self.now, next);
        self.now = next;
        for flow in &mut self.flows {
            flow.look(next, queue);
        }
        self.steps = if self.now == self.last { self.steps + 1 } else { 0 };
        self.last = self.now;
        assert!(self.steps < MAX_STEPS_AT_ONCE, "livelock at {:?}: {:?}", self.now, self.flows[0].state);
        self.do_plans();
        self.deliver();
        for flow in &mut self.flows {
            flow.time_out(self.now);
        }
        self.events += 1;
        if self.events.is_multiple_of(16) {
            self.flows.iter_mut().for_each(Flow::weigh);
        }
        true
    }

    fn do_plans(&mut self) {
        while let Some(at) = self.plans.iter().position(|(time, _)| *time <= self.now) {
            let (_, plan) = self.plans.swap_remove(at);
            plan(self);
        }
    }

    fn next_event(&self) -> Option<Duration> {
        let plan = self.plans.iter().map(|(time, _)| *time).min();
        let flows = self.flows.iter().filter_map(Flow::next_event).min();
        [self.network.next_arrival(), plan, flows].into_iter().flatten().min()
    }

    fn deliver(&mut self) {
        while let Some(flight) = self.network.receive(self.now) {
            match flight.direction {
                Direction::Down => {
                    let flow = &mut self.flows[flight.flow];
                    // What goes to an address that the client has left is gone.
                    if flight.to == flow.home {
                        flow.deliver_to_client(self.now, &flight.bytes);
                    }
                }
                Direction::Up => self.deliver_to_server(flight.flow, flight.from, &flight.bytes),
            }
            self.flows[flight.flow].transmit(self.now, &mut self.network);
        }
    }

    /// A datagram comes to the server's socket.
    pub fn deliver_to_server(&mut self, index: usize, from: SocketAddr, datagram: &[u8]) {
        let now = self.instant();
        let flow = &mut self.flows[index];
        let mut copy = Vec::new();
        let read = match &mut flow.seals {
            Some(seals) => {
                copy.extend_from_slice(datagram);
                let (gate, at) = (&self.gate, self.now);
                seals.server_gets(&mut copy, |packet, len| {
                    matches!(gate.receive(at, from, packet, len, &mut Vec::new()), First::Accept(_))
                })
            }
            None => Packet::parse(datagram).ok().map(|packet| (packet, datagram.len())),
        };
        let Some((packet, len)) = read else { return };
        if flow.server.is_none() {
            let mut reply = Vec::new();
            match self.gate.receive(self.now, from, &packet, datagram.len(), &mut reply) {
                First::Accept(accepted) => {
                    let config =
                        flow.scenario.server_config.as_ref().unwrap_or(&flow.scenario.config).clone();
                    flow.server = Some(Connection::accept(config, accepted, from, 0xacce, now));
                }
                First::Nothing if flow.seals.is_some() => {}
                First::Nothing => self.reset(&packet, datagram, &mut reply),
                First::Reply => {}
            }
            if let Some(seals) = &self.flows[index].seals {
                reply = seals.retry(datagram, &reply);
            }
            if !reply.is_empty() {
                assert!(reply.len() <= 3 * datagram.len());
                self.network.send(Direction::Down, index, SERVER, from, self.now, reply);
            }
        }
        self.flows[index].handle_at_server(self.now, from, &packet, len);
    }

    /// What an endpoint answers to packets of connections that it does not know.
    fn reset(&self, packet: &Packet<'_>, datagram: &[u8], reply: &mut Vec<u8>) {
        let (Packet::Data { cid, pn, .. } | Packet::Connect { server_cid: cid, pn, .. }) = *packet else {
            return;
        };
        if datagram.len() > packet::RESET_LEN && self.flows[0].scenario.resets {
            let crc = datagram.last_chunk().copied().map_or(0, u32::from_be_bytes);
            packet::reset(reply, cid, pn, crc);
        }
    }
}
