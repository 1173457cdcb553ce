//! What is said of files and transfers, as text.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use framing::Digest;
use link::LinkStats;
use session::{Answer, FileReport, Outcome, Side, Summary};

use crate::{escape, plain, units};

/// Up to so many files, each has its own lines.
pub(crate) const FEW: u64 = 10;

/// Who tells of a transfer, and with whom it is.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Whether this is the server.
    pub(crate) is_server: bool,
    /// The other side's address.
    pub(crate) peer: String,
    /// The directory that received files lie in.
    pub(crate) dir: PathBuf,
    /// Whether several things were named. A server finds out by itself.
    pub(crate) is_several: bool,
    /// What becomes of what was received.
    pub(crate) fate: Fate,
}

/// What becomes of what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept under the name that it got.
    Kept,
    /// It is kept as this file, whatever it is called on the other side.
    KeptAs(PathBuf),
    /// It is counted and removed.
    Removed,
}

/// What is known of a whole transfer while its files are told of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    /// Files planned.
    pub(crate) files: u64,
    /// Directories planned.
    pub(crate) directories: u64,
    /// Bytes that the receiver had already.
    pub(crate) held: u64,
}

/// What a server has done besides transfers, as a line.
pub(crate) fn answer(answer: &Answer<'_>) -> String {
    let place = |path: &OsStr| if path.is_empty() { ".".to_owned() } else { escape::name(path) };
    match *answer {
        Answer::Echo { bytes } => format!("echoed {}", units::count(bytes, "byte", "bytes")),
        Answer::List { path, entries } => {
            format!("listed {}: {}", place(path), units::count(entries, "entry", "entries"))
        }
        Answer::Chdir { path } => format!("went to {}", place(path)),
        Answer::Stream { plan, sent } => {
            let packets = units::count(sent, "packet", "packets");
            let left = if sent == plan.count { String::new() } else { format!(" of {}", plan.count) };
            format!("streamed {packets}{left}, {} bytes each", plan.size)
        }
    }
}

