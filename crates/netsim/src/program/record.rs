//! What happened to each packet, written down: a JSON line each, and a capture with comments.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use netsim::{Cause, Change, Direction, Fate, Verdict, packet};

/// What became of one packet.
#[derive(Debug)]
pub(super) struct Happened {
    direction: Direction,
    number: u64,
    /// When it entered.
    at: Duration,
    dropped: Option<Cause>,
    pub(super) arrivals: [Arrival; 2],
}

/// What one of its arrivals is like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrival {
    /// When, if it arrives.
    due: Option<Duration>,
    reordered: bool,
    to_be_damaged: bool,
    pub(super) change: Option<Change>,
    pub(super) reset: bool,
}

impl Happened {
    pub(super) fn new(direction: Direction, at: Duration, verdict: &Verdict) -> Self {
        let mut arrivals = [Arrival::default(); 2];
        if let Fate::Delivered { first, second } = verdict.fate {
            for (arrival, delivery) in arrivals.iter_mut().zip([Some(first), second]) {
                let Some(delivery) = delivery else { continue };
                *arrival = Arrival {
                    due: Some(delivery.at),
                    reordered: delivery.reordered,
                    to_be_damaged: delivery.damage.is_some(),
                    ..Arrival::default()
                };
            }
        }
        Self { direction, number: verdict.number, at, dropped: verdict.dropped(), arrivals }
    }

    fn arriving(&self) -> impl Iterator<Item = (Duration, &Arrival)> {
        self.arrivals.iter().filter_map(|arrival| Some((arrival.due?, arrival)))
    }

    /// In a few words.
    fn why(&self) -> String {
        if let Some(cause) = self.dropped {
            return format!("dropped: {}", cause_name(cause));
        }
        let mut text = String::new();
        for (due, arrival) in self.arriving() {
            let delay = due.saturating_sub(self.at);
            let verb = if text.is_empty() { "delivered" } else { ", and again" };
            // Writing to a string does not fail.
            let _ = write!(text, "{verb} after {:.3} ms", delay.as_secs_f64() * 1e3);
            if arrival.reordered {
                text.push_str(", held back");
            }
            match arrival.change {
                Some(change) => {
                    let _ = write!(text, ", damaged ({change})");
                }
                None if arrival.to_be_damaged => text.push_str(", with nothing to damage"),
                None => {}
            }
            if arrival.reset {
                text.push_str(", made a reset");
            }
        }
        text
    }

    /// The whole line. Each value is a number, a word of ours or a list of those, so nothing needs quoting.
    fn json(&self, bytes: &[u8]) -> String {
        let mut line = format!(
            "{{\"dir\":\"{}\",\"n\":{},\"t\":{:.6},\"len\":{},\"proto\":\"{}\",\"verdict\":\"{}\"",
            name(self.direction),
            self.number,
            self.at.as_secs_f64(),
            bytes.len(),
            packet::protocol_name(bytes),
            self.dropped.map_or("delivered", |_| "dropped"),
        );
        let mut word = |text: &str| line.push_str(text);
        if let Some(cause) = self.dropped {
            word(&format!(",\"why\":\"{}\"", cause_name(cause)));
        }
        let dues = self.arriving().map(|(due, _)| format!("{:.6}", due.as_secs_f64())).collect::<Vec<_>>();
        if !dues.is_empty() {
            word(&format!(",\"at\":[{}]", dues.join(",")));
        }
        let all = |of: fn(&Arrival) -> bool| self.arriving().any(|(_, arrival)| of(arrival));
        let faults = [
            ("duplicated", dues.len() > 1),
            ("reordered", all(|arrival| arrival.reordered)),
            ("corrupted", all(|arrival| arrival.change.is_some())),
            ("undamageable", all(|arrival| arrival.to_be_damaged && arrival.change.is_none())),
            ("reset", all(|arrival| arrival.reset)),
        ];
        for (fault, _) in faults.into_iter().filter(|(_, happened)| *happened) {
            word(&format!(",\"{fault}\":true"));
        }
        for change in self.arriving().filter_map(|(_, arrival)| arrival.change) {
            word(&format!(",\"change\":\"{change}\""));
        }
        line.push_str("}\n");
        line
    }
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}

const fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Blackout => "blackout",
        Cause::Queue => "queue",
        Cause::Loss => "loss",
    }
}

