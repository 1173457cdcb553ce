//! The I/O thread: one for each socket, whoever is behind it.
//!
//! It receives what comes for all connections of the socket, keeps their timers, and sends what they have to say by
//! themselves: acknowledgements, messages that were lost, probes. Parts of chunks are sent by the sessions' threads.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arq::Received;
use framing::packet::{CRC_LEN, Packet, field};
use rustix::event::PollFlags;
use seal::Key;
use seal::datagram::{Opener, Step, first_step, open_reset};

use super::accept::{LEAST_WINDOW, Met, Server, WINDOW};
use super::arrivals::{Arrival, Clock, parse};
use super::closed::{Answer, Closed};
use super::hub::{Handle, Hub, Request};
use super::inbox::What;
use super::lull::Lull;
use super::outbox::Outbox;
use super::peer::Peer;
use super::porch::Porch;
use super::sealed::Late;
use super::slots::Slots;
use crate::notice::{CROWDED_OUT, TOO_SLOW};
use crate::ready::wait;
use crate::{HANDSHAKE_LIMIT, origin};

/// Batches that are received before timers have their turn.
const ROUNDS: usize = 8;
/// How long the thread rests when the socket fails without telling anything that could be done about it.
const PAUSE: Duration = Duration::from_millis(10);
/// How often in a row a port must be refused before it counts as closed.
const MOST_REFUSED: u32 = 3;

/// After so long a silence a client looks whether its own address is still what it was.
const SILENCE: Duration = Duration::from_secs(2);

/// What the I/O thread knows.
#[derive(Debug)]
struct Engine {
    hub: Arc<Hub>,
    /// Of a client's socket there is none.
    server: Option<Server>,
    key: Option<Key>,
    routes: HashMap<u32, Route>,
    timers: BTreeSet<(Instant, u32)>,
    closed: Closed,
    /// Those of the routes that nobody serves yet.
    porch: Porch,
    outbox: Outbox,
    /// How often the kernel said that nobody listens there, since something came from there.
    refused: u32,
    has_heard: bool,
    /// Whether there may be answers to knocks.
    is_knocking: bool,
    /// When something was heard, or the own address was looked at, last. Only a client's address matters to its socket.
    checked: Instant,
    garbage: u64,
}

#[derive(Debug)]
struct Route {
    peer: Arc<Peer>,
    /// Its entry in the timers.
    timer: Option<Instant>,
    /// What opens its packets, once the handshake is over, where there is a key.
    opener: Option<Opener>,
}

/// Starts the I/O thread of a socket.
pub(super) fn start(hub: &Arc<Hub>, server: Option<Server>, key: Option<Key>) -> io::Result<Arc<Handle>> {
    let limit = server.as_ref().map_or(HANDSHAKE_LIMIT, Server::handshake_limit);
    let engine = Engine {
        hub: Arc::clone(hub),
        is_knocking: server.is_none(),
        server,
        key,
        routes: HashMap::new(),
        timers: BTreeSet::new(),
        closed: Closed::default(),
        porch: Porch::new(limit),
        outbox: Outbox::default(),
        refused: 0,
        has_heard: false,
        checked: Instant::now(),
        garbage: 0,
    };
    let thread = std::thread::Builder::new().name("udp".into()).spawn(move || engine.run())?;
    Ok(Arc::new(Handle::new(Arc::clone(hub), thread)))
}

/// Waits for datagrams and wakings until the timer is due; for datagrams not before the end of the rest.
fn listen(hub: &Hub, timer: Option<Instant>, rest: Option<Instant>) -> [bool; 2] {
    let waker: (&dyn AsFd, PollFlags) = (hub.waker(), PollFlags::IN);
    let ready = match rest.filter(|rest| *rest > Instant::now()) {
        Some(rest) => {
            let until = timer.map_or(rest, |timer| timer.min(rest));
            wait(&[waker], Some(until)).map(|[woken]| [Instant::now() >= rest, woken])
        }
        None => wait(&[(hub.port(), PollFlags::IN), waker], timer),
    };
    ready.unwrap_or_else(|_| {
        std::thread::sleep(PAUSE);
        [true, true]
    })
}