impl View {
    fn verb(&self, side: Side) -> &'static str {
        match (side, self.is_server) {
            (Side::Sender, _) => "sent",
            (Side::Receiver, false) => "got",
            (Side::Receiver, true) => "received",
        }
    }

    /// The name that matters to whoever reads: the file's own on the client, the stored one on a server that takes it.
    fn own_name(&self, report: &FileReport<'_>) -> String {
        match (self.is_server, report.side) {
            (true, Side::Receiver) if !report.name.is_empty() => escape::name(report.name),
            _ => escape::name(report.path),
        }
    }

    /// The name of the file on the other side.
    fn other_name(&self, report: &FileReport<'_>) -> String {
        match report.side {
            Side::Sender if report.name.is_empty() => escape::name(report.path),
            Side::Sender => escape::name(report.name),
            Side::Receiver => escape::name(report.path),
        }
    }

    /// With whom, or where to: the end of a line.
    fn whereabouts(&self, report: &FileReport<'_>) -> Option<String> {
        match (self.is_server, report.side) {
            (true, Side::Receiver) => Some(format!("from {}", self.peer)),
            (true, Side::Sender) => Some(format!("to {}", self.peer)),
            (false, Side::Receiver) if self.fate == Fate::Removed => {
                Some(format!("{}, not kept", units::count(report.len, "character", "characters")))
            }
            (false, Side::Receiver) => Some(format!("as {}", self.local_path(report.name))),
            (false, Side::Sender) => None,
        }
    }

    fn local_path(&self, name: &OsStr) -> String {
        if let Fate::KeptAs(path) = &self.fate {
            return escape::name(path.as_os_str());
        }
        let dir = if self.dir == Path::new(".") { Path::new("") } else { &self.dir };
        escape::name(dir.join(name).as_os_str())
    }

    /// The lines for a file or directory of which there is something good to say, or whose digests differ.
    pub(crate) fn file(&self, report: &FileReport<'_>) -> Option<String> {
        match report.outcome {
            Outcome::Verified(digest) => Some(self.moved(report, digest, digest)),
            Outcome::Differs { here, there } | Outcome::Damaged { here, there, .. } => {
                Some(self.moved(report, here, there))
            }
            Outcome::AlreadyThere(digest) => {
                let (place, tail) = match (report.side, self.is_server) {
                    (Side::Sender, _) => {
                        (format!("already on {} as {}", self.peer, self.other_name(report)), None)
                    }
                    (Side::Receiver, true) => ("already here".to_owned(), self.whereabouts(report)),
                    (Side::Receiver, false) => {
                        (format!("already here as {}", self.local_path(report.name)), None)
                    }
                };
                let parts = [
                    Some(self.own_name(report)),
                    Some(units::size(report.len)),
                    Some(format!("{place}, verified")),
                    tail,
                ];
                Some(format!("{}\n{}", line("there", parts), self.digests(report, digest, digest)))
            }
            Outcome::Directory => {
                let parts =
                    [Some(self.own_name(report)), Some("directory".to_owned()), self.whereabouts(report)];
                Some(line(self.verb(report.side), parts))
            }
            Outcome::Kept => {
                let (name, whose, tail) = match (report.side, self.is_server) {
                    (Side::Sender, _) => {
                        (self.own_name(report), format!("{} keeps its own", self.peer), None)
                    }
                    (Side::Receiver, true) => {
                        (self.own_name(report), "stays as it was".to_owned(), self.whereabouts(report))
                    }
                    (Side::Receiver, false) => {
                        (self.local_path(report.name), "stays as it was".to_owned(), None)
                    }
                };
                let parts = [Some(name), Some(format!("{whose}, not compared (--if-exists)")), tail];
                Some(line("kept", parts))
            }
            Outcome::Changed | Outcome::Unreadable(_) | Outcome::Refused(_) | Outcome::Failed(_) => None,
        }
    }

    fn moved(&self, report: &FileReport<'_>, here: Digest, there: Digest) -> String {
        let held = report.held;
        let is_part = held > 0 || matches!(report.outcome, Outcome::Damaged { .. });
        let parts = [
            Some(self.own_name(report)),
            Some(amount(report.moved, report.len, is_part, report.elapsed)),
            units::rate(report.moved.min(report.len), report.elapsed),
            (held > 0).then(|| format!("({} were there already)", units::size(held))),
            self.whereabouts(report),
        ];
        format!("{}\n{}", line(self.verb(report.side), parts), self.digests(report, here, there))
    }

    fn digests(&self, report: &FileReport<'_>, here: Digest, there: Digest) -> String {
        let verdict = if here == there { "same" } else { "DIFFERS" };
        let label = label(here.checksum().name());
        format!(
            "{label}{here}   here\n{label}{there}   {} {}   {verdict}",
            self.peer,
            self.other_name(report)
        )
    }

    /// What went wrong with a file or directory, if something did.
    pub(crate) fn failure(&self, report: &FileReport<'_>) -> Option<String> {
        let own = match &self.fate {
            Fate::KeptAs(path) => escape::name(path.as_os_str()),
            Fate::Kept | Fate::Removed => self.own_name(report),
        };
        let peer = &self.peer;
        let text = match (report.outcome, report.side) {
            (Outcome::Differs { here, .. }, Side::Sender) => format!(
                "{own}: its {} on {peer} differs from the one here, and {peer} did not keep it; send it again",
                here.checksum()
            ),
            (Outcome::Differs { here, .. }, Side::Receiver) => {
                format!("{own}: its {} differs from the one on {peer}, so it was not kept", here.checksum())
            }
            (Outcome::Damaged { report: faults, .. }, side) => {
                let own = escape::name(report.path);
                let loss = plain::loss(faults);
                match side {
                    Side::Sender => {
                        let other = self.other_name(report);
                        format!("{own}: {loss} on the way to {peer}, which keeps what came as {other}")
                    }
                    Side::Receiver => {
                        let place = self.local_path(report.name);
                        format!("{own}: {loss} on the way from {peer}; what came is kept as {place}")
                    }
                }
            }
            (Outcome::Changed, Side::Sender) => {
                format!(
                    "{own}: it changed while it was read, so {peer} did not keep it; send it again when nothing writes to it"
                )
            }
            (Outcome::Changed, Side::Receiver) => {
                format!("{own}: it changed on {peer} while it was read, so it was not kept; get it again")
            }
            (Outcome::Unreadable(why), Side::Sender) => format!("cannot read {own}: {why}"),
            (Outcome::Unreadable(why), Side::Receiver) => format!("{peer} cannot read {own}: {why}"),
            (Outcome::Refused(why), Side::Sender) => format!("{peer} did not store {own}: {why}"),
            (Outcome::Refused(why), Side::Receiver) | (Outcome::Failed(why), _) => {
                format!("cannot store {own}: {why}")
            }
            (Outcome::Verified(_) | Outcome::AlreadyThere(_) | Outcome::Directory | Outcome::Kept, _) => {
                return None;
            }
        };
        let tail = if self.is_server { format!(" (client {peer})") } else { String::new() };
        let tail = if text.contains(peer.as_str()) { "" } else { &tail };
        // A reason comes from the other side, or from the system.
        Some(escape::text(&crate::exit::plain_words(&text)) + tail)
    }

    /// The lines for a transfer of several things; `name` is what they all lie in, `stored` the receiver's name for that.
    pub(crate) fn summary(
        &self,
        summary: &Summary,
        side: Side,
        name: Option<&OsStr>,
        stored: &OsStr,
        held: u64,
    ) -> String {
        let good = summary.verified + summary.already_there;
        let mut things = units::count(good, "file", "files");
        let more = [
            (summary.directories, "directory", "directories"),
            (summary.kept, "kept", "kept"),
            (summary.damaged, "damaged", "damaged"),
            (failures(summary) - summary.damaged, "failed", "failed"),
            (summary.skipped, "left out", "left out"),
        ];
        for (number, one, many) in more {
            if number > 0 {
                things.push_str(", ");
                things.push_str(&units::count(number, one, many));
            }
        }
        let there = summary.already_there;
        let was_there = match (there, held) {
            (0, 0) => None,
            (0, _) => Some(format!("({} were there already)", units::size(held))),
            _ => Some(format!("({} there already)", units::count(there, "file was", "files were"))),
        };
        let stored = name.map(|_| stored).filter(|stored| !stored.is_empty());
        let place = match (side, self.is_server, stored) {
            (Side::Sender, false, Some(stored)) => format!("as {} on {}", escape::name(stored), self.peer),
            (Side::Receiver, false, Some(stored)) => format!("as {}", self.local_path(stored)),
            (Side::Sender, ..) => format!("to {}", self.peer),
            (Side::Receiver, ..) => format!("from {}", self.peer),
        };
        let own = if self.is_server && side == Side::Receiver { stored.or(name) } else { name };
        let parts = [
            own.map(escape::name),
            Some(things),
            Some(amount(summary.moved, summary.bytes, was_there.is_some(), summary.elapsed)),
            units::rate(summary.bytes.min(summary.moved), summary.elapsed),
            was_there,
            Some(place),
        ];
        line(self.verb(side), parts)
    }

    /// The line on what the link has seen of its path. In a plain transfer it knows nothing of most packets: they are not
    /// acknowledged, and the chunks of each file say what became of them.
    pub(crate) fn link(&self, stats: &LinkStats, is_plain: bool) -> String {
        let lost = units::percent(stats.packets_lost, stats.packets_sent);
        let again = units::percent(stats.parts_sent_again, stats.parts_sent);
        let parts = [
            Some(units::count(stats.packets_sent, "packet", "packets")),
            (!is_plain).then(|| format!("{lost} lost")),
            (!is_plain).then(|| format!("{again} sent again")),
            Some(format!("RTT {} min, {} avg", units::millis(stats.min_rtt), units::millis(stats.mean_rtt))),
            (!is_plain).then(|| format!("{}-byte datagrams", stats.datagram_len)),
            Some(format!("limited by: {}", stats.limiter)),
            self.is_server.then(|| format!("client {}", self.peer)),
        ];
        line("udp", parts)
    }

    /// The line that stands for the digests of many files.
    pub(crate) fn verified(&self, summary: &Summary, checksum: &str) -> String {
        let good = units::count(summary.verified + summary.already_there, "file", "files");
        format!("{}{good} verified on both sides", label(checksum))
    }
}

/// `3.1 MB in 0.02 s`, or `4.1 kB of 3.1 MB in 0.02 s` when the rest was there already, so that the rate makes sense.
fn amount(moved: u64, all: u64, had_some: bool, time: Duration) -> String {
    let (time, all_size) = (units::time(time), units::size(all));
    if had_some && moved < all {
        format!("{} of {all_size} in {time}", units::size(moved))
    } else {
        format!("{all_size} in {time}")
    }
}

/// Files and directories that did not arrive.
pub(crate) const fn failures(summary: &Summary) -> u64 {
    summary.differs + summary.damaged + summary.changed + summary.unreadable + summary.refused
}

/// The first word of a line, in a column of its own.
pub(crate) fn label(word: &str) -> String {
    let width = (word.len() + 2).max(6);
    format!("{word:<width$}")
}

/// A line of parts, after its first word.
pub(crate) fn line<const N: usize>(word: &str, parts: [Option<String>; N]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}{}", label(word), parts.join("   "))
}

#[cfg(test)]
mod tests;
