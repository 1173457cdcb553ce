//! Faults as people write them: `--loss 5% --delay 20ms`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::faults::{
    Corrupt, CorruptKind, FaultError, Faults, Jitter, Loss, MAX_TIME, Queue, Reorder, Reset, Spread, Window,
};

/// A flag that faults are written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// All of them.
pub const FLAGS: [Flag; 13] = [
    Flag {
        name: "loss",
        value: "SHARE",
        help: "Lose packets: 5%; nth:10 (every tenth); at:3,7,9-12 (by number, from 0); states:1%,30%,0%,80% (into the bad \
               state, out of it, loss in the good, loss in the bad)",
    },
    Flag {
        name: "loss-burst",
        value: "PACKETS",
        help: "With --loss 5%: in bursts of so many packets in the mean (Gilbert-Elliott)",
    },
    Flag { name: "delay", value: "TIME", help: "Delay each packet, one way: 20ms" },
    Flag {
        name: "jitter",
        value: "TIME",
        help: "Delay each by a random time more, in order: 5ms (evenly from 0); 5ms:normal (around the delay); 5ms:pareto \
               (a long tail); with :reorders behind it packets may overtake each other",
    },
    Flag { name: "rate", value: "RATE", help: "What the link carries: 100mbit, 1.5gbit, 800kbit" },
    Flag {
        name: "queue",
        value: "SIZE",
        help: "How much may wait for the link, what is being sent included: 100ms, 64k (bytes), 50p (packets). Without it \
               nothing is ever dropped there",
    },
    Flag {
        name: "overhead",
        value: "BYTES",
        help: "Bytes that each IP packet has on the link besides, for the rate and the queue: 38 for Ethernet",
    },
    Flag { name: "dup", value: "SHARE", help: "Deliver packets twice: 1%" },
    Flag {
        name: "reorder",
        value: "SHARE",
        help: "Hold packets back, for others to overtake: 2% (3 ms and up to half the delay more), 2%:5ms-20ms",
    },
    Flag {
        name: "corrupt",
        value: "SHARE",
        help: "Damage packets: 1% or 1%:bits (a bit; the kernel's checksum makes it a loss), 1%:fixup (a bit, and the \
               checksum repaired: it reaches the program), 1%:neutral (two words swapped, which no internet checksum sees)",
    },
    Flag {
        name: "reset",
        value: "WHAT",
        help: "Turn TCP packets into resets: 0.1%; at:17; 2s+100ms (all that enter for 100 ms, 2 s after the start)",
    },
    Flag {
        name: "blackout",
        value: "START+LENGTH",
        help: "Lose everything for a while: 2s+3s or 2s+3s,10s+1s",
    },
    Flag {
        name: "during",
        value: "START+LENGTH",
        help: "Loss, duplication, reordering, corruption and resets only then: 2s+3s or 2s+3s,10s+1s",
    },
];

/// Faults as they were written, flag by flag, so that a direction can replace some of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultText(BTreeMap<usize, String>);

/// Why a text is not one of faults.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TextError {
    /// A flag that there is not.
    #[error("--{0} is no fault; there are {names}", names = names())]
    Unknown(String),
    /// A flag without its value.
    #[error("--{0} needs a value")]
    Missing(&'static str),
    /// A value that cannot be read.
    #[error("--{flag} {value:?}: {wanted}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// A mean burst without a loss that it could shape.
    #[error("--loss-burst needs a --loss that is a share, like 5%")]
    Burst,
    /// Faults that can be written but not had.
    #[error(transparent)]
    Impossible(#[from] FaultError),
}

impl FaultText {
    /// Writes one flag, in place of what was written for it before. Its value is read by [`FaultText::faults`].
    ///
    /// # Errors
    /// Where there is no such flag.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), TextError> {
        let index = FLAGS.iter().position(|flag| flag.name == name);
        let index = index.ok_or_else(|| TextError::Unknown(name.to_owned()))?;
        self.0.insert(index, value.into());
        Ok(())
    }

    /// These, with those of `other` in the place of or beside them.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.extend(other.0.clone());
        both
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was written for a flag.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let index = FLAGS.iter().position(|flag| flag.name == name)?;
        self.0.get(&index).map(String::as_str)
    }

    /// The faults that it means.
    ///
    /// # Errors
    /// The first flag that cannot be read, or that no link can have.
    pub fn faults(&self) -> Result<Faults, TextError> {
        let mut faults = Faults {
            rate: self.read("rate", rate)?,
            queue: self.read("queue", queue)?,
            delay: self.read("delay", time)?.unwrap_or_default(),
            jitter: self.read("jitter", jitter)?,
            loss: self.loss()?,
            duplicate: self.read("dup", share)?.unwrap_or_default(),
            corrupt: self.read("corrupt", corrupt)?,
            reset: self.read("reset", reset)?,
            during: self.read("during", windows)?.unwrap_or_default(),
            blackouts: self.read("blackout", windows)?.unwrap_or_default(),
            overhead: self.read("overhead", bytes)?.unwrap_or_default(),
            ..Faults::default()
        };
        faults.reorder = self.read("reorder", |text| reorder(text, faults.delay))?;
        faults.check()?;
        Ok(faults)
    }

    fn loss(&self) -> Result<Loss, TextError> {
        let loss = self.read("loss", loss)?;
        match (loss, self.read("loss-burst", burst)?) {
            (loss, None) => Ok(loss.unwrap_or_default()),
            (Some(Loss::Bernoulli(loss)), Some(burst)) => Ok(Loss::GilbertElliott { loss, burst }),
            (_, Some(_)) => Err(TextError::Burst),
        }
    }

    fn read<T>(
        &self,
        flag: &'static str,
        read: impl FnOnce(&str) -> Reading<T>,
    ) -> Result<Option<T>, TextError> {
        let Some(text) = self.value(flag) else { return Ok(None) };
        let error = |wanted| TextError::Value { flag, value: text.to_owned(), wanted };
        read(text.trim()).map(Some).map_err(error)
    }
}

