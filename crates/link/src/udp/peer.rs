//! One connection, shared by the I/O thread and the session's thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arq::{Connection, End};
use framing::Refusal;
use seal::datagram::GROWTH;

use super::accept::WINDOW;
use super::datagrams::Datagrams;
use super::hub::{Hub, Request};
use super::inbox::Inbox;
use super::knock::Knocks;
use super::outbox::{Outbox, Outcome};
use super::sealed::Guard;
use crate::LinkError;

/// Bytes of parts that may wait here from a peer on this machine.
const NEAR_WINDOW: u64 = 4 << 20;
/// And how many more for each microsecond of the path: twice 10 Gbit/s.
const WINDOW_PER_MICRO: u64 = 2 * 1250;
/// What `arq` says of a path that it has not measured yet.
const UNKNOWN_RTT: Duration = Duration::from_millis(100);

/// A connection. The I/O thread feeds it what comes and keeps its timers; the session's thread waits on it.
#[derive(Debug)]
pub(super) struct Peer {
    cid: u32,
    guard: Option<Arc<Guard>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What both threads change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) conn: Connection,
    /// What its packets are sealed with, where there is a key.
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) inbox: Inbox,
    pub(super) datagrams: Datagrams,
    /// When the I/O thread will look after it; it must be told when that is too late.
    pub(super) armed: Option<Instant>,
    /// The address of ours that the peer knows, where this machine has several.
    pub(super) local: Option<IpAddr>,
    /// Why the socket can't reach the peer any more.
    pub(super) broken: Option<io::ErrorKind>,
    /// Bytes of parts that may wait here at most.
    pub(super) share: u64,
    /// On a client that has heard nothing of the server yet.
    pub(super) knocks: Option<Knocks>,
    /// The packet that told the peer that it is over.
    pub(super) farewell: Vec<u8>,
    /// Whether the session is to hear no more.
    pub(super) is_deaf: bool,
    /// Whether the session's thread waits for a change.
    waiting: bool,
}

/// Where datagrams go, and the address of ours that they come from, if it must be said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination {
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
}

impl State {
    /// Lets as much wait here as the path needs, within this connection's share: what is on its way in a round trip, twice
    /// over, at 10 Gbit/s; on a short path little, so that it stays in the processor's cache.
    ///
    /// What was promised to the peer stays promised, so while nothing is known of the path nothing changes, unless `now`.
    pub(super) fn adapt_window(&mut self, now: bool) {
        let rtt = self.conn.stats().min_rtt;
        let bytes = NEAR_WINDOW.saturating_add(rtt.as_micros() as u64 * WINDOW_PER_MICRO);
        if now || rtt != UNKNOWN_RTT {
            self.conn.set_window(bytes.min(self.share));
        }
    }

    pub(super) const fn destination(&self) -> Destination {
        Destination { to: self.conn.remote(), from: self.local }
    }

    /// Appends every datagram that is to go out now.
    pub(super) fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) {
        loop {
            let start = outbox.bytes().len();
            let Some(to) = self.conn.poll_transmit(now, outbox.bytes()) else { break };
            if let Some(guard) = &self.guard {
                guard.seal(outbox.bytes(), start);
                if outbox.bytes().len() == start {
                    continue;
                }
            }
            outbox.end(to, self.local);
            if self.conn.end().is_some() {
                self.farewell = outbox.last().to_vec();
            }
        }
    }

    /// Says that the socket does not send a datagram of this length.
    pub(super) fn too_big(&mut self, len: usize) {
        let growth = if self.guard.is_some() { GROWTH } else { 0 };
        self.conn.too_big(len.saturating_sub(growth));
    }

    /// Why the link is of no more use, if so.
    pub(super) fn end(&self) -> Option<LinkError> {
        if let Some(kind) = self.broken {
            return Some(LinkError::Broken(kind.into()));
        }
        self.conn.end().map(link_error)
    }
}

impl Peer {
    pub(super) fn new(conn: Connection, local: Option<IpAddr>, guard: Option<Guard>) -> Self {
        let cid = conn.cid();
        let guard = guard.map(Arc::new);
        let state = State {
            conn,
            guard: guard.clone(),
            inbox: Inbox::default(),
            datagrams: Datagrams::default(),
            armed: None,
            local,
            broken: None,
            share: WINDOW,
            knocks: None,
            farewell: Vec::new(),
            is_deaf: false,
            waiting: false,
        };
        Self { cid, guard, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// What its packets are sealed with, where there is a key.
    pub(super) fn guard(&self) -> Option<&Guard> {
        self.guard.as_deref()
    }

    /// The connection id that its datagrams carry.
    pub(super) const fn cid(&self) -> u32 {
        self.cid
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most until then.
    pub(super) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
    ) -> MutexGuard<'a, State> {
        state.waiting = true;
        let limit = deadline.saturating_duration_since(Instant::now());
        let (mut state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        state.waiting = false;
        state
    }

    /// Says that something has changed. Costs nothing while nobody waits.
    pub(super) fn notify(&self, state: &mut State) {
        if std::mem::take(&mut state.waiting) {
            self.changed.notify_all();
        }
    }

    /// Sends what is to go out now, and sees to it that the I/O thread looks after it in time.
    pub(super) fn flush(&self, hub: &Hub, outbox: &mut Outbox) {
        self.flush_locked(self.lock(), hub, outbox);
    }

    /// The same, of a state that is locked already.
    pub(super) fn flush_locked(&self, mut state: MutexGuard<'_, State>, hub: &Hub, outbox: &mut Outbox) {
        state.poll_transmit(Instant::now(), outbox);
        self.arm(&mut state, hub);
        drop(state);
        self.send(hub, outbox);
    }

    /// Tells the I/O thread when it must look after this connection earlier than it knows.
    pub(super) fn arm(&self, state: &mut State, hub: &Hub) {
        let Some(timeout) = state.conn.timeout() else { return };
        if state.armed.is_none_or(|armed| timeout < armed) {
            state.armed = Some(timeout);
            hub.request(Request::Arm(self.cid));
        }
    }

    /// Sends the datagrams.
    pub(super) fn send(&self, hub: &Hub, outbox: &mut Outbox) {
        if outbox.is_empty() {
            return;
        }
        let outcome = outbox.send(hub.port());
        self.take_outcome(hub, &outcome);
    }

    /// Takes note of how datagrams went out.
    pub(super) fn take_outcome(&self, hub: &Hub, outcome: &Outcome) {
        for (_, len) in &outcome.too_big {
            self.lock().too_big(*len);
        }
        if outcome.refused {
            hub.request(Request::Refused);
        }
    }

    /// Ends the connection: tells the peer, and whoever waits on this side.
    pub(super) fn close(&self, hub: &Hub, outbox: &mut Outbox) {
        let mut state = self.lock();
        if state.conn.end().is_none() {
            state.conn.close(0, "");
            self.notify(&mut state);
        }
        self.flush_locked(state, hub, outbox);
    }
}

/// Why a connection is over, as the session is to hear it.
fn link_error(end: &End) -> LinkError {
    match end {
        End::Closed { code: 0, .. } | End::Ours => LinkError::Closed,
        End::Closed { reason, .. } => LinkError::Refused { refusal: Refusal::Protocol, text: reason.clone() },
        End::Silent(limit) => LinkError::Silent(*limit),
        End::Reset => LinkError::Broken(io::Error::new(io::ErrorKind::ConnectionReset, end.to_string())),
        End::Version(version) => LinkError::Version(*version),
        End::Misbehaved(what) => LinkError::Misbehaved(what.clone()),
    }
}
