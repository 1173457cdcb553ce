//! When something has to happen though no packet comes.

use std::time::{Duration, Instant};

use super::{Connection, HALF_SECOND, Phase};
use crate::end::End;

/// When a first packet goes again, for the first six; twice that for ten more, then six times. It is 64 bytes, and where
/// half of all packets vanish only one in four is answered.
const INIT_INTERVAL: Duration = Duration::from_millis(30);
/// The longest time between two probes, unless the path is longer.
const MAX_BACKOFF: Duration = Duration::from_millis(200);
/// Probes that follow each other quickly while much is on its way: acknowledgements get lost in bursts, too.
const QUICK_PROBES: u32 = 16;
/// How often a small message is repeated before anything is known of its fate.
const MAX_REPEATS: u32 = 5;
/// The least time between two of them.
const MIN_REPEAT: Duration = Duration::from_millis(8);
/// Bytes that are sent between two words about how acknowledgements are wanted.
const POLICY_BYTES: f64 = 16.0 * 1460.0;
/// How long a connection may be silent before it says that it lives.
const KEEPALIVE: Duration = Duration::from_secs(8);

/// The clocks of a connection.
#[derive(Debug)]
pub(super) struct Timers {
    init: Option<Instant>,
    loss: Option<Instant>,
    mtu: Option<Instant>,
    policy: Option<Instant>,
    control: Option<Instant>,
    datagram: Option<Instant>,
    repeat: Option<Instant>,
    repeats: u32,
    ping: Option<Instant>,
    /// When the last packet that asks for an acknowledgement went.
    last_sent: Instant,
    last_heard: Instant,
    /// Probes without an answer.
    probes: u32,
    last_probe: Option<Instant>,
}

impl Timers {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            init: Some(now),
            loss: None,
            mtu: None,
            policy: None,
            control: None,
            datagram: None,
            repeat: None,
            repeats: 0,
            ping: None,
            last_sent: now,
            last_heard: now,
            probes: 0,
            last_probe: None,
        }
    }

    pub(super) fn init_due(&self, now: Instant) -> bool {
        self.init.is_some_and(|at| at <= now)
    }

    pub(super) fn init_sent(&mut self, now: Instant, count: u32) {
        self.init = Some(
            now + INIT_INTERVAL
                * if count <= 6 {
                    1
                } else if count <= 16 {
                    2
                } else {
                    6
                },
        );
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    pub(super) const fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub(super) fn is_quiet(&self, now: Instant, so_long: Duration) -> bool {
        now.saturating_duration_since(self.last_sent) >= so_long
    }

    pub(super) const fn acknowledged(&mut self) {
        self.probes = 0;
        self.last_probe = None;
    }

    pub(super) const fn set_loss(&mut self, at: Option<Instant>) {
        self.loss = at;
    }

    pub(super) const fn ping(&mut self, at: Instant) {
        self.ping = Some(at);
    }

    pub(super) fn take_ping(&mut self, now: Instant) -> bool {
        let is_due = self.ping.is_some_and(|at| at <= now);
        if is_due {
            self.ping = None;
        }
        is_due
    }

    pub(super) const fn probe_mtu(&mut self, now: Instant) {
        self.mtu = Some(now);
    }

    pub(super) const fn set_mtu(&mut self, at: Option<Instant>) {
        self.mtu = at;
    }

    pub(super) fn mtu_due(&self, now: Instant) -> bool {
        self.mtu.is_none_or(|at| at <= now)
    }

    /// Whether the receiver is to be told again what is wanted of it, at this rate: not so often that it costs a lot of it.
    pub(super) fn policy_due(&self, now: Instant, rtt: Duration, rate: f64) -> bool {
        let packets = Duration::from_secs_f64(POLICY_BYTES / rate.max(POLICY_BYTES));
        let wait = (rtt / 2).max(Duration::from_millis(2)).max(packets);
        // Where nothing is answered, the probes are enough.
        self.probes == 0 && self.policy.is_none_or(|at| now.saturating_duration_since(at) >= wait)
    }

    pub(super) const fn policy_sent(&mut self, now: Instant) {
        self.policy = Some(now);
    }

    pub(super) const fn pace_control(&mut self, at: Instant) {
        self.control = Some(at);
    }

    pub(super) const fn pace_datagram(&mut self, at: Instant) {
        self.datagram = Some(at);
    }

    pub(super) const fn datagram_sent(&mut self) {
        self.datagram = None;
    }

    /// A message was given: its pieces may be repeated.
    pub(super) const fn repeat_control(&mut self, _now: Instant) {
        self.repeats = 0;
    }

    pub(super) const fn control_sent(&mut self, now: Instant) {
        self.control = None;
        self.repeat = Some(now);
    }

    /// Whether the oldest message is to be repeated now.
    pub(super) fn take_repeat(&mut self, now: Instant, rtt: Duration, may: bool) -> bool {
        let Some(sent) = self.repeat else { return false };
        let is_due = now.saturating_duration_since(sent) >= (rtt / 8).max(MIN_REPEAT);
        if !may || self.repeats >= MAX_REPEATS {
            self.repeat = None;
            return false;
        }
        if is_due {
            self.repeats += 1;
            self.repeat = Some(now);
        }
        is_due
    }

    /// The peer takes no more: asks it now and then whether that is still so. When to ask again.
    pub(super) fn ask_for_credit(&mut self, now: Instant, rtt: Duration) -> Instant {
        let wait = rtt.clamp(Duration::from_millis(20), HALF_SECOND);
        let at = self.last_sent.max(self.last_heard) + wait;
        if at <= now && self.ping.is_none() {
            self.ping = Some(now);
        }
        at.max(now + Duration::from_millis(1))
    }
}

