//! A model of the path: how fast it is, how long it is, and whether a queue grows in it.
//!
//! In the line of draft-ietf-ccwg-bbr, with three differences, which `README.md` argues for:
//!
//! - The rate is that at which packets *leave the bottleneck*, measured by the receiver as the spacing of packets with
//!   numbers in a row. Loss behind the bottleneck does not lower it, nor does loss in front of it raise it.
//! - Loss is no signal at all, unless it rises with the rate while nothing else does (a policer).
//! - A queue that is ours is taken down at once; a queue that does not answer to what we do belongs to somebody else, and
//!   then the window is that of BBR.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{AckSample, Controller, INITIAL_PACKETS, PACKET, Round, Train};

/// Rounds that a rate is remembered for.
const RATE_ROUNDS: u64 = 10;
/// Time after which the least round-trip time must be seen again.
const MIN_RTT_LIFE: Duration = Duration::from_secs(10);
/// How long the path is left nearly empty to see it.
const PROBE_RTT_TIME: Duration = Duration::from_millis(100);
/// Gain while the rate is still unknown: doubles it each round (draft section 5.3.1).
const STARTUP_GAIN: f64 = 2.77;
/// Growth in a round below which the rate counts as found.
const FLAT_GROWTH: f64 = 1.3;
/// Growth after a probe from which on it is looked for anew.
const CLEAR_GROWTH: f64 = 1.15;
/// Gain that takes the queue of the start down.
const DRAIN_GAIN: f64 = 0.6;
/// Variation of the round-trip time from which on it is jitter.
const JITTER: Duration = Duration::from_millis(1);
/// A rate that is so much less, while a queue is there, replaces all that was seen before.
const NARROWER: f64 = 0.9;
/// The least that is sent in a round trip.
const LEAST_PACKETS: f64 = 4.0;
/// So many late acknowledgements in a row mean that a queue grows.
const LATE_ACKS: u32 = 4;
/// How far a train is trusted.
const TRAIN_GAIN: f64 = 1.0;
/// The same when there was only one.
const LONE_TRAIN_GAIN: f64 = 0.6;
/// The most bytes that the window has for lumps: a socket's buffer is not much more.
const MAX_LUMPS: f64 = 128.0 * 1024.0;
/// Gain of a probe for more.
const UP_GAIN: f64 = 1.25;
/// Rounds between two probes, the probe itself included.
const CYCLE_ROUNDS: u32 = 8;
/// Window, in bandwidth-delay products, on a path that is ours alone.
const ALONE_WINDOW: f64 = 1.5;
/// The same while the rate is looked for (the draft's 2).
const STARTUP_WINDOW: f64 = 2.0;
/// The same beside others: what is above 1 is how much of a queue, in round-trip times, is borne before we give way. Found by
/// trying, beside CUBIC and BBR of Linux.
const SHARED_WINDOW: f64 = 1.55;
/// The least time between two probes beside others, in seconds: CUBIC needs as long to come back from a loss (draft section
/// 5.3.3.8 has 2 to 3).
const SHARED_CYCLE: f64 = 3.0;
/// A round-trip time that is so much above the least is a queue.
const QUEUE_SHARE: f64 = 1.15;
/// And so much, in seconds, whatever the least is.
const QUEUE_SLACK: f64 = 0.002;
/// Gain of a probe where the last one found nothing.
const LOW_UP_GAIN: f64 = 1.1;
/// How much more (or less) must be sent than usual for the answer of the path to count.
const CLEAR_CHANGE: f64 = 0.15;
/// Loss below which nobody looks for a policer.
const POLICED_LOSS: f64 = 0.03;
/// What is left of the rate when a policer was found.
const POLICED_GAIN: f64 = 0.85;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// Sending at the rate that a train has shown, until so many rounds have been seen.
    Trusting { rounds: u32 },
    /// Looking for the rate. What is sent now is seen a round trip later: `fresh` says that this gain is as new as that.
    Startup { fresh: bool, flat_rounds: u32 },
    /// Taking the queue of the start down, since then.
    Drain { since: Instant },
    /// Probing for more, since then.
    Up { since: Instant },
    /// Taking the queue of the probe down.
    Down { since: Instant },
    /// Sending as fast as packets leave, for so many more rounds. `first` is the first of them.
    Cruise { rounds: u32, first: bool },
    /// Leaving the path nearly empty until then.
    ProbeRtt { until: Option<Instant> },
}

