//! A stream while it comes: a line on the terminal in which each packet has its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use framing::ChunkSet;
use indicatif::{MultiProgress, ProgressBar};
use session::{PacketKind, StreamPacket};

use crate::plain::Canvas;
use crate::{progress, units};

/// How often it is drawn anew.
const TICK: Duration = Duration::from_millis(50);
/// The most columns of the strip.
const WIDEST: usize = 64;
/// Columns below which there is no strip.
const NARROWEST: usize = 8;

/// The line.
#[derive(Debug)]
pub(super) struct Strip {
    multi: MultiProgress,
    bar: ProgressBar,
    seen: Arc<Mutex<Seen>>,
}

/// What has come.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    numbers: ChunkSet,
    /// Above the highest that came.
    reached: u64,
    /// When the last one was sent, and when it came.
    last: Option<(u64, u64)>,
    /// Nanoseconds (RFC 3550 section 6.4.1).
    jitter: f64,
}

impl Strip {
    pub(super) fn new(multi: &MultiProgress, count: u64) -> Self {
        let seen = Arc::new(Mutex::new(Seen { count, ..Seen::default() }));
        let drawn = seen.clone();
        let bar = multi.add(ProgressBar::new(count));
        bar.set_style(progress::style(move |_, out| {
            let _ = out.write_str(&lock(&drawn).line(progress::columns(), Canvas::stderr()));
        }));
        bar.enable_steady_tick(TICK);
        Self { multi: multi.clone(), bar, seen }
    }

    pub(super) fn packet(&self, packet: &StreamPacket) {
        lock(&self.seen).take(packet);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
        self.multi.remove(&self.bar);
    }
}

impl Seen {
    fn take(&mut self, packet: &StreamPacket) {
        let StreamPacket { number, sent, arrived, kind } = *packet;
        if kind != PacketKind::Copy {
            self.numbers.insert(number..number + 1);
        }
        self.reached = self.reached.max(number + 1);
        if let Some((last_sent, last_arrived)) = self.last.replace((sent, arrived)) {
            let transit = (arrived as f64 - last_arrived as f64) - (sent as f64 - last_sent as f64);
            self.jitter += (transit.abs() - self.jitter) / 16.0;
        }
    }

    fn line(&self, columns: usize, canvas: Canvas) -> String {
        // The last column stays free: some terminals begin a new line there.
        let width = columns.saturating_sub(1);
        let came = self.numbers.len();
        let count = self.count.to_string();
        let mut tail = format!("{came:>len$}/{count}", len = count.len());
        let lost = format!("  lost {}", self.reached - came);
        let jitter = format!("  jitter {}", units::narrow_millis(Duration::from_nanos(self.jitter as u64)));
        for more in [lost, jitter] {
            if tail.len() + more.len() + NARROWEST + 2 <= width {
                tail.push_str(&more);
            }
        }
        let room = width.saturating_sub(tail.len() + 2).min(WIDEST);
        if room < NARROWEST {
            return tail.chars().take(width).collect();
        }
        format!("{}  {tail}", canvas.stream(self.count, self.reached, &self.numbers, room))
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_shows_what_is_lost() {
        let mut seen = Seen { count: 100, ..Seen::default() };
        for number in (0..60).filter(|number| *number != 7) {
            let kind = PacketKind::InOrder;
            let (sent, arrived) = (number * 10_000_000, number * 10_000_000 + number % 2 * 1_000_000);
            seen.take(&StreamPacket { number, sent, arrived, kind });
        }
        let canvas = Canvas::new(80, false);
        assert_eq!(seen.line(60, canvas), "##+##############             59/100  lost 1  jitter 1.0 ms");
        for columns in 0..200 {
            assert!(seen.line(columns, canvas).chars().count() <= columns.saturating_sub(1), "{columns}");
        }
    }
}
