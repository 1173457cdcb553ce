//! A stream: what is asked for, how it looks while it comes, and what is said of it.

mod live;
mod report;

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Args;
use serde_json::json;
use session::{Caller, Conversation, Event, Observer, PacketKind, SessionError, StreamPacket, StreamPlan};

use crate::exit::Exit;
use crate::screen::Screen;
use crate::units;
use live::Strip;

/// What a stream is to be.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct StreamArgs {
    /// How many packets
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u64,
    /// How long from one to the next: 10ms, 500us, 1s
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = units::parse_interval)]
    interval: u64,
    /// Bytes of each
    #[arg(long, value_name = "BYTES", default_value = "256", value_parser = parse_size)]
    size: u32,
}

fn parse_size(text: &str) -> Result<u32, String> {
    let size = units::parse_size(text)?;
    u32::try_from(size).map_err(|_| format!("{text} is too large for a packet"))
}

impl StreamArgs {
    const fn plan(&self) -> StreamPlan {
        StreamPlan { count: self.count, interval: self.interval, size: self.size }
    }
}

/// Has the server of this name send packets, until all were sent or `stop` is set, and tells what became of them: how it
/// ended, and what cut it off.
pub(crate) fn run(
    conversation: &mut Conversation,
    wanted: &StreamArgs,
    stop: &AtomicBool,
    screen: &Screen,
    server: &str,
    caller: Caller<'_>,
) -> Result<(Exit, Option<SessionError>), SessionError> {
    let plan = wanted.plan();
    let teller = Teller { screen, server, plan, inner: caller.observer, strip: Mutex::default() };
    let streamed = conversation.stream(plan, stop, Caller { observer: &teller, ..caller });
    teller.clear();
    let (report, error) = match streamed {
        Ok(report) => (report, None),
        Err(SessionError::StreamCut { error, report }) => (*report, Some(SessionError::from(error))),
        Err(error) => return Err(error),
    };
    screen.say(&report::text(&report, report::Canvas::stdout()));
    let exit = match &error {
        Some(error) => Exit::of_session(error),
        None if report.stopped => Exit::Interrupted,
        None => Exit::Done,
    };
    screen.object(&report::object(&report, server, exit));
    Ok((exit, error))
}

/// Tells of the packets of a stream as they come, and hands everything else on.
struct Teller<'a> {
    screen: &'a Screen,
    server: &'a str,
    plan: StreamPlan,
    inner: &'a dyn Observer,
    /// What is drawn on a terminal.
    strip: Mutex<Option<Strip>>,
}

impl Teller<'_> {
    /// The strip, drawn from now on if it was not: over UDP a packet may come before the word that it will.
    fn strip(&self) -> MutexGuard<'_, Option<Strip>> {
        let mut strip = self.strip.lock().unwrap_or_else(PoisonError::into_inner);
        if strip.is_none() {
            *strip = self.screen.bars().map(|bars| Strip::new(bars, self.plan.count));
        }
        strip
    }

    fn packet(&self, packet: &StreamPacket) {
        if self.screen.voice().json {
            let StreamPacket { number, sent, arrived, kind } = packet;
            self.screen.object(&json!({
                "event": "packet",
                "peer": self.server,
                "number": number,
                "sent_ns": sent,
                "arrived_ns": arrived,
                "late": *kind == PacketKind::Late,
                "copy": *kind == PacketKind::Copy,
            }));
        }
        if let Some(strip) = &*self.strip() {
            strip.packet(packet);
        }
    }

    fn clear(&self) {
        if let Some(strip) = self.strip.lock().unwrap_or_else(PoisonError::into_inner).take() {
            strip.finish();
        }
    }
}

impl Observer for Teller<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Streaming { .. } => drop(self.strip()),
            Event::Packet(packet) => self.packet(packet),
            other => self.inner.event(other),
        }
    }
}