#[derive(Debug)]
pub(crate) struct Bbr {
    mode: Mode,
    rates: VecDeque<(u64, f64)>,
    round: u64,
    rate: f64,
    min_rtt: Option<(Duration, Instant)>,
    /// How much the round-trip time varies.
    variation: Duration,
    /// Whether a train has shown the rate.
    has_train: bool,
    /// Gain for the next packets.
    gain: f64,
    /// Cycles in a row after which a queue was still there though ours was taken down.
    stuck: u32,
    /// Whether somebody else keeps the queue full.
    shared: bool,
    /// Acknowledgements in a row that were late while the rate was looked for.
    late_acks: u32,
    /// What is usual: slots and deliveries per second.
    usual: Option<(f64, f64)>,
    /// The least round-trip time right after our own queue was taken down: what is above the least of all belongs to others,
    /// or to the path.
    drained_rtt: Option<Duration>,
    /// Whether the last probe found nothing.
    futile: bool,
    /// The rate when the last round ended.
    rate_at_round: f64,
    /// The rate when the last probe began.
    rate_before_up: f64,
    cycle: u64,
}

impl Bbr {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            mode: Mode::Startup { fresh: true, flat_rounds: 0 },
            rates: VecDeque::new(),
            round: 0,
            rate: INITIAL_PACKETS * PACKET / 0.1,
            min_rtt: None,
            variation: Duration::ZERO,
            has_train: false,
            gain: STARTUP_GAIN,
            stuck: 0,
            shared: false,
            late_acks: 0,
            usual: None,
            drained_rtt: None,
            futile: false,
            rate_at_round: f64::INFINITY,
            rate_before_up: 0.0,
            cycle: seed,
        }
    }

    fn min_rtt(&self) -> Duration {
        self.min_rtt.map_or(Duration::from_millis(100), |(rtt, _)| rtt)
    }

    /// The bandwidth-delay product, bytes.
    fn bdp(&self) -> f64 {
        let rtt = if self.is_jittery() { self.path_rtt() } else { self.min_rtt() };
        self.rate * rtt.as_secs_f64()
    }

    /// Whether the delay of the path itself varies so much that its least value says little.
    fn is_jittery(&self) -> bool {
        let above = self.path_rtt().saturating_sub(self.min_rtt());
        self.variation >= JITTER && self.variation * 8 >= above
    }

    /// Whether this round-trip time shows a queue of ours.
    fn is_queued(&self, rtt: Duration) -> bool {
        rtt.as_secs_f64() > self.path_rtt().as_secs_f64() * QUEUE_SHARE + QUEUE_SLACK
    }

    /// The round-trip time without a queue of ours.
    fn path_rtt(&self) -> Duration {
        self.drained_rtt.unwrap_or_default().max(self.min_rtt())
    }

    /// Whether this round-trip time shows any queue.
    fn is_late(&self, rtt: Duration) -> bool {
        rtt.as_secs_f64() > self.min_rtt().as_secs_f64() * QUEUE_SHARE + QUEUE_SLACK
    }

    fn take_rtt(&mut self, now: Instant, rtt: Duration) {
        let is_less = self.min_rtt.is_none_or(|(min, _)| rtt <= min + min / 50);
        match &mut self.min_rtt {
            Some((min, at)) if is_less => {
                *min = rtt.min(*min);
                *at = now;
            }
            Some(_) => {}
            None => self.min_rtt = Some((rtt, now)),
        }
    }

    /// The rate that a round has shown: slots at the bottleneck, unless what arrives says that they are more than it passes.
    ///
    /// A bottleneck with a queue shows no more slots than it has. A policer shows each packet that it lets through where it
    /// was; but when more is sent, no more arrives, and random loss is not like that.
    fn rate_of(&mut self, round: &Round) -> f64 {
        let mut slots = round.slot_rate.unwrap_or(round.delivery_rate);
        if self.is_jittery() && !self.is_queued(round.min_rtt) {
            // Jitter stretches the spacing. What was sent and caused no queue was not too much.
            let packets = (round.acked_packets + round.lost_packets).max(1) as f64;
            let sent = round.delivery_rate * packets / round.acked_packets.max(1) as f64;
            slots = slots.max(sent.min(self.rate));
        }
        let Some((usual_slots, usual_delivery)) = self.usual.filter(|_| !round.app_limited) else {
            self.usual = (!round.app_limited).then_some((slots, round.delivery_rate));
            return slots;
        };
        let change = slots / usual_slots - 1.0;
        let answer = round.delivery_rate / usual_delivery - 1.0;
        if change.abs() < CLEAR_CHANGE || matches!(self.mode, Mode::Startup { .. } | Mode::Trusting { .. }) {
            let follow = |usual: f64, now: f64| usual + (now - usual) / 4.0;
            self.usual = Some((follow(usual_slots, slots), follow(usual_delivery, round.delivery_rate)));
        }
        let packets = (round.acked_packets + round.lost_packets).max(1);
        let is_lossy = round.lost_packets as f64 > packets as f64 * POLICED_LOSS;
        if change > CLEAR_CHANGE && answer < change / 3.0 && is_lossy && !self.is_queued(round.min_rtt) {
            self.rates.clear();
            self.usual = None;
            return self.rate * POLICED_GAIN;
        }
        slots
    }

    fn take_round(&mut self, sample: &AckSample, round: &Round) {
        self.round += 1;
        let rate = self.rate_of(round);
        if round.app_limited && rate < self.rate {
            return;
        }
        let before = self.rate_at_round;
        if !self.shared && rate < self.rate * NARROWER && self.is_queued(round.min_rtt) {
            // Slots do not lie while there is a queue: the path has become narrower, whatever was seen before.
            self.rates.clear();
        }
        self.rates.push_back((self.round, rate));
        let oldest = self.round.saturating_sub(RATE_ROUNDS);
        self.rates.retain(|(round, _)| *round > oldest);
        self.rate = self.rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        self.rate_at_round = self.rate;
        match self.mode {
            Mode::Startup { fresh, flat_rounds } => {
                self.go_on_starting(sample, round, self.rate / before, fresh, flat_rounds);
            }
            Mode::Trusting { rounds: 0 } => self.probe_up(sample.now, UP_GAIN),
            Mode::Trusting { rounds } => self.mode = Mode::Trusting { rounds: rounds - 1 },
            _ => {}
        }
    }

    fn go_on_starting(&mut self, sample: &AckSample, round: &Round, growth: f64, fresh: bool, flat: u32) {
        if fresh {
            self.mode = Mode::Startup { fresh: false, flat_rounds: flat };
            return;
        }
        let enough = if self.is_queued(round.min_rtt) { 1 } else { 2 };
        let flat = if growth < FLAT_GROWTH { flat + 1 } else { 0 };
        self.mode = Mode::Startup { fresh: false, flat_rounds: flat };
        if flat >= enough {
            self.drain(sample);
        }
    }

    fn drain(&mut self, sample: &AckSample) {
        self.late_acks = 0;
        self.mode = Mode::Drain { since: sample.now };
        self.gain = DRAIN_GAIN;
        self.leave_if_drained(sample);
    }

    fn probe_up(&mut self, now: Instant, gain: f64) {
        self.rate_before_up = self.rate;
        self.mode = Mode::Up { since: now };
        self.gain = gain;
    }

    fn leave_if_drained(&mut self, sample: &AckSample) {
        if sample.in_flight as f64 <= self.bdp() {
            self.rate_before_up = self.rate;
            self.cruise();
        }
    }

    fn cruise(&mut self) {
        // Flows that share a path shall not probe at the same time.
        self.cycle =
            self.cycle.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let draw = (self.cycle >> 33) as u32;
        let rounds = if self.shared {
            let seconds = SHARED_CYCLE * (1.0 + f64::from(draw % 1000) / 2000.0);
            ((seconds / self.path_rtt().as_secs_f64().max(0.001)) as u32).clamp(CYCLE_ROUNDS - 3, 63)
        } else {
            CYCLE_ROUNDS - 3 + draw % 3
        };
        self.mode = Mode::Cruise { rounds, first: true };
        self.gain = 1.0;
    }

    fn step(&mut self, sample: &AckSample) {
        match self.mode {
            Mode::Startup { .. } => {
                let is_late =
                    |rtt: Duration| rtt.as_secs_f64() > self.path_rtt().as_secs_f64() * 1.25 + 0.004;
                match sample.rtt {
                    Some(rtt) if is_late(rtt) => self.late_acks += 1,
                    Some(_) => self.late_acks = 0,
                    None => {}
                }
                if self.late_acks >= LATE_ACKS {
                    self.drain(sample);
                }
            }
            Mode::Trusting { .. } => {}
            Mode::Drain { since } => {
                self.leave_if_drained(sample);
                if sample.now.saturating_duration_since(since) > sample.smoothed_rtt * 3 {
                    // What is still on its way is no queue of ours.
                    self.cruise();
                }
            }
            Mode::Up { since } => {
                let lasted = sample.now.saturating_duration_since(since);
                let full = sample.in_flight as f64 >= self.bdp() * self.gain;
                if lasted >= self.path_rtt() && (full || lasted >= self.path_rtt() * 2) {
                    self.mode = Mode::Down { since: sample.now };
                    // As much below as it was above.
                    self.gain = 2.0 - self.gain;
                }
            }
            Mode::Down { since } => {
                let lasted = sample.now.saturating_duration_since(since);
                if sample.in_flight as f64 <= self.bdp() || lasted >= self.path_rtt() * 2 {
                    self.cruise();
                }
            }
            Mode::Cruise { rounds, first } => {
                if let Some(round) = &sample.round {
                    self.cruise_on(sample, round, rounds, first);
                }
            }
            Mode::ProbeRtt { until } => {
                let low = sample.in_flight as f64 <= self.bdp() * 0.6;
                match until {
                    None if low => {
                        let time = PROBE_RTT_TIME.max(self.min_rtt());
                        self.mode = Mode::ProbeRtt { until: Some(sample.now + time) };
                    }
                    Some(until) if sample.now >= until => self.cruise(),
                    _ => {}
                }
            }
        }
    }

    fn cruise_on(&mut self, sample: &AckSample, round: &Round, rounds: u32, first: bool) {
        if first {
            self.drained_rtt = Some(round.min_rtt);
            let is_others = self.is_late(round.min_rtt) && !self.is_jittery();
            self.stuck = if is_others { self.stuck + 1 } else { 0 };
            self.shared = self.stuck >= 2;
        }
        if rounds == 0 {
            // What the last probe has found is known by now.
            self.futile = self.rate < self.rate_before_up * 1.05;
            let gain = if self.futile && !self.shared { LOW_UP_GAIN } else { UP_GAIN };
            self.probe_up(sample.now, gain);
            return;
        }
        self.mode = Mode::Cruise { rounds: rounds - 1, first: false };
        let queued = self.is_queued(round.min_rtt);
        if !queued && !self.shared && self.rate > self.rate_before_up * CLEAR_GROWTH {
            // The path took all of it. There may be much more.
            self.start_up();
            return;
        }
        let excess = round.min_rtt.as_secs_f64() / self.min_rtt().as_secs_f64();
        self.gain = match queued && !self.shared {
            true if excess > 1.4 => 0.8,
            true => 0.92,
            false => 1.0,
        };
    }

    fn start_up(&mut self) {
        self.rate_before_up = self.rate;
        self.mode = Mode::Startup { fresh: true, flat_rounds: 0 };
        self.gain = 2.0;
    }
}

