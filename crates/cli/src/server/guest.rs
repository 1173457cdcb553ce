//! What is told of one client, over all that it asks for.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use session::{Answer, Event, FileReport, Observer, Outcome, Request, SessionError, Summary, Turn};

use super::audit::{Action, Amount, Verdict, What, shorten};
use super::clients::Seat;
use super::{House, is_gone};
use crate::exit::{self, Exit};
use crate::reporter::Reporter;
use crate::{json, report};

/// The observer of one client's conversation.
pub(super) struct Guest<'a> {
    house: &'a House,
    pub(super) peer: SocketAddr,
    seat: &'a Seat,
    pub(super) reporter: Reporter,
    /// How its requests ended: the first that did not end well, if any did.
    exit: Mutex<Option<Exit>>,
    /// What it waits for.
    pending: Mutex<Option<Pending>>,
}

/// A request that has not ended.
#[derive(Debug)]
struct Pending {
    action: Action,
    what: What,
    /// Bytes of files that crossed the link, and of those that were verified.
    moved: u64,
    verified: u64,
    /// Whether too much was told of its host already.
    is_short: bool,
    /// Why the first file that did not arrive did not.
    why: String,
}

impl<'a> Guest<'a> {
    pub(super) const fn new(house: &'a House, peer: SocketAddr, seat: &'a Seat, reporter: Reporter) -> Self {
        Self { house, peer, seat, reporter, exit: Mutex::new(None), pending: Mutex::new(None) }
    }

    /// How its requests ended: `None` when none was done.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, exit: Exit) {
        let mut noted = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|noted| noted == Exit::Done) {
            *noted = Some(exit);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Option<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it waits for something that it has asked for.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending().is_some()
    }

    /// Takes note of how what it waits for has ended: whether that was told, or only counted.
    fn conclude(&self, amount: Option<Amount>, verdict: Verdict) -> bool {
        let Some(Pending { action, what, moved, verified, .. }) = self.pending().take() else { return true };
        let of_files = matches!(action, Action::Put | Action::Get | Action::Generate);
        let amount = match amount {
            Some(amount) => amount,
            None if of_files => Amount::Files { bytes: verified, moved },
            None => Amount::Nothing,
        };
        self.house.audit.tell(self.peer, action, what, amount, verdict)
    }

    /// Takes note of how its conversation ended before its end: whether that was told, or only counted.
    pub(super) fn broke_off(&self, error: &SessionError, is_stopping: bool) -> bool {
        let why = exit::plain_words(&error.to_string());
        if self.is_waiting() {
            let verdict = match error {
                SessionError::Link(_) if is_stopping => Verdict::Interrupted,
                SessionError::Declined { .. } | SessionError::Store(_) => Verdict::Refused(why),
                _ => Verdict::BrokeOff(why),
            };
            return self.conclude(None, verdict);
        }
        // Who only looked in is not worth a line.
        is_gone(error)
            || is_stopping
            || self.house.audit.tell(
                self.peer,
                Action::Connect,
                What::Nothing,
                Amount::Nothing,
                Verdict::TurnedAway(why),
            )
    }

    /// Takes note that its place was needed for somebody else.
    pub(super) fn made_way(&self) {
        let verdict = Verdict::TurnedAway("its place was needed for somebody else".to_owned());
        self.house.audit.tell(self.peer, Action::Connect, What::Nothing, Amount::Nothing, verdict);
    }

    fn transferred(&self, summary: &Summary) {
        self.note(self.reporter.exit(summary));
        let pending = self.pending();
        let is_told = pending.as_ref().is_none_or(|pending| !pending.is_short || pending.is_lasting(summary));
        let why = pending.as_ref().map(|pending| pending.why.clone()).unwrap_or_default();
        drop(pending);
        if is_told {
            self.reporter.finish(summary);
        }
        self.reporter.renew();
        let amount = Amount::Files { bytes: summary.bytes, moved: summary.moved };
        self.conclude(Some(amount), Verdict::of(summary, why));
    }

    fn answered(&self, answer: Answer<'_>) {
        self.note(Exit::Done);
        let amount = match answer {
            Answer::Echo { bytes } => Amount::Bytes(bytes),
            Answer::List { entries, .. } => Amount::Entries(entries),
            Answer::Stream { sent, .. } => Amount::Packets(sent),
            Answer::Chdir { .. } => Amount::Nothing,
        };
        let screen = &self.house.screen;
        if self.conclude(Some(amount), Verdict::Done) {
            if screen.voice().verbose {
                screen.say(&format!("{}  {}", self.peer, report::answer(&answer)));
            }
            screen.object(&json::answer(&answer, &self.peer.to_string()));
        }
    }

    fn declined(&self, exit: Exit, why: &str) {
        let why = exit::plain_words(why);
        let text = super::broke_off(self.reporter.planned(), why.clone());
        if self.conclude(None, Verdict::Refused(why)) {
            self.house.complain(self.peer, &text, exit);
        }
        self.reporter.renew();
    }

    fn file(&self, report: &FileReport<'_>) {
        let Some((action, is_short)) = self.pending().as_mut().map(|pending| {
            pending.file(report);
            (pending.action, pending.is_short)
        }) else {
            return;
        };
        let is_told = match report.outcome {
            // A client can name a million that are refused.
            Outcome::Refused(_) | Outcome::Failed(_) | Outcome::Unreadable(_) | Outcome::Changed => {
                self.house.audit.may_tell(self.peer)
            }
            Outcome::AlreadyThere(_) | Outcome::Kept | Outcome::Directory => !is_short,
            Outcome::Verified(_) | Outcome::Differs { .. } | Outcome::Damaged { .. } => {
                let is_free = action == Action::Generate || (action == Action::Get && report.moved == 0);
                !is_short || !is_free
            }
        };
        if is_told {
            let (path, name) = (shorten(report.path), shorten(report.name));
            let short = FileReport { path: &path, name: &name, ..report.clone() };
            let report = if matches!(report.outcome, Outcome::Verified(_)) { report } else { &short };
            self.reporter.event(&Event::File(report));
            self.house.audit.file(self.peer, action, report);
        } else {
            self.reporter.learn(report);
        }
    }

    fn asked(&self, request: &Request<'_>) {
        let is_short = self.house.audit.is_short(self.peer);
        self.reporter.mute(is_short);
        *self.pending() = Some(Pending::of(request, is_short));
    }
}