/// Where it is written to. What cannot be written is told at the end, once.
pub(super) struct Recorder {
    log: Option<Mutex<Output>>,
    capture: Option<Mutex<Output>>,
    /// The time of day of time 0.
    began: OnceLock<SystemTime>,
}

struct Output {
    to: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Recorder {
    pub(super) fn create(log: Option<&Path>, capture: Option<&Path>) -> Result<Option<Self>> {
        let create = |path: &Path| {
            let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
            Ok::<_, anyhow::Error>(Output { to: BufWriter::with_capacity(1 << 18, file), failed: None })
        };
        if log.is_none() && capture.is_none() {
            return Ok(None);
        }
        let (log, mut capture) = (log.map(create).transpose()?, capture.map(create).transpose()?);
        if let Some(capture) = &mut capture {
            capture.write(&pcapng_head());
        }
        let began = OnceLock::new();
        Ok(Some(Self { log: log.map(Mutex::new), capture: capture.map(Mutex::new), began }))
    }

    /// Time 0 is now.
    pub(super) fn begin(&self) {
        self.began.get_or_init(SystemTime::now);
    }

    pub(super) fn packet(&self, bytes: &[u8], happened: &Happened) {
        if let Some(log) = &self.log {
            let line = happened.json(bytes);
            lock(log).write(line.as_bytes());
        }
        if let Some(capture) = &self.capture {
            let since = self
                .began
                .get_or_init(SystemTime::now)
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let comment = format!("{} {}: {}", name(happened.direction), happened.number, happened.why());
            let block = pcapng_packet(happened.direction as u32, since + happened.at, bytes, &comment);
            lock(capture).write(&block);
        }
    }

    /// What could not be written, if anything.
    pub(super) fn finish(&self) -> Result<()> {
        for output in [&self.log, &self.capture].into_iter().flatten() {
            let mut output = lock(output);
            if let Err(error) = output.to.flush() {
                output.failed.get_or_insert(error);
            }
            if let Some(error) = output.failed.take() {
                return Err(error).context("cannot write down what happened to the packets");
            }
        }
        Ok(())
    }
}

fn lock(output: &Mutex<Output>) -> std::sync::MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Output {
    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.to.write_all(bytes).err();
        }
    }
}

// pcapng: draft-ietf-opsawg-pcapng.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const OPTION_COMMENT: u16 = 1;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
/// Whole IP packets.
const LINKTYPE_RAW: u16 = 101;

/// A section with two interfaces, one a direction, whose times are nanoseconds.
fn pcapng_head() -> Vec<u8> {
    let mut section = Vec::new();
    section.extend(0x1a2b_3c4d_u32.to_ne_bytes());
    section.extend(1_u16.to_ne_bytes());
    section.extend(0_u16.to_ne_bytes());
    section.extend((-1_i64).to_ne_bytes());
    let mut head = pcapng_block(SECTION_HEADER, &section);
    for direction in Direction::BOTH {
        let mut interface = Vec::new();
        interface.extend(LINKTYPE_RAW.to_ne_bytes());
        interface.extend([0; 6]);
        pcapng_option(&mut interface, OPTION_NAME, name(direction).as_bytes());
        pcapng_option(&mut interface, OPTION_RESOLUTION, &[9]);
        pcapng_option(&mut interface, 0, &[]);
        head.extend(pcapng_block(INTERFACE_DESCRIPTION, &interface));
    }
    head
}

fn pcapng_packet(interface: u32, time: Duration, bytes: &[u8], comment: &str) -> Vec<u8> {
    let nanos = time.as_nanos() as u64;
    let mut packet = Vec::with_capacity(bytes.len() + comment.len() + 64);
    for word in [interface, (nanos >> 32) as u32, nanos as u32, bytes.len() as u32, bytes.len() as u32] {
        packet.extend(word.to_ne_bytes());
    }
    packet.extend_from_slice(bytes);
    pad(&mut packet);
    pcapng_option(&mut packet, OPTION_COMMENT, comment.as_bytes());
    pcapng_option(&mut packet, 0, &[]);
    pcapng_block(ENHANCED_PACKET, &packet)
}

fn pcapng_option(block: &mut Vec<u8>, option: u16, value: &[u8]) {
    block.extend(option.to_ne_bytes());
    block.extend((value.len() as u16).to_ne_bytes());
    block.extend_from_slice(value);
    pad(block);
}

/// Its length stands before and after it.
fn pcapng_block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_ne_bytes();
    [&kind.to_ne_bytes()[..], &length, body, &length].concat()
}

fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}
