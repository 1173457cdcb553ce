//! What is told at the end: what was asked, what was given, and how well netsim kept up.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netsim::{Direction, Estimate, FaultText, Faults, Reset};
use serde_json::{Value, json};

use super::emulator::Outcome;
use super::wire::Backend;

/// A run that is over.
#[derive(Debug)]
pub(super) struct Report {
    /// Without one it was a relay.
    pub(super) backend: Option<Backend>,
    pub(super) seed: u64,
    pub(super) time: Duration,
    pub(super) faults: [Faults; 2],
    pub(super) texts: [FaultText; 2],
    pub(super) outcomes: [Outcome; 2],
}

/// Handing packets over later than this spoils a run.
const LATE: Duration = Duration::from_millis(1);

/// The share of a run without any rest from which on netsim is called the bottleneck.
const RESTLESS: f64 = 0.05;

/// The share of a run without being let run from which on it is spoilt.
const STALLED: f64 = 0.01;

impl Report {
    /// Tells what was asked for; and always what spoilt the run.
    pub(super) fn tell(&self, stats: bool, json: Option<&Path>) -> Result<()> {
        if stats {
            for direction in Direction::BOTH {
                self.tell_direction(direction);
            }
        }
        let spoilt = self.spoilt();
        for reason in &spoilt {
            say!("spoilt: {reason}");
        }
        if stats && spoilt.is_empty() {
            say!("the emulator kept up");
        }
        if let Some(path) = json {
            let text = format!("{:#}\n", self.json());
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn tell_direction(&self, direction: Direction) {
        let outcome = &self.outcomes[direction as usize];
        let stats = &outcome.stats;
        say!(
            "{}: {} packets entered, {} bytes; {} were handed over, {} were still under way",
            name(direction),
            stats.entered,
            stats.entered_bytes,
            outcome.sent,
            outcome.under_way
        );
        for (fault, estimate) in self.estimates(direction) {
            let outside = if estimate.holds() { "" } else { "   asked for is outside" };
            say!(
                "  {fault:<8} asked {:>7}   given {:>7} ({} of {})   99 %: {} to {}{outside}",
                percent(estimate.asked),
                estimate.given().map_or_else(|| "-".to_owned(), percent),
                estimate.hits,
                estimate.trials,
                percent(estimate.low),
                percent(estimate.high),
            );
        }
        for (what, count) in [
            ("dropped in blackouts", stats.blacked_out),
            ("dropped by the full queue", stats.queue_dropped),
            ("that nothing could be done to (no payload to damage, no TCP to reset)", outcome.unspoilt),
        ] {
            if count > 0 {
                say!("  {count} {what}");
            }
        }
        let errors = &outcome.errors;
        say!(
            "  handed over late by {} ms (p50), {} ms (p99), {} ms (at most)",
            millis(errors.quantile(0.5)),
            millis(errors.quantile(0.99)),
            millis(errors.most())
        );
    }

    /// Each fault of chance that was asked for.
    fn estimates(&self, direction: Direction) -> Vec<(&'static str, Estimate)> {
        let (faults, stats) = (&self.faults[direction as usize], &self.outcomes[direction as usize].stats);
        let mut estimates = Vec::new();
        if let Some(loss) = faults.loss.expected() {
            estimates
                .push(("loss", Estimate::new(stats.lost, stats.loss_trials, loss, faults.loss.inflation())));
        }
        let mut add =
            |fault, hits, trials, asked| estimates.push((fault, Estimate::new(hits, trials, asked, 1.0)));
        if faults.duplicate > 0.0 {
            add("dup", stats.duplicated, stats.duplicate_trials, faults.duplicate);
        }
        if let Some(reorder) = faults.reorder {
            add("reorder", stats.reordered, stats.arrival_trials, reorder.probability);
        }
        if let Some(corrupt) = faults.corrupt {
            add("corrupt", stats.corrupted, stats.arrival_trials, corrupt.probability);
        }
        if let Some(Reset::Chance(chance)) = faults.reset {
            add("reset", stats.reset, stats.arrival_trials, chance);
        }
        estimates
    }

    /// What was netsim's own doing, in sentences.
    fn spoilt(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for direction in Direction::BOTH {
            let (outcome, name) = (&self.outcomes[direction as usize], name(direction));
            let restless = outcome.busy.without_rest();
            if restless.as_secs_f64() > RESTLESS * self.time.as_secs_f64() {
                reasons.push(format!(
                    "{name}: netsim was the bottleneck: it had no rest for {:.1} s of {:.1} s",
                    restless.as_secs_f64(),
                    self.time.as_secs_f64()
                ));
            }
            let stalls = outcome.stalls.total();
            if stalls.as_secs_f64() > STALLED * self.time.as_secs_f64() {
                reasons.push(format!("{name}: netsim was not let run for {} ms in all", millis(stalls)));
            }
            if outcome.overrun > 0 {
                reasons.push(format!(
                    "{name}: {} packets came faster than netsim fetched them, and were lost",
                    outcome.overrun
                ));
            }
            if outcome.refused > 0 {
                reasons.push(format!("{name}: the receiving end did not take {} packets", outcome.refused));
            }
            let late = outcome.errors.quantile(0.99);
            if late > LATE {
                reasons.push(format!(
                    "{name}: one packet in a hundred was handed over {} ms late or more",
                    millis(late)
                ));
            }
        }
        reasons
    }

    fn json(&self) -> Value {
        let direction = |direction: Direction| {
            let outcome = &self.outcomes[direction as usize];
            let stats = &outcome.stats;
            let estimates = self.estimates(direction).into_iter().map(|(fault, estimate)| {
                let value = json!({
                    "asked": estimate.asked, "given": estimate.given(), "low": estimate.low, "high": estimate.high,
                    "hits": estimate.hits, "trials": estimate.trials, "holds": estimate.holds(),
                });
                (fault.to_owned(), value)
            });
            json!({
                "asked": self.texts[direction as usize].to_string(),
                "entered": stats.entered, "entered_bytes": stats.entered_bytes,
                "lost": stats.lost, "queue_dropped": stats.queue_dropped, "blacked_out": stats.blacked_out,
                "duplicated": stats.duplicated, "reordered": stats.reordered, "corrupted": stats.corrupted,
                "reset": stats.reset, "unspoilt": outcome.unspoilt, "delivered": stats.delivered,
                "sent": outcome.sent, "refused": outcome.refused, "under_way": outcome.under_way,
                "overrun": outcome.overrun,
                "faults": estimates.collect::<serde_json::Map<_, _>>(),
                "late_ms": {
                    "p50": in_millis(outcome.errors.quantile(0.5)), "p99": in_millis(outcome.errors.quantile(0.99)),
                    "most": in_millis(outcome.errors.most()),
                },
                "stalled_s": outcome.stalls.total().as_secs_f64(),
                "without_rest_s": outcome.busy.without_rest().as_secs_f64(),
            })
        };
        json!({
            "backend": self.backend.map_or_else(|| "relay".to_owned(), |backend| backend.to_string()),
            "seed": self.seed,
            "seconds": self.time.as_secs_f64(),
            "up": direction(Direction::Up),
            "down": direction(Direction::Down),
            "spoilt": self.spoilt(),
        })
    }
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}

fn percent(share: f64) -> String {
    format!("{} %", rounded(share * 100.0))
}

/// Four digits of it, and no zeros behind them.
fn rounded(value: f64) -> String {
    let places = if value >= 10.0 { 2 } else { 3 };
    let text = format!("{value:.places$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn in_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn millis(time: Duration) -> String {
    rounded(in_millis(time))
}