impl Controller for Bbr {
    fn on_train(&mut self, train: &Train) {
        let Train { rate, span, is_confirmed, smoothed_rtt, min_rtt: rtt } = *train;
        if self.rates.is_empty() && matches!(self.mode, Mode::Startup { .. } | Mode::Trusting { .. }) {
            self.has_train = true;
            self.rate = rate * if is_confirmed { TRAIN_GAIN } else { LONE_TRAIN_GAIN };
            // Where the delay varies by as much as the train lasts, it may have been stretched: the rate is at least that.
            let is_sure = smoothed_rtt.saturating_sub(rtt) < span * 3 / 4;
            self.gain = if is_sure { 1.0 } else { 2.0 };
            self.mode = if is_sure {
                Mode::Trusting { rounds: 0 }
            } else {
                Mode::Startup { fresh: true, flat_rounds: 0 }
            };
            if self.min_rtt.is_none_or(|(min, _)| rtt < min) {
                self.min_rtt = self.min_rtt.map(|(_, at)| (rtt, at));
            }
        }
    }

    fn on_ack(&mut self, sample: &AckSample) {
        if let Some(rtt) = sample.rtt {
            if self.min_rtt.is_none() && !self.has_train {
                self.rate = INITIAL_PACKETS * PACKET / rtt.as_secs_f64().max(1e-4);
            }
            self.take_rtt(sample.now, rtt);
        }
        self.variation = sample.rtt_variation;
        if let Some(rate) = sample.recent_rate
            && matches!(self.mode, Mode::Startup { .. })
        {
            self.rate = self.rate.max(rate);
        }
        if let Some(round) = &sample.round {
            self.take_round(sample, round);
        }
        self.step(sample);
        let is_old =
            self.min_rtt.is_some_and(|(_, at)| sample.now.saturating_duration_since(at) > MIN_RTT_LIFE);
        if is_old && matches!(self.mode, Mode::Cruise { .. }) {
            self.mode = Mode::ProbeRtt { until: None };
            self.gain = 0.5;
            // What comes now is the least there is.
            self.min_rtt = Some((sample.rtt.unwrap_or(sample.smoothed_rtt), sample.now));
        }
    }

