//! CUBIC (RFC 9438) with HyStart-like leave of slow start by delay (RFC 9406), paced.

use std::time::{Duration, Instant};

use super::{AckSample, Controller, INITIAL_PACKETS, PACKET, Train};

/// Multiplicative decrease (RFC 9438 section 4.6).
const BETA: f64 = 0.7;
/// How fast the window grows, in packets per cubic second (RFC 9438 section 5.1).
const C: f64 = 0.4;
/// The least window, in packets.
const MIN_WINDOW: f64 = 4.0;

/// The window in packets of [`PACKET`] bytes.
#[derive(Debug)]
pub(crate) struct Cubic {
    window: f64,
    slow_start_threshold: f64,
    max_window: f64,
    epoch: Option<Instant>,
    /// Seconds from the epoch until the window is at its old maximum again.
    k: f64,
    /// What Reno would have (RFC 9438 section 4.3).
    reno: f64,
    recovery_start: Option<Instant>,
    smoothed_rtt: Duration,
    min_rtt: Option<Duration>,
}

impl Cubic {
    pub(crate) const fn new() -> Self {
        Self {
            window: INITIAL_PACKETS,
            slow_start_threshold: f64::INFINITY,
            max_window: 0.0,
            epoch: None,
            k: 0.0,
            reno: 0.0,
            recovery_start: None,
            smoothed_rtt: Duration::from_millis(100),
            min_rtt: None,
        }
    }

    fn on_congestion(&mut self, now: Instant) {
        self.recovery_start = Some(now);
        self.epoch = None;
        // Fast convergence (RFC 9438 section 4.7).
        self.max_window =
            if self.window < self.max_window { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.window = (self.window * BETA).max(MIN_WINDOW);
        self.slow_start_threshold = self.window;
    }

    fn grow(&mut self, now: Instant, acked: f64) {
        if self.window < self.slow_start_threshold {
            self.window += acked;
            return;
        }
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.max_window = self.max_window.max(self.window);
            self.k = cube_root((self.max_window - self.window) / C);
            self.reno = self.window;
            now
        });
        let t = (now.saturating_duration_since(epoch) + self.smoothed_rtt).as_secs_f64();
        let late = t - self.k;
        let target = (C * late * late * late + self.max_window).clamp(self.window, self.window * 1.5);
        self.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) * acked / self.window;
        self.window += (target - self.window) / self.window * acked;
        self.window = self.window.max(self.reno);
    }
}

/// By Newton's method: the platform's own may differ in the last bit from another platform's, and a run with it.
fn cube_root(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    (0..100).fold(x.max(1.0), |root, _| (2.0 * root + x / (root * root)) / 3.0)
}

impl Controller for Cubic {
    fn on_train(&mut self, train: &Train) {
        // Half of what the train saw: the other half is slow start's to find.
        let fits = train.rate * train.min_rtt.as_secs_f64() / PACKET;
        self.window = self.window.max(fits / 2.0);
    }

    fn on_ack(&mut self, sample: &AckSample) {
        self.smoothed_rtt = sample.smoothed_rtt;
        if let Some(rtt) = sample.rtt {
            let min = self.min_rtt.map_or(rtt, |min| min.min(rtt));
            self.min_rtt = Some(min);
            let threshold = min + (min / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
            if self.window < self.slow_start_threshold && rtt > threshold {
                self.slow_start_threshold = self.window;
            }
        }
        let in_recovery = self.recovery_start.is_some_and(|start| sample.newest_sent <= start);
        if sample.lost > 0 && !in_recovery {
            self.on_congestion(sample.now);
        } else if !in_recovery && sample.in_flight as f64 + sample.acked as f64 > self.window * PACKET / 2.0 {
            self.grow(sample.now, sample.acked as f64 / PACKET);
        }
    }

    fn on_silence(&mut self, now: Instant) {
        let waits =
            self.recovery_start.is_some_and(|start| now.saturating_duration_since(start) < self.smoothed_rtt);
        if !waits {
            self.on_congestion(now);
        }
    }

    fn pacing_rate(&self) -> f64 {
        let gain = if self.window < self.slow_start_threshold { 2.0 } else { 1.25 };
        gain * self.window * PACKET / self.smoothed_rtt.as_secs_f64().max(1e-6)
    }

    fn window(&self) -> u64 {
        (self.window * PACKET) as u64
    }

    fn state(&self) -> &'static str {
        if self.window < self.slow_start_threshold { "slow start" } else { "avoidance" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cube_root_is_one() {
        for root in [1e-3_f64, 0.5, 1.0, 3.0, 17.25, 1e4] {
            let found = cube_root(root * root * root);
            assert!((found / root - 1.0).abs() < 1e-12, "{found} for {root}");
        }
        assert_eq!((cube_root(0.0), cube_root(-1.0)), (0.0, 0.0));
    }
}
