//! One entry of the audit: as a line, and as an object.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

use jiff::Timestamp;
use seal::Fingerprint;
use serde_json::{Map, Value};
use session::{FileReport, StreamPlan, Summary};

use crate::report::line;
use crate::{escape, json, units};

/// Characters of a name or a reason in an entry.
const MOST_WORDS: usize = 256;

/// Who did what, how much of it, and how it ended.
#[derive(Debug)]
pub(in crate::server) struct Record {
    /// When it ended.
    pub(super) at: Timestamp,
    pub(super) who: Who,
    pub(super) action: Action,
    pub(super) what: What,
    pub(super) amount: Amount,
    pub(super) verdict: Verdict,
}

/// A client, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Who {
    /// Its address; `None` where several are meant.
    pub(super) peer: Option<SocketAddr>,
    /// The key that it has proved to have.
    pub(super) key: Option<Fingerprint>,
}

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Action {
    /// To come in. It has asked for nothing yet.
    Connect,
    Put,
    Get,
    Generate,
    List,
    Chdir,
    Echo,
    Stream,
    /// To send bytes without a protocol.
    Raw,
    /// Any of these but to come in.
    Request,
}

/// What it wants that of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum What {
    Nothing,
    /// A directory or file of the server; empty for the served directory.
    Place(OsString),
    /// Files and directories.
    Files {
        /// The first, as the side that has it calls it.
        path: OsString,
        /// The same as the server stores it; empty where it does not.
        name: OsString,
        /// How many there are besides.
        more: u64,
    },
    /// A text that is made up.
    Text {
        length: u64,
        seed: u64,
    },
    Packets(StreamPlan),
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Amount {
    Nothing,
    /// Bytes of the files that were verified, and of all files those that crossed the link.
    Files {
        bytes: u64,
        moved: u64,
    },
    Bytes(u64),
    /// Names of a list.
    Entries(u64),
    /// Packets that were sent.
    Packets(u64),
    /// Entries of the audit itself.
    Entered(u64),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Verdict {
    /// As it was to.
    Done,
    /// A transfer came to its end.
    Files {
        /// How many files ended like this, for each word; only those above 0.
        counts: Vec<(&'static str, u64)>,
        /// Directories that were not there before.
        made: u64,
        /// Why the first of them that did not arrive did not; empty when none failed.
        why: String,
    },
    /// It was not done.
    Refused(String),
    /// The link was lost before it was done.
    BrokeOff(String),
    /// The server was stopped before it was done.
    Interrupted,
    /// The client did not come in, or was shown out before it asked for anything.
    TurnedAway(String),
    /// So much happened that it was only counted.
    LeftOut,
}

impl Record {
    /// Whether something was stored, or bytes given. Such an entry is never left out.
    pub(super) fn is_weighty(&self) -> bool {
        if self.action == Action::Generate {
            return false;
        }
        let has_moved = matches!(self.amount, Amount::Files { moved: 1.., .. })
            || (self.action == Action::Raw && matches!(self.amount, Amount::Bytes(1..)));
        let is_stored = |(word, _): &(&str, u64)| matches!(*word, "verified" | "damaged");
        let has_stored = matches!(&self.verdict, Verdict::Files { counts, made, .. }
            if *made > 0 || counts.iter().any(is_stored));
        has_moved || (self.action == Action::Put && has_stored)
    }

    /// Takes the middle out of long names and reasons, which a client can make up at no cost.
    pub(super) fn shorten(&mut self) {
        let cut = |name: &mut OsString| *name = shorten(name);
        match &mut self.what {
            What::Place(path) => cut(path),
            What::Files { path, name, .. } => [path, name].into_iter().for_each(cut),
            What::Nothing | What::Text { .. } | What::Packets(_) => {}
        }
        if let Verdict::Files { why, .. }
        | Verdict::Refused(why)
        | Verdict::BrokeOff(why)
        | Verdict::TurnedAway(why) = &mut self.verdict
        {
            *why = escape::shorten(why, MOST_WORDS);
        }
    }

    /// The line for a person. Between its fields are three spaces, and nowhere in them.
    pub(super) fn line(&self) -> String {
        let peer = self.who.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string());
        let key = self.who.key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}"));
        let parts = [
            time(self.at),
            peer,
            key,
            self.action.word().to_owned(),
            self.what.text(),
            self.amount.text(&self.what),
            self.verdict.text(),
        ];
        line("audit", parts.map(Some))
    }

    /// The object for a script.
    pub(super) fn object(&self) -> Value {
        let mut object = self.head("audit");
        self.what.put(&mut object);
        self.amount.put(&mut object);
        object.insert("verdict".to_owned(), self.verdict.word().into());
        if let Verdict::Files { counts, .. } = &self.verdict {
            let counts: Map<String, Value> =
                counts.iter().map(|(word, count)| ((*word).to_owned(), (*count).into())).collect();
            object.insert("outcomes".to_owned(), counts.into());
        }
        if let Some(why) = self.verdict.why() {
            object.insert("why".to_owned(), why.into());
        }
        object.into()
    }

    fn head(&self, event: &str) -> Map<String, Value> {
        head(event, self.at, self.who, self.action)
    }
}