impl Connection {
    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        let timers = &self.timers;
        let idle = timers.last_heard + self.config.idle_limit;
        match self.phase {
            Phase::Over { .. } => return None,
            Phase::Init { .. } => return [timers.init, Some(idle)].into_iter().flatten().min(),
            Phase::Connecting { .. } | Phase::Open => {}
        }
        let waits_for_mtu = self.is_bulk.then_some(timers.mtu).flatten();
        // What waits to be sent at all goes before what is repeated.
        let is_sent = !self.control_out.is_acknowledged() && !self.control_out.has_pending();
        let repeats = is_sent && timers.repeats < MAX_REPEATS;
        let repeat = timers.repeat.filter(|_| repeats);
        let wait = (self.rtt.smoothed() / 8).max(MIN_REPEAT);
        let challenge = self
            .candidate
            .as_ref()
            .and_then(|candidate| candidate.due(timers.last_heard, self.rtt.smoothed()));
        [
            Some(idle),
            timers.loss,
            waits_for_mtu,
            timers.control,
            timers.datagram,
            repeat.map(|at| at + wait),
            timers.ping,
            self.received.deadline(timers.last_heard),
            self.trains.deadline(),
            self.probe_deadline(),
            challenge,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When the silence of the peer has to be questioned.
    fn probe_deadline(&self) -> Option<Instant> {
        let timers = &self.timers;
        if self.sent.in_flight_packets() == 0 {
            return Some(timers.last_sent.max(timers.last_heard) + KEEPALIVE);
        }
        let slow = self.rtt.probe_timeout(Duration::from_millis(10));
        let quick = (self.rtt.smoothed() / 8).max(Duration::from_millis(5));
        let wait = match timers.probes {
            0 => slow,
            1..QUICK_PROBES if self.sent.in_flight_packets() > 64 => quick,
            probes => (slow * 2_u32.pow(probes.min(4))).min(MAX_BACKOFF.max(self.rtt.smoothed())),
        };
        Some(timers.last_probe.unwrap_or(timers.last_sent) + wait)
    }

    /// Does what is due. Call [`Self::poll_transmit`] after it.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        if now.saturating_duration_since(self.timers.last_heard) >= self.config.idle_limit {
            self.say_goodbye(0, "silence");
            self.end = Some(End::Silent(self.config.idle_limit));
            return;
        }
        if !self.is_established() {
            return;
        }
        if self.timers.loss.is_some_and(|at| at <= now) {
            self.lose_overdue(now);
        }
        if self.timers.control.is_some_and(|at| at <= now) {
            self.timers.control = None;
        }
        if self.timers.datagram.is_some_and(|at| at <= now) {
            self.timers.datagram = None;
        }
        if self.probe_deadline().is_some_and(|at| at <= now) {
            self.timers.probes += 1;
            self.timers.last_probe = Some(now);
            self.timers.ping = Some(now);
            if self.sent.in_flight_packets() > 0 {
                self.resend_oldest_message();
                if self.timers.probes >= 2 {
                    self.controller.on_silence(now);
                }
            }
        }
    }

    /// A probe may as well carry the message that is waited for.
    fn resend_oldest_message(&mut self) {
        if let Some(piece) = self.control_out.oldest_piece(1000) {
            self.control_out.lose(piece);
        }
    }
}