/// `--loss 5% --delay 20ms`, `--loss=5% --delay=20ms` or `loss=5% delay=20ms`.
impl FromStr for FaultText {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut faults = Self::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            let word = word.trim_start_matches('-');
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let flag = FLAGS.iter().find(|flag| flag.name == name);
            let flag = flag.ok_or_else(|| TextError::Unknown(name.to_owned()))?;
            let value = value.or_else(|| words.next()).ok_or(TextError::Missing(flag.name))?;
            faults.set(flag.name, value)?;
        }
        Ok(faults)
    }
}

/// As [`FromStr`] reads it; `no faults` where nothing is written.
impl fmt::Display for FaultText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no faults");
        }
        for (place, (&index, value)) in self.0.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}--{} {}", FLAGS[index].name, value.replace(char::is_whitespace, ""))?;
        }
        Ok(())
    }
}

fn names() -> String {
    FLAGS.map(|flag| format!("--{}", flag.name)).join(", ")
}

/// What was read, or what was wanted.
type Reading<T> = Result<T, &'static str>;

const SHARE: &str = "a share is written like 5% or 0.05";
const TIME: &str = "a time is written like 20ms, 1.5s, 300us or 2min";
const RATE: &str = "a rate is written like 100mbit, 1.5gbit or 800kbit, in bits a second";
const QUEUE: &str = "a queue is written like 100ms, 64k or 64KiB (bytes) or 50p (packets)";
const WINDOW: &str =
    "a window is written like 2s+3s: when it starts, and for how long it lasts; several with commas";
const NUMBERS: &str = "packet numbers are written like 3,7,9-12; a million of them at most";
const LOSS: &str = "it takes a share like 5%, nth:10, at:3,7,9-12 or states:1%,30%,0%,80%";
const BURST: &str = "it takes the mean number of packets in a burst, like 8";
const JITTER: &str =
    "it takes a time, then :uniform, :normal or :pareto, then :reorders: 5ms, 5ms:normal, 5ms:reorders";
const REORDER: &str = "it takes a share, and how long packets are held back: 2% or 2%:5ms-20ms";
const CORRUPT: &str = "it takes a share, and how: 1%, 1%:bits, 1%:fixup or 1%:neutral";
const RESET: &str = "it takes a share like 0.1%, packet numbers like at:17 or a window like 2s+100ms";
const BYTES: &str = "it takes a number of bytes";

/// The most packet numbers that a list may have.
const MAX_NUMBERS: usize = 1_000_000;

/// How thin the tail of Pareto's jitter is, and what it ends at, in units of its scale.
const PARETO: (f64, u32) = (3.0, 100);

/// A number and its unit, in small letters.
fn with_unit(text: &str) -> Option<(f64, String)> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start().to_lowercase()))
}

fn share(text: &str) -> Reading<f64> {
    // A sign is read too, so that it is the share that is called impossible.
    let (number, percent) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (text, false),
    };
    let value = number.parse::<f64>().map_err(|_| SHARE)?;
    match percent {
        true => Ok(value / 100.0),
        false if number.contains('.') || value == 0.0 => Ok(value),
        false => Err(SHARE),
    }
}

fn time(text: &str) -> Reading<Duration> {
    let (number, unit) = with_unit(text).ok_or(TIME)?;
    let seconds = match unit.as_str() {
        "" if number == 0.0 => 1.0,
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(TIME),
    };
    // What is too long for a duration is too long for a link too, and told so by the check.
    Ok(Duration::try_from_secs_f64(number * seconds).unwrap_or(MAX_TIME * 1000))
}

