//! Pacing: bytes leave at the rate that the congestion control says, in small bursts.

use std::time::{Duration, Instant};

/// The most time that may be made up for when the sender comes late, in seconds: what a busy machine takes to wake a
/// thread, and still little beside a shallow queue.
const MAX_BURST_SECONDS: f64 = 0.004;
/// What a burst is worth when nothing is late, in seconds (the send quantum of draft-ietf-ccwg-bbr section 4.6.3).
const QUANTUM_SECONDS: f64 = 0.001;
/// The least of both, in bytes: two full packets.
const MIN_BURST: f64 = 3000.0;
/// The most bytes of a quantum: one batch for the kernel.
const MAX_QUANTUM: f64 = 64.0 * 1024.0;

/// A bucket of bytes that fills at the pacing rate.
#[derive(Debug, Clone)]
pub(crate) struct Pacer {
    /// Bytes that may go now; below zero after a burst.
    tokens: f64,
    filled: Option<Instant>,
}

impl Pacer {
    pub(crate) const fn new() -> Self {
        Self { tokens: 0.0, filled: None }
    }

    fn quantum(rate: f64) -> f64 {
        (rate * QUANTUM_SECONDS).clamp(MIN_BURST, MAX_QUANTUM)
    }

    fn refill(&mut self, now: Instant, rate: f64) {
        let Some(filled) = self.filled else {
            self.tokens = Self::quantum(rate);
            self.filled = Some(now);
            return;
        };
        let most = (rate * MAX_BURST_SECONDS).max(Self::quantum(rate));
        let more = now.saturating_duration_since(filled).as_secs_f64() * rate;
        self.tokens = (self.tokens + more).min(most);
        self.filled = Some(filled.max(now));
    }

    /// Whether something may go now, at `rate` bytes/s; else when.
    pub(crate) fn check(&mut self, now: Instant, rate: f64) -> Result<(), Instant> {
        self.refill(now, rate);
        if self.tokens > 0.0 {
            return Ok(());
        }
        let missing = Self::quantum(rate) / 2.0 - self.tokens;
        Err(now + Duration::from_secs_f64((missing / rate.max(1.0)).clamp(1e-6, 1.0)))
    }

    /// Takes note of bytes that went.
    pub(crate) const fn sent(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_rate_over_time() {
        let start = Instant::now();
        let mut now = start;
        let mut pacer = Pacer::new();
        let rate = 12_500_000.0;
        let mut sent = 0;
        while now < start + Duration::from_secs(1) {
            match pacer.check(now, rate) {
                Ok(()) => {
                    pacer.sent(1455);
                    sent += 1455;
                }
                Err(at) => now = at,
            }
        }
        assert!((f64::from(sent) - rate).abs() < rate * 0.005, "{sent}");
    }

    #[test]
    fn a_late_sender_makes_up_for_little() {
        let start = Instant::now();
        let mut pacer = Pacer::new();
        let mut burst = 0;
        assert!(pacer.check(start, 12_500_000.0).is_ok());
        while pacer.check(start + Duration::from_secs(5), 12_500_000.0).is_ok() {
            pacer.sent(1455);
            burst += 1455;
        }
        assert!(burst <= 50_000 + 1455, "{burst}");
    }
}
