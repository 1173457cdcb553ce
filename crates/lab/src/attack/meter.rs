//! What a program costs the machine, by `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// What something cost a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// The most memory it had, in KiB (`VmHWM`).
    pub peak: u64,
    /// How much more that was than it had before, in KiB.
    pub growth: u64,
    /// The time of a processor that it took, in hundredths of a second.
    pub cpu: Duration,
    /// How long it went on.
    pub took: Duration,
}

/// Measures what something costs a program, from now on.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    resident: u64,
    cpu: Duration,
    since: Instant,
}

impl Meter {
    /// Begins to measure the program of this process id. An error when it has ended.
    pub fn start(pid: u32) -> anyhow::Result<Self> {
        // Forgets the peak so far. Where that may not be, it counts as if it were of now, which is the safe side.
        let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        let resident = memory(pid, "VmRSS:")?;
        Ok(Self { pid, resident, cpu: cpu(pid)?, since: Instant::now() })
    }

    /// What was taken since. An error when the program has ended.
    pub fn cost(&self) -> anyhow::Result<Cost> {
        let peak = memory(self.pid, "VmHWM:")?;
        let growth = peak.saturating_sub(self.resident);
        let cpu = cpu(self.pid)?.saturating_sub(self.cpu);
        Ok(Cost { peak, growth, cpu, took: self.since.elapsed() })
    }
}

fn read(pid: u32, name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{name}");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

/// A size out of the status of a program, in KiB.
fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let size = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    size.with_context(|| format!("process {pid} has ended: it has no {name}"))
}

/// The time of a processor that all threads of a program took, those that have ended too.
fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = read(pid, "stat")?;
    // The name may hold anything, but the last parenthesis is its end.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("/proc/{pid}/stat has another form"))?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|time| time.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_seen() {
        let meter = Meter::start(std::process::id()).unwrap();
        let began = Instant::now();
        let mut block = vec![0_u8; 32 << 20];
        while meter.cost().unwrap().cpu < Duration::from_millis(20) {
            block.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
            assert!(began.elapsed() < crate::process::LIMIT, "no time is seen");
        }
        let cost = meter.cost().unwrap();
        assert!(cost.growth >= 32 << 10 && cost.peak > cost.growth, "{cost:?}");
        drop(block);
        assert!(Meter::start(u32::MAX).is_err());
    }
}
