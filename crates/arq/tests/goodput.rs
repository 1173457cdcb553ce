//! How fast files go through links of all kinds, in virtual time: `goodput.txt`, so that a change of the control law shows.
//!
//! `TANDEM_BLESS=1 cargo test --release -p arq --test goodput` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod simulation;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arq::Congestion;
use netsim::{Faults, Loss, Queue};
use simulation::{Scenario, World};

const RATE: f64 = 100e6;
/// The least that fits a queue, in bytes: four packets.
const LEAST_QUEUE: u64 = 6000;

/// One transfer.
#[derive(Debug, Clone, Copy)]
struct Cell {
    congestion: Congestion,
    loss: f64,
    rtt: f64,
    /// In bandwidth-delay products.
    queue: f64,
}

impl Cell {
    /// So many that the beginning is not all there is, and that all of it takes seconds.
    const fn bytes(self) -> u64 {
        match self.rtt as u32 {
            0..=1 => 2_000_000,
            2..=20 => 4_000_000,
            21..=100 => 12_000_000,
            _ => 30_000_000,
        }
    }

    /// The share of what the link leaves, the mean queue in round-trip times, and what the wire carried beyond what it had to.
    fn run(self) -> String {
        let bdp = RATE / 8.0 * self.rtt / 1000.0;
        let faults = Faults {
            rate: Some(RATE as u64),
            delay: Duration::from_secs_f64(self.rtt / 2000.0),
            queue: Some(Queue::Bytes(((bdp * self.queue) as u64).max(LEAST_QUEUE))),
            loss: if self.loss > 0.0 { Loss::Bernoulli(self.loss) } else { Loss::None },
            overhead: 28,
            ..Faults::default()
        };
        let mut scenario = Scenario::new(&faults, self.bytes());
        scenario.config.congestion = self.congestion;
        let report = World::new(scenario.clone(), 1).run();
        if !report.whole {
            return "not done".to_owned();
        }
        let share = report.share(&scenario, self.loss) * 100.0;
        let queue = report.mean_queue.as_secs_f64() * 1000.0 / self.rtt * 100.0;
        let wire = report.wire_bytes as f64 / scenario.bytes as f64 * (1.0 - self.loss);
        format!("{share:.0} {queue:.0} {wire:.2}")
    }
}

/// Runs them all, as many at a time as the machine can.
fn run_all(cells: &[Cell]) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![String::new(); cells.len()]);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = cell.run();
                    let at = cells.iter().position(|other| std::ptr::eq(other, cell)).unwrap();
                    results.lock().unwrap_or_else(PoisonError::into_inner)[at] = result;
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn table(congestion: Congestion, losses: &[f64], rtts: &[f64], queues: &[f64]) -> String {
    let mut cells = Vec::new();
    for &queue in queues {
        for &loss in losses {
            cells.extend(rtts.iter().map(|&rtt| Cell { congestion, loss, rtt, queue }));
        }
    }
    let mut results = run_all(&cells).into_iter();
    let mut text = String::new();
    for queue in queues {
        let name = format!("{congestion:?}").to_lowercase();
        let _ = write!(text, "\n{:<22}", format!("{name}, queue {queue} BDP"));
        for rtt in rtts {
            let _ = write!(text, "{:>14}", format!("{rtt} ms"));
        }
        text.push('\n');
        for loss in losses {
            let _ = write!(text, "{:<22}", format!("  loss {} %", loss * 100.0));
            for result in results.by_ref().take(rtts.len()) {
                let _ = write!(text, "{result:>14}");
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn goodput_is_as_it_was() {
    let mut text = String::from(
        "# Files over a link of 100 Mbit/s, in virtual time: 2, 4, 12 and 30 MB at 1, 20, 100 and 600 ms round-trip time,\n\
         # handshake and verdict included. Each cell: % of rate x (1 - loss), mean queue in % of the round-trip time,\n\
         # bytes on the wire / file x (1 - loss). The queue in bandwidth-delay products, at least 4 packets.\n\
         # TANDEM_BLESS=1 cargo test --release -p arq --test goodput\n",
    );
    let losses = [0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5];
    text += &table(Congestion::Bbr, &losses, &[1.0, 20.0, 100.0, 600.0], &[0.05, 0.25, 1.0]);
    text += &table(Congestion::Cubic, &[0.0, 0.001, 0.01], &[20.0, 100.0], &[0.25, 1.0]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goodput.txt");
    if std::env::var_os("TANDEM_BLESS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let mut differences = String::new();
    for (now, before) in text.lines().zip(expected.lines().chain(std::iter::repeat(""))) {
        if now != before {
            let _ = writeln!(differences, "- {before}\n+ {now}");
        }
    }
    assert!(text == expected, "goodput.txt is not as it was; TANDEM_BLESS=1 writes it anew:\n{differences}");
}
