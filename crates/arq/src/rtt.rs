//! Round-trip times (RFC 9002 section 5).

use std::time::Duration;

/// What is assumed before the first sample. Shorter than RFC 9002's 333 ms: a first packet is small and may go again soon.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// The finest step in which a clock is trusted.
const GRANULARITY: Duration = Duration::from_millis(1);

/// Estimates the round-trip time of a path.
#[derive(Debug, Clone)]
pub(crate) struct RttEstimator {
    first: Option<Duration>,
    latest: Duration,
    smoothed: Duration,
    variation: Duration,
    min: Duration,
    sum: Duration,
    samples: u32,
}

impl RttEstimator {
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            latest: INITIAL_RTT,
            smoothed: INITIAL_RTT,
            variation: Duration::from_millis(50),
            min: INITIAL_RTT,
            sum: Duration::ZERO,
            samples: 0,
        }
    }

    /// Takes a sample; `ack_delay` is what the receiver says that it waited before it answered.
    pub(crate) fn update(&mut self, sample: Duration, ack_delay: Duration) {
        self.latest = sample.saturating_sub(ack_delay).max(Duration::from_micros(1));
        let sample = self.latest;
        self.sum += sample;
        self.samples = self.samples.saturating_add(1);
        if self.first.is_none() {
            self.first = Some(sample);
            self.smoothed = sample;
            self.variation = sample / 2;
            self.min = sample;
            return;
        }
        self.min = self.min.min(sample);
        let deviation = self.smoothed.abs_diff(sample);
        self.variation = (self.variation * 3 + deviation) / 4;
        self.smoothed = (self.smoothed * 7 + sample) / 8;
    }

    pub(crate) const fn latest(&self) -> Duration {
        self.latest
    }

    pub(crate) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    pub(crate) const fn variation(&self) -> Duration {
        self.variation
    }

    pub(crate) const fn min(&self) -> Duration {
        self.min
    }

    pub(crate) fn mean(&self) -> Duration {
        if self.samples == 0 { self.smoothed } else { self.sum / self.samples }
    }

    /// When to ask again for an acknowledgement that has not come (RFC 9002 section 6.2.1).
    pub(crate) fn probe_timeout(&self, ack_delay: Duration) -> Duration {
        self.smoothed + (self.variation * 4).max(GRANULARITY) + ack_delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooths_as_rfc_9002_says() {
        let ms = Duration::from_millis;
        let mut rtt = RttEstimator::new();
        rtt.update(ms(100), ms(0));
        assert_eq!((rtt.smoothed(), rtt.variation, rtt.min()), (ms(100), ms(50), ms(100)));
        rtt.update(ms(190), ms(10));
        assert_eq!(rtt.smoothed(), ms(110));
        assert_eq!(rtt.variation, Duration::from_micros(57_500));
        assert_eq!(rtt.min(), ms(100));
        rtt.update(ms(60), ms(0));
        assert_eq!(rtt.min(), ms(60));
        assert_eq!(rtt.mean(), ms(340) / 3);
    }
}