fn rate(text: &str) -> Reading<u64> {
    let (number, unit) = with_unit(text).ok_or(RATE)?;
    let factor = match unit.trim_end_matches("/s") {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(RATE),
    };
    Ok((number * factor).round() as u64)
}

fn queue(text: &str) -> Reading<Queue> {
    let (number, unit) = with_unit(text).ok_or(QUEUE)?;
    let bytes = |factor: f64| Ok(Queue::Bytes((number * factor).round() as u64));
    match unit.as_str() {
        "p" if number.fract() == 0.0 && number <= f64::from(u32::MAX) => Ok(Queue::Packets(number as u32)),
        "b" => bytes(1.0),
        "k" | "kb" => bytes(1e3),
        "m" | "mb" => bytes(1e6),
        "g" | "gb" => bytes(1e9),
        "kib" => bytes(1024.0),
        "mib" => bytes(1024.0 * 1024.0),
        "gib" => bytes(1024.0 * 1024.0 * 1024.0),
        _ => time(text).map(Queue::Time).map_err(|_| QUEUE),
    }
}

fn bytes(text: &str) -> Reading<u32> {
    text.parse().map_err(|_| BYTES)
}

fn burst(text: &str) -> Reading<f64> {
    text.parse().map_err(|_| BURST)
}

fn loss(text: &str) -> Reading<Loss> {
    match text.split_once(':') {
        None => share(text).map(Loss::Bernoulli).map_err(|_| LOSS),
        Some(("nth", step)) => step.parse().map(Loss::Nth).map_err(|_| LOSS),
        Some(("at", list)) => numbers(list).map(Loss::Packets),
        Some(("states", four)) => {
            let four = four.split(',').map(|part| share(part.trim())).collect::<Result<Vec<_>, _>>();
            let &[worsen, recover, loss_good, loss_bad] = four.map_err(|_| LOSS)?.as_slice() else {
                return Err(LOSS);
            };
            Ok(Loss::TwoState { worsen, recover, loss_good, loss_bad })
        }
        Some(_) => Err(LOSS),
    }
}

fn numbers(text: &str) -> Reading<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    for part in text.split(',') {
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| NUMBERS);
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || last - first >= MAX_NUMBERS as u64 {
            return Err(NUMBERS);
        }
        numbers.extend(first..=last);
        if numbers.len() > MAX_NUMBERS {
            return Err(NUMBERS);
        }
    }
    Ok(numbers)
}

fn jitter(text: &str) -> Reading<Jitter> {
    let mut words = text.split(':');
    let size = words.next().map_or(Err(JITTER), |size| time(size).map_err(|_| JITTER))?;
    let mut jitter = Jitter::uniform(size);
    for (place, word) in words.enumerate() {
        match word {
            "uniform" if place == 0 => {}
            "normal" if place == 0 => jitter.spread = Spread::Normal(size),
            "pareto" if place == 0 => {
                let (shape, most) = PARETO;
                let limit = size.saturating_mul(most).min(MAX_TIME);
                jitter.spread = Spread::Pareto { scale: size, shape, limit };
            }
            "reorders" if !jitter.reorders => jitter.reorders = true,
            _ => return Err(JITTER),
        }
    }
    Ok(jitter)
}

fn reorder(text: &str, delay: Duration) -> Reading<Reorder> {
    let Some((probability, times)) = text.split_once(':') else {
        return share(text).map(|probability| Reorder::beside(delay, probability)).map_err(|_| REORDER);
    };
    let (least, most) = times.split_once('-').unwrap_or((times, times));
    let time = |text: &str| time(text.trim()).map_err(|_| REORDER);
    Ok(Reorder {
        probability: share(probability).map_err(|_| REORDER)?,
        least: time(least)?,
        most: time(most)?,
    })
}

fn corrupt(text: &str) -> Reading<Corrupt> {
    let (probability, kind) = text.split_once(':').unwrap_or((text, "bits"));
    let kind = match kind {
        "bits" => CorruptKind::Bits,
        "fixup" => CorruptKind::Fixup,
        "neutral" => CorruptKind::Neutral,
        _ => return Err(CORRUPT),
    };
    share(probability).map(|probability| Corrupt { probability, kind }).map_err(|_| CORRUPT)
}

fn reset(text: &str) -> Reading<Reset> {
    if let Some(list) = text.strip_prefix("at:") {
        return numbers(list).map(Reset::Packets);
    }
    if text.contains('+') {
        return windows(text).map(Reset::Windows);
    }
    share(text).map(Reset::Chance).map_err(|_| RESET)
}

fn windows(text: &str) -> Reading<Vec<Window>> {
    text.split(',')
        .map(|window| {
            let (start, length) = window.split_once('+').ok_or(WINDOW)?;
            let time = |text: &str| time(text.trim()).map_err(|_| WINDOW);
            Ok(Window { start: time(start)?, length: time(length)? })
        })
        .collect()
}
