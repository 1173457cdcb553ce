//! A rate that the user has given.

use std::time::Duration;

use super::{AckSample, Controller, PACKET};

/// Sends at one rate. What is lost is sent again within it.
#[derive(Debug)]
pub(crate) struct Fixed {
    rate: f64,
    smoothed_rtt: Duration,
}

impl Fixed {
    /// One for so many bytes per second.
    pub(crate) const fn new(rate: f64) -> Self {
        Self { rate, smoothed_rtt: Duration::from_millis(500) }
    }
}

impl Controller for Fixed {
    fn on_ack(&mut self, sample: &AckSample) {
        self.smoothed_rtt = sample.smoothed_rtt;
    }

    fn pacing_rate(&self) -> f64 {
        self.rate
    }

    fn window(&self) -> u64 {
        // Only so that a path that has gone silent is not filled for ever.
        let seconds = self.smoothed_rtt.as_secs_f64() * 3.0 + 0.5;
        (self.rate * seconds + 10.0 * PACKET) as u64
    }

    fn state(&self) -> &'static str {
        "fixed"
    }
}
