//! A line of the table.

use std::fmt;

use super::Cost;

/// What was tried and what came of it.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done.
    pub attack: String,
    /// Over what: `tcp`, `udp`, or what else there was between.
    pub over: String,
    /// How many times.
    pub tried: u64,
    /// What was lost: that is empty, or the attack succeeded.
    pub lost: Vec<String>,
    /// What it cost the server.
    pub cost: Cost,
    /// What else is worth knowing.
    pub note: String,
}

/// The head of the table that rows are lines of.
pub const HEAD: &str = "\
| attack                                     | over | tried   | lost    | memory, growth  | CPU      | took    | note |
|--------------------------------------------|------|--------:|---------|----------------:|---------:|--------:|------|";

impl fmt::Display for Row {
    /// A line of the table, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attack, over, tried, lost, cost, note } = self;
        let lost = if lost.is_empty() { "nothing".to_owned() } else { lost.join("; ") };
        let mib = |kib: u64| kib as f64 / 1024.0;
        let memory = format!("{:.1}, +{:.1} MiB", mib(cost.peak), mib(cost.growth));
        let (cpu, took) = (cost.cpu.as_secs_f64(), cost.took.as_secs_f64());
        write!(
            f,
            "| {attack:<42} | {over:<4} | {tried:>7} | {lost:<7} | {memory:>15} | {cpu:>6.2} s | {took:>5.1} s | {note} |"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_fits_its_head() {
        let cost =
            Cost { peak: 9216, growth: 512, cpu: Duration::from_millis(20), took: Duration::from_secs(1) };
        let (attack, over) = ("another key".to_owned(), "tcp".to_owned());
        let mut row =
            Row { attack, over, tried: 200, lost: Vec::new(), cost, note: "0 bytes back".to_owned() };
        let line = row.to_string();
        let ends = |line: &str| line.match_indices('|').map(|(at, _)| at).take(8).collect::<Vec<_>>();
        assert_eq!(ends(&line), ends(HEAD));
        assert!(
            line.ends_with("| nothing |   9.0, +0.5 MiB |   0.02 s |   1.0 s | 0 bytes back |"),
            "{line}"
        );
        row.lost = vec!["a file".to_owned(), "an hour".to_owned()];
        assert!(row.to_string().contains("| a file; an hour |"));
    }
}