/// A name without its middle, if it is long.
pub(in crate::server) fn shorten(name: &OsStr) -> OsString {
    if name.len() > MOST_WORDS {
        escape::shorten(&escape::name(name), MOST_WORDS).into()
    } else {
        name.to_owned()
    }
}

/// The object of one file of a transfer.
pub(super) fn file(at: Timestamp, who: Who, action: Action, report: &FileReport<'_>) -> Value {
    let mut object = head("audit-file", at, who, action);
    if let Value::Object(fields) = json::file(report, "") {
        let is_said = |key: &str| matches!(key, "event" | "peer" | "side");
        object.extend(fields.into_iter().filter(|(key, _)| !is_said(key)));
    }
    object.into()
}

fn head(event: &str, at: Timestamp, who: Who, action: Action) -> Map<String, Value> {
    let mut object = json::event(event);
    object.insert("time".to_owned(), time(at).into());
    object.insert("peer".to_owned(), who.peer.map(|peer| peer.to_string()).into());
    object.insert("key".to_owned(), who.key.map(|key| key.to_string()).into());
    object.insert("action".to_owned(), action.word().into());
    object
}

/// UTC as in RFC 3339, to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Words of others as one field of a line: they can't steer a terminal, and can't look like the space between two fields.
fn field(text: &str) -> String {
    let mut field = escape::text(text).replace("  ", " \\x20");
    if field.starts_with(' ') {
        field.replace_range(..1, "\\x20");
    }
    if field.ends_with(' ') {
        field.truncate(field.len() - 1);
        field.push_str("\\x20");
    }
    field
}

fn name(name: &OsStr) -> String {
    field(&escape::name(name))
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Put => "put",
            Self::Get => "get",
            Self::Generate => "generate",
            Self::List => "list",
            Self::Chdir => "chdir",
            Self::Echo => "echo",
            Self::Stream => "stream",
            Self::Raw => "raw",
            Self::Request => "request",
        }
    }
}

