//! The rows of a comparison: as a table for people, as objects, and as comma-separated values.

use serde_json::{Value, json};

use crate::bed::{Arrived, Run};
use crate::explain::{Scene, explain};
use crate::matrix::Way;

/// Columns of the table with the widths of their cells; numbers to the right.
const COLUMNS: [(&str, usize); 12] = [
    ("case", 24),
    ("over", 12),
    ("arrived", 8),
    ("MD5", 6),
    ("seconds", 7),
    ("Mbit/s", 7),
    ("wire", 5),
    ("lost", 5),
    ("repaired", 8),
    ("wrong", 5),
    ("again", 6),
    ("packets lost", 12),
];
/// Columns of words; the others are numbers.
const WORDS: usize = 4;
/// Characters of the column of seconds where there is a spread.
const SPREAD: usize = 17;

/// What became of a file over one way in one case, over all repetitions.
#[derive(Debug)]
pub(crate) struct Row {
    case: String,
    way: Way,
    bytes: u64,
    /// Times of all repetitions, in order.
    seconds: Vec<f64>,
    /// How many of them brought the whole file.
    whole: usize,
    /// The run with the middle time.
    run: Run,
    sentence: String,
    /// Whether there were no packets that could be lost: TCP through a relay.
    is_stream: bool,
}

impl Row {
    /// Sums up the repetitions, of which there is at least one.
    pub(crate) fn new(scene: Scene<'_>, mut runs: Vec<Run>) -> Option<Self> {
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let seconds = runs.iter().map(|run| run.seconds).collect();
        let whole = runs.iter().filter(|run| run.arrived == Arrived::Whole).count();
        // One that shows what can happen goes before one that was lucky.
        let is_worst = |run: &Run| run.arrived == Arrived::Wrong;
        let middle = runs.iter().position(is_worst).unwrap_or((runs.len() - 1) / 2);
        if runs.is_empty() {
            return None;
        }
        let run = runs.swap_remove(middle);
        let sentence = explain(scene, &run);
        let is_stream = scene.relayed && scene.way == Way::Tcp;
        Some(Self {
            case: scene.case.name.clone(),
            way: scene.way,
            bytes: scene.bytes,
            seconds,
            whole,
            run,
            sentence,
            is_stream,
        })
    }

    /// Seconds, if nothing happened to any packet.
    pub(crate) fn clean_seconds(&self) -> Option<f64> {
        let is_clean = self.run.arrived == Arrived::Whole && self.run.up.verdicts.is_empty();
        is_clean.then_some(self.run.seconds)
    }

    /// Whether no promise was broken: nothing wrong is ever called received, nothing reliable comes damaged, and reliable UDP
    /// arrives. TCP may need longer than there is time.
    pub(crate) const fn is_honest(&self) -> bool {
        match (self.way, self.run.arrived) {
            (_, Arrived::Wrong) => false,
            (Way::Plain, _) | (_, Arrived::Whole) => true,
            (Way::Tcp, Arrived::No) => true,
            (Way::Tcp, Arrived::Damaged) | (Way::Udp, _) => false,
        }
    }

    fn repaired(&self) -> u64 {
        match self.way {
            Way::Tcp => self.run.done("moved").saturating_sub(self.bytes).div_ceil(framing::CHUNK_LEN as u64),
            Way::Plain | Way::Udp => 0,
        }
    }

    fn again(&self) -> u64 {
        match self.way {
            Way::Tcp => Run::counted(self.run.client.as_ref(), "TcpRetransSegs"),
            Way::Plain => 0,
            Way::Udp => self.run.done("sent_again"),
        }
    }

    fn goodput(&self) -> Option<f64> {
        (self.run.arrived == Arrived::Whole).then(|| self.bytes as f64 * 8.0 / 1e6 / self.run.seconds)
    }

    fn wire(&self) -> f64 {
        self.run.up.bytes as f64 / self.bytes.max(1) as f64
    }

