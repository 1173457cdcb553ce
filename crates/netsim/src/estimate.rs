//! Whether a run gave what was asked of it.

/// How often something happened, beside how often it was asked to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// How often it happened.
    pub hits: u64,
    /// How often it could have.
    pub trials: u64,
    /// The probability that was asked for.
    pub asked: f64,
    /// The lowest probability that this could well have come from, at 99 % confidence.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

impl Estimate {
    /// Of `hits` in `trials`. `inflation` is how much wider than that of independent trials their variance is: 1 for
    /// independent ones, [`Loss::inflation`](crate::Loss::inflation) for losses.
    #[must_use]
    pub fn new(hits: u64, trials: u64, asked: f64, inflation: f64) -> Self {
        // Wilson's interval, of as many independent trials as these are worth.
        let count = trials as f64 / inflation.max(f64::MIN_POSITIVE);
        let (low, high) = if trials == 0 {
            (0.0, 1.0)
        } else {
            let share = hits as f64 / trials as f64;
            let square = WIDTH * WIDTH / count;
            let middle = share + square / 2.0;
            let half = (square * (share * (1.0 - share) + square / 4.0)).sqrt();
            // At the ends the exact bound is the end; rounding must not exclude it.
            let low = if hits == 0 { 0.0 } else { (middle - half) / (1.0 + square) };
            let high = if hits == trials { 1.0 } else { (middle + half) / (1.0 + square) };
            (low, high)
        };
        Self { hits, trials, asked, low, high }
    }

    /// The share that was given, if there was a trial.
    #[must_use]
    pub fn given(&self) -> Option<f64> {
        (self.trials > 0).then(|| self.hits as f64 / self.trials as f64)
    }

    /// Whether what was asked for lies in the interval.
    #[must_use]
    pub fn holds(&self) -> bool {
        (self.low..=self.high).contains(&self.asked)
    }
}

/// Half the width of a 99 % interval, in standard deviations.
const WIDTH: f64 = 2.575_829_3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_known_cases() {
        let estimate = Estimate::new(50, 1000, 0.05, 1.0);
        assert!(
            (estimate.low - 0.0351).abs() < 0.0005 && (estimate.high - 0.0708).abs() < 0.0005,
            "{estimate:?}"
        );
        assert!(estimate.holds());
        assert!(!Estimate::new(50, 1000, 0.1, 1.0).holds());
        assert!(Estimate::new(50, 1000, 0.1, 10.0).holds());
        assert!(Estimate::new(0, 100, 0.0, 1.0).holds() && Estimate::new(100, 100, 1.0, 1.0).holds());
        assert!(Estimate::new(0, 0, 0.5, 1.0).holds() && Estimate::new(0, 0, 0.5, 1.0).given().is_none());
    }
}