impl What {
    fn text(&self) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Place(path) if path.is_empty() => ".".to_owned(),
            Self::Place(path) => name(path),
            Self::Files { path, name: stored, more } => {
                let mut text = if path.is_empty() { "-".to_owned() } else { name(path) };
                if !stored.is_empty() && stored != path {
                    text = format!("{text} as {}", name(stored));
                }
                if *more > 0 {
                    text = format!("{text} and {more} more");
                }
                text
            }
            Self::Text { length, seed } => {
                format!("{}, seed {seed}", units::count(*length, "character", "characters"))
            }
            Self::Packets(plan) => {
                format!("{} bytes every {}", plan.size, units::interval(plan.interval))
            }
        }
    }

    fn put(&self, object: &mut Map<String, Value>) {
        match self {
            Self::Nothing => {}
            Self::Place(path) => json::put_name(object, "path", path),
            Self::Files { path, name, more } => {
                json::put_name(object, "path", path);
                if !name.is_empty() {
                    json::put_name(object, "name", name);
                }
                object.insert("entries".to_owned(), (more + 1).into());
            }
            Self::Text { length, seed } => {
                object.insert("length".to_owned(), (*length).into());
                object.insert("seed".to_owned(), (*seed).into());
            }
            Self::Packets(plan) => {
                let fields = json::stream_plan(*plan, None);
                object.extend(fields.into_iter().filter(|(key, _)| key != "sent"));
            }
        }
    }
}

impl Amount {
    fn text(self, what: &What) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::Bytes(bytes) => units::count(bytes, "byte", "bytes"),
            Self::Files { bytes, moved } if bytes == moved => units::count(bytes, "byte", "bytes"),
            Self::Files { bytes, moved } => {
                format!("{}, {moved} moved", units::count(bytes, "byte", "bytes"))
            }
            Self::Entries(entries) => units::count(entries, "entry", "entries"),
            Self::Packets(sent) => match what {
                What::Packets(plan) if plan.count != sent => {
                    format!("{sent} of {}", units::count(plan.count, "packet", "packets"))
                }
                _ => units::count(sent, "packet", "packets"),
            },
            Self::Entered(entries) => units::count(entries, "line", "lines"),
        }
    }

    fn put(self, object: &mut Map<String, Value>) {
        let fields = match self {
            Self::Nothing => vec![],
            Self::Bytes(bytes) => vec![("bytes", bytes)],
            Self::Files { bytes, moved } => vec![("bytes", bytes), ("moved", moved)],
            Self::Entries(entries) => vec![("entries", entries)],
            Self::Packets(sent) => vec![("sent", sent)],
            Self::Entered(lines) => vec![("lines", lines)],
        };
        object.extend(fields.into_iter().map(|(key, number)| (key.to_owned(), number.into())));
    }
}

impl Verdict {
    /// What a transfer came to that has this summary.
    pub(in crate::server) fn of(summary: &Summary, why: String) -> Self {
        let counts = [
            ("verified", summary.verified),
            ("already-there", summary.already_there),
            ("kept", summary.kept),
            ("differs", summary.differs),
            ("damaged", summary.damaged),
            ("changed", summary.changed),
            ("unreadable", summary.unreadable),
            ("refused", summary.refused),
        ];
        let mut counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        if counts.is_empty() && summary.directories > 0 {
            counts.push(("directory", summary.directories));
        }
        Self::Files { counts, made: summary.made, why }
    }

    /// One of few words that stay the same.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Files { counts, .. } => match counts[..] {
                [] => "done",
                [(word, _)] => word,
                _ => "mixed",
            },
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::BrokeOff(_) => "broke-off",
            Self::Interrupted => "interrupted",
            Self::TurnedAway(_) => "turned-away",
            Self::LeftOut => "left-out",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Files { why, .. } if why.is_empty() => None,
            Self::Files { why, .. } | Self::Refused(why) | Self::BrokeOff(why) | Self::TurnedAway(why) => {
                Some(why)
            }
            Self::Done | Self::Interrupted | Self::LeftOut => None,
        }
    }

    fn text(&self) -> String {
        let word = self.word();
        match self {
            Self::Files { counts, .. } if counts.len() > 1 => {
                let counts: Vec<String> =
                    counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
                format!("{word}: {}", counts.join(", "))
            }
            _ => self.why().map_or_else(|| word.to_owned(), |why| format!("{word}: {}", field(why))),
        }
    }
}

#[cfg(test)]
mod tests;