    fn pacing_rate(&self) -> f64 {
        // However little is measured: so many packets a round trip never hurt, and show more.
        (self.rate * self.gain).max(LEAST_PACKETS * PACKET / self.path_rtt().as_secs_f64().max(1e-4))
    }

    fn window(&self) -> u64 {
        let gain = match self.mode {
            Mode::Startup { .. } | Mode::Trusting { .. } => STARTUP_WINDOW,
            Mode::ProbeRtt { .. } => 0.5,
            _ if self.shared => SHARED_WINDOW,
            _ => ALONE_WINDOW,
        };
        // Acknowledgements come in lumps, and packets leave in lumps.
        let lumps = (self.rate * 0.004).min(MAX_LUMPS.max(self.rate * 0.001)) + 16.0 * PACKET;
        // What jitter holds back is no queue of ours.
        let jitter = self.rate * 4.0 * self.variation.as_secs_f64();
        (self.bdp() * gain + lumps + jitter.min(self.rate * self.path_rtt().as_secs_f64())) as u64
    }

    fn state(&self) -> &'static str {
        match self.mode {
            Mode::Startup { .. } => "startup",
            Mode::Trusting { .. } => "trusting",
            Mode::Drain { .. } => "drain",
            Mode::Up { .. } => "up",
            Mode::Down { .. } => "down",
            Mode::Cruise { .. } if self.shared => "cruise beside others",
            Mode::Cruise { .. } => "cruise",
            Mode::ProbeRtt { .. } => "probe rtt",
        }
    }
}