    const fn arrived(&self) -> &'static str {
        match self.run.arrived {
            Arrived::Whole => "whole",
            Arrived::Wrong => "WRONG",
            Arrived::Damaged => "damaged",
            Arrived::No => "no",
        }
    }

    const fn same(&self) -> &'static str {
        match self.run.arrived {
            Arrived::Whole => "same",
            Arrived::Wrong | Arrived::Damaged => "other",
            Arrived::No => "-",
        }
    }

    /// The row as two lines of text; the case is named in its first row alone.
    pub(crate) fn text(&self, is_first: bool) -> String {
        let spread = match (self.seconds.first(), self.seconds.last()) {
            (Some(least), Some(most)) if self.seconds.len() > 1 => {
                format!("{:.2} ({least:.2}-{most:.2})", self.run.seconds)
            }
            _ => format!("{:.2}", self.run.seconds),
        };
        let plain = self.way == Way::Plain;
        let cells = [
            if is_first { self.case.clone() } else { String::new() },
            self.way.name().to_owned(),
            self.arrived().to_owned(),
            self.same().to_owned(),
            spread,
            self.goodput().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
            format!("{:.2}", self.wire()),
            if plain { self.run.chunks("lost").to_string() } else { "0".to_owned() },
            self.repaired().to_string(),
            if plain { self.run.chunks("damaged").to_string() } else { "0".to_owned() },
            self.again().to_string(),
            if self.is_stream { "-".to_owned() } else { format!("{:.1} %", 100.0 * self.run.up.loss()) },
        ];
        format!("{}\n{:26}{}\n", line(&cells, self.seconds.len() > 1), "", self.sentence)
    }

    /// The row as an object.
    pub(crate) fn object(&self) -> Value {
        let plain = self.way == Way::Plain;
        let of_packets = |count: u64| (!self.is_stream).then_some(count);
        let of_plain = |field: &str| if plain { self.run.chunks(field) } else { 0 };
        json!({
            "event": "row",
            "case": self.case,
            "over": self.way.key(),
            "arrived": self.arrived(),
            "md5_same": self.run.arrived == Arrived::Whole,
            "seconds": self.run.seconds,
            "seconds_min": self.seconds.first(),
            "seconds_max": self.seconds.last(),
            "runs": self.seconds.len(),
            "runs_whole": self.whole,
            "bytes": self.bytes,
            "goodput_bits_per_second": self.goodput().map(|rate| rate * 1e6),
            "wire_bytes_per_byte": self.wire(),
            "chunks": self.bytes.div_ceil(framing::CHUNK_LEN as u64),
            "chunks_lost": of_plain("lost"),
            "chunks_repaired": self.repaired(),
            "chunks_wrong": of_plain("damaged"),
            "sent_again": self.again(),
            "packets": of_packets(self.run.up.packets),
            "packets_lost": of_packets(self.run.up.lost()),
            "packets_back": of_packets(self.run.down.packets),
            "verdicts": self.run.up.verdicts,
            "netsim_overrun": self.run.up.overrun + self.run.down.overrun,
            "exit_code": self.run.code,
            "explanation": self.sentence,
        })
    }

    /// The row as comma-separated values, in the order of [`CSV_HEAD`].
    pub(crate) fn csv(&self) -> String {
        let object = self.object();
        let cells = CSV_HEAD.split(',').map(|field| match &object[field] {
            Value::String(text) => format!("\"{}\"", text.replace('"', "\"\"")),
            Value::Null => String::new(),
            other => other.to_string(),
        });
        cells.collect::<Vec<_>>().join(",")
    }
}

/// The head of the comma-separated values.
pub(crate) const CSV_HEAD: &str = "case,over,arrived,md5_same,seconds,seconds_min,seconds_max,runs,runs_whole,bytes,goodput_bits_per_second,wire_bytes_per_byte,chunks,chunks_lost,chunks_repaired,chunks_wrong,sent_again,packets,packets_lost,packets_back,exit_code,explanation";

/// The head of the table.
pub(crate) fn head(is_repeated: bool) -> String {
    line(&COLUMNS.map(|(name, _)| name.to_owned()), is_repeated) + "\n"
}

fn line(cells: &[String; COLUMNS.len()], is_repeated: bool) -> String {
    let padded = cells.iter().zip(COLUMNS).enumerate().map(|(at, (cell, (_, width)))| {
        let width = if at == WORDS && is_repeated { SPREAD } else { width };
        if at < WORDS { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}
