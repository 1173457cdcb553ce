//! Sending a stream.

use std::time::{Duration, Instant};

use framing::{Message, PACKET_HEAD_LEN, Packet, Part};
use link::{Link, LinkError};

use super::StreamPlan;
use crate::hello::out_of_place;

/// The most packets that go in a row when the sender is late.
const LEAST_BURST: u64 = 4;
/// Where packets follow each other quickly, as many as are due in this time: finer than that no system wakes a thread.
const BURST_TIME: u64 = 250_000;

/// Sends a stream whose packets have the numbers from `first` on: how many were sent.
pub(crate) fn send(link: &mut dyn Link, plan: StreamPlan, first: u64) -> Result<u64, LinkError> {
    link.send(&Message::Streaming(plan.to_wire()))?;
    let mut pace = Pace::new(plan.interval, Instant::now());
    let filler = vec![0; (plan.size as usize).saturating_sub(PACKET_HEAD_LEN)];
    let mut sent = 0;
    for number in 0..plan.count {
        if !wait(link, pace.due(number))? {
            break;
        }
        let now = Instant::now();
        let time = now.saturating_duration_since(pace.begun).as_nanos() as u64;
        let packet = Packet { number: first + number, sent: time, filler: &filler };
        // One that the path has no room for is left out: it would only come too late.
        sent += u64::from(link.send_datagram(&Message::Packet(packet))?);
        pace.sent(number, now);
    }
    link.send(&Message::Streamed(sent))?;
    Ok(sent)
}

/// Waits until then: `false` when the client wants no more.
fn wait(link: &mut dyn Link, until: Instant) -> Result<bool, LinkError> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(true);
        }
        match link.recv_any(left)?.map(|arrival| arrival.message) {
            // Late words of the transfer before.
            None | Some(Message::Working | Message::Sent(_) | Message::End(Part::Chunks)) => {}
            Some(Message::Stop) => return Ok(false),
            Some(other) => return Err(out_of_place(&other)),
        }
    }
}

/// When each packet is due. Times are counted from the beginning, so that nothing adds up.
#[derive(Debug)]
struct Pace {
    begun: Instant,
    /// Nanoseconds.
    interval: u64,
    /// Packets that went in a row though they were late.
    late: u64,
    not_before: Instant,
}

impl Pace {
    const fn new(interval: u64, begun: Instant) -> Self {
        Self { begun, interval, late: 0, not_before: begun }
    }

    fn planned(&self, number: u64) -> Instant {
        self.begun + Duration::from_nanos(self.interval.saturating_mul(number))
    }

    /// When this packet may go.
    fn due(&self, number: u64) -> Instant {
        self.planned(number).max(self.not_before)
    }

    /// Takes note that this packet went. Who is late goes on at twice the rate, and never with more than a few in a row.
    fn sent(&mut self, number: u64, now: Instant) {
        if self.planned(number + 1) > now {
            self.late = 0;
            return;
        }
        self.late += 1;
        if self.late >= (BURST_TIME / self.interval.max(1)).max(LEAST_BURST) {
            self.not_before = now + Duration::from_nanos(self.late * self.interval / 2);
            self.late = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends so many with a clock that jumps by `stall` before packet `at`, and takes `cost` for each: when each went.
    fn times(interval: u64, count: u64, at: u64, stall: u64, cost: u64) -> Vec<u64> {
        let begun = Instant::now();
        let nanos = |time: Instant| (time - begun).as_nanos() as u64;
        let mut pace = Pace::new(interval, begun);
        let mut now = begun;
        let mut times = Vec::new();
        for number in 0..count {
            now = now.max(pace.due(number));
            if number == at {
                now += Duration::from_nanos(stall);
            }
            times.push(nanos(now));
            pace.sent(number, now);
            now += Duration::from_nanos(cost);
        }
        times
    }

    #[test]
    fn times_do_not_drift() {
        let times = times(5_000_000, 1000, 5000, 0, 100_000);
        assert!(times.iter().zip(0..).all(|(time, number)| *time == number * 5_000_000));
    }

    #[test]
    fn who_is_late_catches_up_without_a_flood() {
        // 300 ms of standstill are 60 packets.
        let times = times(5_000_000, 1000, 100, 300_000_000, 10_000);
        assert_eq!(times[999], 999 * 5_000_000, "in the end it is in time");
        for (from, time) in times.iter().enumerate() {
            let in_a_row = times[from..].iter().take_while(|later| **later - time < 1_000_000).count();
            assert!(in_a_row <= LEAST_BURST as usize, "{in_a_row} from {from} on");
        }
        let late = times.iter().zip(0..).filter(|(time, number)| **time > number * 5_000_000).count();
        assert!((60..200).contains(&late), "{late}");
    }

    #[test]
    fn short_intervals_go_in_small_bursts() {
        // A thread that wakes 100 us late each time.
        let times = times(10_000, 10_000, 20_000, 0, 0);
        assert_eq!(times[9_999], 9_999 * 10_000);
        let slow = self::times(10_000, 1000, 10, 5_000_000, 0);
        for (from, time) in slow.iter().enumerate() {
            let at_once = slow[from..].iter().take_while(|later| **later == *time).count();
            assert!(at_once <= 25, "{at_once} from {from} on");
        }
    }
}
