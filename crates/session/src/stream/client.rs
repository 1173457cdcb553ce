//! Receiving a stream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framing::{Message, PACKET_HEAD_LEN, Packet, Part};
use link::{IDLE_LIMIT, Link, LinkError};

use super::report::{StreamReport, Tally};
use super::{MAX_STREAM_COUNT, StreamPlan};
use crate::events::Event;
use crate::hello::{misbehaved, out_of_place};
use crate::{Caller, SessionError};

/// How often it is looked whether the stream shall end.
const TICK: Duration = Duration::from_millis(50);
/// How long stragglers are waited for after the server has said that it sent everything.
const PATIENCE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(3);

/// Asks for a stream whose packets have the numbers from `first` on, and receives it, until it ends or is to be stopped.
pub(crate) fn receive(
    link: &mut dyn Link,
    plan: StreamPlan,
    first: u64,
    stop: &AtomicBool,
    caller: Caller<'_>,
) -> Result<StreamReport, SessionError> {
    let missed = link.datagrams_missed();
    // So that no packet comes before somebody waits for it.
    if let Some(arrival) = link.recv_any(Duration::ZERO)? {
        pass_over(&arrival.message)?;
    }
    link.send(&Message::Stream(plan.to_wire()))?;
    let mut incoming = Incoming::new(plan, first);
    let ended = incoming.run(link, stop, caller);
    let missed = link.datagrams_missed() - missed;
    let report = |incoming: Incoming| incoming.tally.report(plan, incoming.over.map(|over| over.0), missed);
    match ended {
        Ok(()) => Ok(StreamReport { stopped: incoming.is_stopped, ..report(incoming) }),
        Err(SessionError::Link(error)) if incoming.has_begun => {
            Err(SessionError::StreamCut { error, report: Box::new(report(incoming)) })
        }
        Err(error) => Err(error),
    }
}

/// Late words of what was asked for before.
fn pass_over(message: &Message<'_>) -> Result<(), LinkError> {
    match message {
        Message::Working | Message::Sent(_) | Message::End(Part::Chunks) | Message::Packet(_) => Ok(()),
        other => Err(out_of_place(other)),
    }
}

/// A stream that comes.
#[derive(Debug)]
struct Incoming {
    plan: StreamPlan,
    first: u64,
    asked: Instant,
    has_begun: bool,
    is_stopped: bool,
    /// How many packets the server has sent, and when it said so.
    over: Option<(u64, Instant)>,
    tally: Tally,
}

impl Incoming {
    fn new(plan: StreamPlan, first: u64) -> Self {
        Self {
            plan,
            first,
            asked: Instant::now(),
            has_begun: false,
            is_stopped: false,
            over: None,
            tally: Tally::default(),
        }
    }

    fn run(
        &mut self,
        link: &mut dyn Link,
        stop: &AtomicBool,
        caller: Caller<'_>,
    ) -> Result<(), SessionError> {
        let mut heard = Instant::now();
        while !self.is_whole(link) {
            if !self.is_stopped && self.over.is_none() && stop.load(Ordering::Relaxed) {
                self.is_stopped = true;
                link.send(&Message::Stop)?;
            }
            match link.recv_any(TICK)? {
                Some(arrival) => {
                    heard = Instant::now();
                    self.take(&arrival.message, arrival.at, caller)?;
                }
                None if heard.elapsed() > IDLE_LIMIT => return Err(LinkError::Silent(IDLE_LIMIT).into()),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether nothing is to be expected any more.
    fn is_whole(&self, link: &dyn Link) -> bool {
        let Some((sent, since)) = self.over else { return false };
        let waited = since.elapsed();
        let all_came = self.tally.arrived() >= sent;
        // One that is on its way comes no later than the others did, as far as they have shown how they differ.
        let usual = || {
            let rtt = link.stats().map_or(Duration::ZERO, |stats| stats.smoothed_rtt);
            (self.tally.spread() * 2 + rtt).clamp(*PATIENCE.start(), *PATIENCE.end())
        };
        all_came || waited >= *PATIENCE.end() || waited >= usual()
    }

    fn take(&mut self, message: &Message<'_>, at: Instant, caller: Caller<'_>) -> Result<(), SessionError> {
        match *message {
            Message::Packet(packet) => self.take_packet(&packet, at, caller)?,
            Message::Streaming(plan) if !self.has_begun => {
                if StreamPlan::of(plan) != self.plan || plan.count > MAX_STREAM_COUNT {
                    return Err(misbehaved("it began another stream than was asked for").into());
                }
                self.has_begun = true;
                caller.observer.event(&Event::Streaming { plan: self.plan });
            }
            Message::Streamed(sent) if self.has_begun && self.over.is_none() => {
                if sent > self.plan.count || sent < self.tally.arrived() {
                    return Err(misbehaved("it says that it sent an impossible number of packets").into());
                }
                self.over = Some((sent, Instant::now()));
            }
            Message::Declined { refusal, text } if !self.has_begun => {
                return Err(SessionError::Declined { refusal, text: text.to_owned() });
            }
            _ => pass_over(message)?,
        }
        Ok(())
    }

    fn take_packet(&mut self, packet: &Packet<'_>, at: Instant, caller: Caller<'_>) -> Result<(), LinkError> {
        // Of the stream before.
        let Some(number) = packet.number.checked_sub(self.first) else { return Ok(()) };
        if number >= self.plan.count.min(MAX_STREAM_COUNT) {
            return Err(misbehaved("it sent a packet that does not belong to the stream"));
        }
        if PACKET_HEAD_LEN + packet.filler.len() != self.plan.size as usize {
            return Err(misbehaved("it sent a packet of another size than was asked for"));
        }
        let arrived = at.saturating_duration_since(self.asked).as_nanos() as u64;
        match self.tally.take(number, packet.sent, arrived) {
            Some(packet) => {
                caller.observer.event(&Event::Packet(&packet));
                Ok(())
            }
            None => Err(misbehaved("it sent the same packets again and again")),
        }
    }
}