impl Observer for Guest<'_> {
    fn may_go_on(&self, turn: Turn) -> bool {
        self.seat.turn(turn)
    }

    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Asked(request) => self.asked(&request),
            Event::Offered { entries, path } => {
                if let Some(pending) = &mut *self.pending() {
                    pending.what = files(path, entries);
                }
            }
            Event::Transferred { summary } => self.transferred(summary),
            Event::Answered(answer) => self.answered(answer),
            Event::Declined { refusal, why } => self.declined(Exit::of_refusal(refusal), why),
            Event::File(report) => self.file(report),
            // A client can ask again and again for what has links in it.
            Event::Skipped { .. } if !self.house.audit.may_tell(self.peer) => {}
            Event::Making { .. } if self.house.audit.is_short(self.peer) => {}
            Event::Planned { files, directories, .. } => {
                if let Some(pending) = &mut *self.pending() {
                    pending.planned(files + directories);
                }
                self.reporter.event(event);
            }
            Event::Moved { bytes, .. } => {
                if let Some(pending) = &mut *self.pending() {
                    pending.moved += bytes;
                }
                self.reporter.event(event);
            }
            _ => self.reporter.event(event),
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // Only a thread that panics leaves something behind.
        self.conclude(None, Verdict::BrokeOff("this program has a fault".to_owned()));
    }
}

fn files(path: &OsStr, entries: u64) -> What {
    What::Files { path: path.to_owned(), name: OsString::new(), more: entries.saturating_sub(1) }
}

impl Pending {
    fn of(request: &Request<'_>, is_short: bool) -> Self {
        let (action, what) = match *request {
            Request::Put => (Action::Put, files(OsStr::new(""), 0)),
            Request::Get { names, first } => (Action::Get, files(first, names)),
            Request::Generate { length, seed } => (Action::Generate, What::Text { length, seed }),
            Request::Stream { plan } => (Action::Stream, What::Packets(plan)),
            Request::Echo { .. } => (Action::Echo, What::Nothing),
            Request::List { path } => (Action::List, What::Place(path.to_owned())),
            Request::Chdir { path } => (Action::Chdir, What::Place(path.to_owned())),
        };
        Self { action, what, moved: 0, verified: 0, is_short, why: String::new() }
    }

    fn planned(&mut self, entries: u64) {
        if let What::Files { more, .. } = &mut self.what {
            *more = entries.saturating_sub(1);
        }
    }

    /// Takes note of what has become of a file.
    fn file(&mut self, report: &FileReport<'_>) {
        if let What::Files { path, name, .. } = &mut self.what
            && self.action == Action::Put
            && path == report.path
        {
            report.name.clone_into(name);
        }
        match report.outcome {
            Outcome::Refused(why) | Outcome::Failed(why) | Outcome::Unreadable(why)
                if self.why.is_empty() =>
            {
                self.why = exit::plain_words(why);
            }
            Outcome::Verified(_) | Outcome::AlreadyThere(_) => self.verified += report.len,
            _ => {}
        }
    }

    /// Whether its transfer stored or gave something.
    fn is_lasting(&self, summary: &Summary) -> bool {
        let has_stored = self.action == Action::Put && (summary.verified > 0 || summary.made > 0);
        self.action != Action::Generate && (summary.moved > 0 || has_stored)
    }
}