impl Engine {
    fn run(mut self) {
        let hub = Arc::clone(&self.hub);
        let mut slots = Slots::new();
        let mut lull = Lull::new(Instant::now());
        let mut rest = None;
        loop {
            let timer =
                self.timers.first().map(|(timer, _)| *timer).into_iter().chain(self.porch.deadline()).min();
            let [readable, woken] = listen(&hub, timer, rest);
            if woken {
                hub.waker().settle();
                if self.obey().is_break() {
                    self.porch.all().into_iter().for_each(|cid| self.dismiss(Instant::now(), cid, None));
                    self.send();
                    return;
                }
            }
            if readable {
                let count = self.receive(&mut slots);
                rest = lull.received(Instant::now(), count);
            }
            self.fire_timers();
        }
    }

    /// Does what the sessions' threads asked for. Breaks when none is left.
    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        let now = Instant::now();
        for request in self.hub.take_requests() {
            match request {
                Request::Add(peer) => {
                    let cid = peer.cid();
                    self.routes
                        .entry(cid)
                        .or_insert(Route { peer, timer: None, opener: None })
                        .arm(&mut self.timers);
                }
                Request::Arm(cid) => {
                    if let Some(route) = self.routes.get_mut(&cid) {
                        route.arm(&mut self.timers);
                    }
                }
                Request::Forget { cid, last, to } => {
                    if let Some(timer) = self.routes.remove(&cid).and_then(|route| route.timer) {
                        self.timers.remove(&(timer, cid));
                    }
                    self.closed.add(now, cid, last, to);
                    self.share_memory();
                }
                Request::Refused => self.note_refused(),
                Request::Stop => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Takes in what there is: how many datagrams, or batches that the kernel had joined.
    fn receive(&mut self, slots: &mut Slots) -> usize {
        let hub = Arc::clone(&self.hub);
        let mut count = 0;
        for _ in 0..ROUNDS {
            match slots.receive(hub.port()) {
                Ok(0) => break,
                Ok(used) => {
                    self.take(slots, used);
                    count += used;
                    if used < quinn_udp::BATCH_SIZE {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.note_refused(),
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    break;
                }
            }
        }
        count
    }

    /// Takes in what was received.
    fn take(&mut self, slots: &mut Slots, used: usize) {
        let clock = Clock::now();
        let now = clock.now;
        let has_key = self.key.is_some();
        if self.is_knocking {
            self.hear_knocks(now, slots, used);
        }
        if has_key {
            self.open(slots, used);
        }
        let mut arrivals = Vec::with_capacity(used);
        for (block, meta) in slots.used(used) {
            self.garbage += parse(block, meta, &clock, has_key, &mut arrivals);
        }
        // Those of one peer together, in the order in which they came.
        if arrivals.windows(2).any(|pair| pair[0].cid() != pair[1].cid()) {
            arrivals.sort_by_key(Arrival::cid);
        }
        let mut rest = arrivals.as_slice();
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|arrival| arrival.cid() == first.cid()).count();
            let (group, after) = rest.split_at(count);
            match first.cid() {
                Some(cid) if self.routes.contains_key(&cid) => self.feed(now, cid, group),
                _ => group.iter().for_each(|arrival| self.meet(now, arrival)),
            }
            rest = after;
        }
        self.send();
    }

    /// Opens what was received, where it lies. What is not as it was sealed can't be read any more.
    fn open(&mut self, slots: &mut Slots, used: usize) {
        for datagram in slots.datagrams_mut(used) {
            if !self.open_one(datagram) {
                datagram.fill(0);
            }
        }
    }

    /// Takes out what answers a client's knocks.
    fn hear_knocks(&mut self, now: Instant, slots: &mut Slots, used: usize) {
        let Some(route) = self.routes.values().next() else { return };
        let mut state = route.peer.lock();
        let Some(knocks) = &mut state.knocks else {
            self.is_knocking = false;
            return;
        };
        for datagram in slots.datagrams_mut(used) {
            if knocks.hear(now, datagram) {
                datagram.fill(0);
            }
        }
        route.peer.notify(&mut state);
    }

    /// Opens a datagram, if it is of a connection that is known: whether it may be read.
    fn open_one(&mut self, datagram: &mut [u8]) -> bool {
        match first_step(datagram) {
            Step::Drop => false,
            Step::Init => self.server.is_some(),
            Step::Reset => {
                self.server.is_none() && self.key.as_ref().is_some_and(|key| open_reset(key, datagram))
            }
            Step::Welcome(cid) => {
                let Some(route) = self.routes.get_mut(&cid) else { return false };
                let echo = datagram.get(field::ECHO).and_then(<[u8]>::first_chunk).copied();
                if !echo.is_some_and(|echo| route.peer.lock().conn.has_asked(u64::from_be_bytes(echo))) {
                    return false;
                }
                let opener = route.peer.guard().and_then(|guard| guard.welcome(datagram));
                let is_welcome = opener.is_some();
                if is_welcome {
                    route.opener = opener;
                }
                is_welcome
            }
            Step::Open(cid) => match self.routes.get_mut(&cid) {
                Some(route) => route.opener.as_mut().is_some_and(|opener| opener.open(datagram)),
                // It may begin a connection.
                None => self.server.is_some(),
            },
        }
    }

    /// Gives a connection what came for it.
    fn feed(&mut self, now: Instant, cid: u32, group: &[Arrival<'_>]) {
        let Some(route) = self.routes.get_mut(&cid) else { return };
        self.has_heard = true;
        self.checked = now;
        self.refused = 0;
        let peer = Arc::clone(&route.peer);
        let is_served = !self.porch.contains(cid);
        let mut state = peer.lock();
        let before = state.inbox.deliveries();
        for arrival in group.iter().filter(|arrival| !arrival.is_sealed) {
            let received = state.conn.handle(now, arrival.at, arrival.from, &arrival.packet, arrival.len());
            let (chunk, what, payload, end) = match received {
                Received::Nothing => continue,
                // Before it has greeted there is nobody to take it.
                _ if !is_served => continue,
                Received::Datagram(payload) => {
                    state.datagrams.push(arrival.stamp, payload);
                    continue;
                }
                Received::Plain { .. } if state.inbox.is_full() => continue,
                Received::Part { chunk, unit, payload } => {
                    (chunk, What::Part(unit), payload, arrival.end - CRC_LEN)
                }
                Received::Plain { chunk, payload, intact } => {
                    (chunk, What::Plain { intact }, payload, arrival.end)
                }
            };
            if arrival.dense {
                state.inbox.keep(arrival.block, chunk, what, end - payload.len()..end);
            } else {
                state.inbox.copy(chunk, what, payload);
            }
        }
        state.inbox.settle(before);
        if let Some(last) =
            group.last().filter(|last| state.local.is_some() && last.from == state.conn.remote())
        {
            state.local = last.to;
        }
        state.poll_transmit(now, &mut self.outbox);
        route.arm_locked(&mut self.timers, &mut state);
        peer.notify(&mut state);
        drop(state);
        if !is_served {
            self.review(now, cid, group.iter().map(Arrival::len).sum());
        }
    }

    /// Looks at one that nobody serves yet, after so many more bytes came from it.
    fn review(&mut self, now: Instant, cid: u32, came: usize) {
        let Some(route) = self.routes.get(&cid) else { return };
        let (has_spoken, is_over) = {
            let state = route.peer.lock();
            (state.conn.has_message(), state.conn.end().is_some())
        };
        if has_spoken {
            self.porch.remove(cid);
            if let Some(server) = &self.server {
                server.introduce(Arc::clone(&route.peer));
            }
            self.share_memory();
        } else if is_over || !self.porch.heard(cid, came) {
            self.dismiss(now, cid, None);
        }
    }

    /// Ends a connection that nobody serves, and says why if it is worth it.
    fn dismiss(&mut self, now: Instant, cid: u32, why: Option<&str>) {
        self.porch.remove(cid);
        let Some(route) = self.routes.remove(&cid) else { return };
        if let Some(timer) = route.timer {
            self.timers.remove(&(timer, cid));
        }
        let mut state = route.peer.lock();
        state.conn.close(0, "");
        state.poll_transmit(now, &mut self.outbox);
        let peer = state.conn.remote();
        self.closed.add(now, cid, std::mem::take(&mut state.farewell), peer);
        if let (Some(server), Some(why)) = (&self.server, why) {
            server.turned_away(peer, why);
        }
    }

    /// Judges a packet of nobody that is known.
    fn meet(&mut self, now: Instant, arrival: &Arrival<'_>) {
        if let Some(cid) = arrival.cid() {
            // The packet before this one may have been the first of the same client.
            if let Some(route) = self.routes.get_mut(&cid) {
                let late = match &mut route.opener {
                    Some(opener) if arrival.is_sealed => Late::open(arrival, opener),
                    _ if arrival.is_sealed => None,
                    _ => return self.feed(now, cid, std::slice::from_ref(arrival)),
                };
                if let Some(opened) = late.as_ref().and_then(|late| late.arrival(arrival)) {
                    self.feed(now, cid, &[opened]);
                }
                return;
            }
            match (self.closed.answer(now, cid, arrival.from), &mut self.server) {
                (Some(Answer::Last(last)), Some(server)) => {
                    self.outbox.bytes().extend_from_slice(last);
                    self.outbox.end(arrival.from, server.own_address(arrival));
                    return;
                }
                (Some(Answer::Reset), Some(server)) => return server.reset(now, arrival, &mut self.outbox),
                (Some(_), _) => return,
                (None, _) => {}
            }
        }
        let Some(server) = &mut self.server else {
            // A Reset is for the only connection that a client's socket has. Clients send none themselves.
            let only = self.routes.keys().next().copied();
            if let (Packet::Reset { .. }, Some(cid)) = (arrival.packet, only) {
                self.feed(now, cid, std::slice::from_ref(arrival));
            }
            return;
        };
        if server.has_key() && self.closed.is_full(now) {
            return;
        }
        let Some(Met { peer, opened }) = server.meet(now, arrival, &mut self.outbox) else { return };
        let cid = peer.cid();
        let (opener, late) = opened.unzip();
        self.routes.insert(cid, Route { peer: Arc::clone(&peer), timer: None, opener });
        let moved = self.porch.add(now, cid, origin(arrival.from.ip()));
        moved.into_iter().for_each(|cid| self.dismiss(now, cid, Some(CROWDED_OUT)));
        match &late {
            Some(late) => late.arrival(arrival).into_iter().for_each(|opened| self.feed(now, cid, &[opened])),
            None => self.feed(now, cid, std::slice::from_ref(arrival)),
        }
    }

    /// Gives each connection its share of what may wait for the sessions.
    fn share_memory(&self) {
        if self.server.is_some() {
            let served = self.routes.len() - self.porch.len();
            let share = (WINDOW / served.max(1) as u64).max(LEAST_WINDOW);
            self.routes.values().for_each(|route| route.peer.lock().share = share);
        }
    }

    fn fire_timers(&mut self) {
        let now = Instant::now();
        if self.server.is_none() && now.saturating_duration_since(self.checked) >= SILENCE {
            self.checked = now;
            // Where that fails there is no network now; it is tried again.
            let _ = self.hub.port().follow_address();
        }
        self.porch.overdue(now).into_iter().for_each(|cid| self.dismiss(now, cid, Some(TOO_SLOW)));
        let later = self.timers.split_off(&(now, u32::MAX));
        for (_, cid) in std::mem::replace(&mut self.timers, later) {
            let Some(route) = self.routes.get_mut(&cid) else { continue };
            route.timer = None;
            let peer = Arc::clone(&route.peer);
            let mut state = peer.lock();
            state.armed = None;
            if state.conn.timeout().is_some_and(|timeout| timeout <= now) {
                state.conn.handle_timeout(now);
                state.poll_transmit(now, &mut self.outbox);
                peer.notify(&mut state);
            }
            route.arm_locked(&mut self.timers, &mut state);
            drop(state);
            if self.porch.contains(cid) {
                self.review(now, cid, 0);
            }
        }
        self.send();
    }

    /// Sends what has gathered.
    fn send(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        let outcome = self.outbox.send(self.hub.port());
        for (to, len) in outcome.too_big {
            for route in self.routes.values() {
                let mut state = route.peer.lock();
                if state.conn.remote() == to {
                    state.too_big(len);
                }
            }
        }
        if outcome.refused {
            self.note_refused();
        }
    }

    /// Takes note that the kernel says that nobody listens at the other end. Once may be left over from the past.
    fn note_refused(&mut self) {
        self.refused += 1;
        if self.has_heard && self.refused < MOST_REFUSED {
            return;
        }
        for route in self.routes.values() {
            let mut state = route.peer.lock();
            state.broken.get_or_insert(io::ErrorKind::ConnectionRefused);
            route.peer.notify(&mut state);
        }
    }
}

impl Route {
    /// Sees to it that its timer goes off when the connection wants it to, or earlier.
    fn arm(&mut self, timers: &mut BTreeSet<(Instant, u32)>) {
        let peer = Arc::clone(&self.peer);
        self.arm_locked(timers, &mut peer.lock());
    }

    fn arm_locked(&mut self, timers: &mut BTreeSet<(Instant, u32)>, state: &mut super::peer::State) {
        let timeout = state.conn.timeout();
        // One that goes off too early is only looked at in vain; moving it each time would cost more.
        if let Some(timeout) = timeout
            && self.timer.is_none_or(|timer| timeout < timer)
        {
            if let Some(timer) = self.timer.replace(timeout) {
                timers.remove(&(timer, self.peer.cid()));
            }
            timers.insert((timeout, self.peer.cid()));
        }
        state.armed = self.timer;
    }
}
