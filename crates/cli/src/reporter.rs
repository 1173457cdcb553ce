//! Tells the person, or the script, what happens in one conversation.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use link::LinkStats;
use serde_json::{Value, json};
use session::{Event, FileReport, Observer, Outcome, Side, Summary};

use crate::exit::Exit;
use crate::plain::Canvas;
use crate::progress::Bars;
use crate::report::{Extent, FEW, View, failures, line};
use crate::screen::Screen;
use crate::{escape, json, units};

/// How often a script is told of progress, at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// The observer of one conversation, for one transfer after the other.
#[derive(Debug)]
pub(crate) struct Reporter {
    screen: Arc<Screen>,
    view: View,
    state: Mutex<State>,
}

/// What was heard so far.
#[derive(Debug)]
struct State {
    started: Instant,
    software: Option<String>,
    plan: Option<Plan>,
    bars: Option<Bars>,
    /// Whether the link is lost, and the person was told so.
    is_lost: bool,
    /// What the receiver called the only thing that was named, or the first.
    stored: OsString,
    /// Whether something was refused here that this side's own rules allow: it could not be written.
    is_unwritable: bool,
    /// Bytes that are to cross the link, those that did already included.
    wanted: u64,
    moved: u64,
    compared: u64,
    current: OsString,
    /// What the link has seen of its path, where it sees anything.
    path: Option<LinkStats>,
    /// Whether chunks are sent once, and not repaired.
    is_plain: bool,
    /// Whether the other side makes the file now that is to be received.
    is_made: bool,
    /// Whether neither start nor progress is told of.
    is_mute: bool,
    told: Instant,
    checksum: &'static str,
}

/// What is being transferred.
#[derive(Debug)]
struct Plan {
    side: Side,
    name: OsString,
    extent: Extent,
    /// Whether there is more than what `name` says.
    is_more: bool,
    is_wanted: bool,
    bytes: u64,
    /// Whether the start was told of.
    is_told: bool,
}

impl Reporter {
    /// Tells on this screen, seen like this.
    pub(crate) fn new(screen: Arc<Screen>, view: View) -> Self {
        Self { screen, view, state: Mutex::new(State::new(None)) }
    }

    /// Forgets the last transfer, for the next one with the same other side.
    pub(crate) fn renew(&self) {
        self.clear();
        let state = &mut *self.state();
        *state = State::new(state.software.take());
    }

    /// Tells as one who has met the other side before, which calls itself so.
    pub(crate) fn knowing(self, software: Option<String>) -> Self {
        self.state().software = software;
        self
    }

    /// What the other side calls itself, once it has answered.
    pub(crate) fn software(&self) -> Option<String> {
        self.state().software.clone()
    }

    /// Whether the other side has ever answered.
    pub(crate) fn has_met(&self) -> bool {
        self.state().software.is_some()
    }

    /// What is being transferred: which side this is, and the name of it.
    pub(crate) fn planned(&self) -> Option<(Side, String)> {
        self.state().plan.as_ref().map(|plan| (plan.side, plan.label()))
    }

    /// Whether to tell neither of the start of the next transfer nor of its progress.
    pub(crate) fn mute(&self, is_mute: bool) {
        self.state().is_mute = is_mute;
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let Some(bars) = self.state().bars.take() {
            bars.finish();
        }
    }

    /// What the end of a transfer means.
    pub(crate) fn exit(&self, summary: &Summary) -> Exit {
        let state = self.state();
        let Some(plan) = &state.plan else { return Exit::Done };
        match Exit::of_summary(summary, plan.side) {
            Exit::LocalFile if plan.side == Side::Receiver && !state.is_unwritable => Exit::Refused,
            exit => exit,
        }
    }

    /// Tells of the end of a transfer, and what it means.
    pub(crate) fn finish(&self, summary: &Summary) -> Exit {
        self.clear();
        let exit = self.exit(summary);
        let state = self.state();
        let Some(plan) = &state.plan else { return exit };
        if plan.extent.files + plan.extent.directories > 1 {
            let name = (!plan.is_more).then_some(&*plan.name);
            let mut lines = self.view.summary(summary, plan.side, name, &state.stored, plan.extent.held);
            if plan.extent.files > FEW && summary.verified + summary.already_there > 0 {
                lines.push('\n');
                lines.push_str(&self.view.verified(summary, state.checksum));
            }
            self.screen.say(&lines);
        }
        // What needed no chunk to cross the link says nothing of it.
        if let Some(stats) = summary.link.as_ref().filter(|_| summary.moved > 0) {
            self.screen.say(&self.view.link(stats, state.is_plain));
        }
        self.screen.object(&json::done(
            summary,
            plan.side,
            &plan.name,
            &self.view.peer,
            exit,
            state.is_plain,
        ));
        if failures(summary) > 1 {
            let all = plan.extent.files + plan.extent.directories;
            let text = format!("{} of {all} with {} failed, see above", failures(summary), self.view.peer);
            self.screen.error(&text, exit, Some(&self.view.peer));
        }
        exit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skipped(&self, path: &OsStr, why: &str) {
        let text = format!("left out {}: {}", escape::name(path), escape::text(why));
        if self.screen.voice().json {
            let mut object = json::event("note");
            json::put_name(&mut object, "path", path);
            object.insert("text".to_owned(), text.into());
            self.screen.object(&object.into());
        } else {
            self.screen.note(&text);
        }
    }

    /// Tells of the start, once it is known what is transferred and with whom: a client plans before it is greeted.
    fn start(&self, state: &mut State) {
        let (Some(plan), Some(software)) = (&mut state.plan, &state.software) else { return };
        if std::mem::replace(&mut plan.is_told, true) || state.is_mute {
            return;
        }
        let mut object = json::event("start");
        let program = self.screen.program();
        let fields = [
            ("program", Value::from(program.name)),
            ("version", program.version.into()),
            ("side", json::side(plan.side).into()),
            ("peer", self.view.peer.as_str().into()),
            ("software", software.as_str().into()),
        ];
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
        if let Some(key) = self.screen.key() {
            object.insert("key".to_owned(), key.to_string().into());
        }
        json::put_name(&mut object, "name", &plan.name);
        let fields = [
            ("files", Value::from(plan.extent.files)),
            ("directories", plan.extent.directories.into()),
            ("bytes", plan.bytes.into()),
        ];
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
        self.screen.object(&object.into());
    }

    fn progress(&self, state: &mut State) {
        if !self.screen.voice().json || state.is_mute || state.told.elapsed() < PROGRESS_INTERVAL {
            return;
        }
        state.told = Instant::now();
        let time = state.started.elapsed();
        let mut object = json::event("progress");
        let held = state.plan.as_ref().map_or(0, |plan| plan.extent.held);
        let fields = [
            ("peer", Value::from(self.view.peer.as_str())),
            ("bytes", state.moved.into()),
            ("wanted", state.wanted.into()),
            ("held", held.into()),
            ("compared", state.compared.into()),
            ("seconds", json::seconds(time).into()),
            ("bytes_per_second", json::rate(state.moved, time).into()),
        ];
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
        if let Some(stats) = &state.path {
            object.insert("loss".to_owned(), json::share(stats.loss).into());
            object.insert("rtt_ms".to_owned(), json::millis(stats.smoothed_rtt).into());
        }
        json::put_name(&mut object, "path", &state.current);
        self.screen.object(&object.into());
    }

    /// Takes note of a file, and does not tell of it: what is known of the whole transfer.
    pub(crate) fn learn(&self, report: &FileReport<'_>) -> Extent {
        let mut state = self.state();
        if let Outcome::Verified(digest) | Outcome::AlreadyThere(digest) = report.outcome {
            state.checksum = digest.checksum().name();
        }
        if state.stored.is_empty()
            && let Some(top) = Path::new(report.name).iter().next()
        {
            top.clone_into(&mut state.stored);
        }
        state.is_plain |= report.faults.is_some();
        state.is_unwritable |= matches!(report.outcome, Outcome::Failed(_));
        state.plan.as_mut().map_or_else(Extent::default, |plan| {
            plan.is_more |= Path::new(report.path).iter().next() != Some(&plan.name);
            plan.extent
        })
    }

    fn file(&self, report: &FileReport<'_>) {
        let extent = self.learn(report);
        let is_shown = match report.outcome {
            _ if self.screen.voice().verbose => true,
            Outcome::Directory => extent.files + extent.directories == 1,
            Outcome::Differs { .. } | Outcome::Damaged { .. } => true,
            _ => extent.files <= FEW,
        };
        if is_shown && let Some(lines) = self.view.file(report) {
            let below = report.faults.and_then(|faults| Canvas::stdout().faults(faults));
            self.screen.say(&[Some(lines), below].into_iter().flatten().collect::<Vec<_>>().join("\n"));
        }
        if self.screen.voice().json {
            self.screen.object(&json::file(report, &self.view.peer));
        }
        if let Some(text) = self.view.failure(report) {
            let exit = exit_of(report);
            self.screen.error(&text, exit, Some(&self.view.peer));
        }
    }
}

impl Observer for Reporter {
    fn event(&self, event: &Event<'_>) {
        match *event {
            Event::Met { peer, software } => self.met(peer, software),
            Event::Skipped { path, why } => self.skipped(path, why),
            Event::Planned { side, files, directories, bytes, name } => {
                self.planned_now(Plan {
                    side,
                    name: name.to_owned(),
                    extent: Extent { files, directories, held: 0 },
                    is_more: self.view.is_several,
                    is_wanted: false,
                    bytes,
                    is_told: false,
                });
            }
            Event::Compared { bytes } => self.compared(bytes),
            Event::Wanted { bytes, held, round } => self.state().wanted(bytes, held, round),
            Event::Moved { bytes, path } => self.moved(bytes, path),
            Event::Path { stats } => self.path(stats),
            Event::AskedAgain { chunks } => {
                let chunks = units::count(chunks, "chunk", "chunks");
                self.screen.note(&format!("{chunks} came damaged or not at all, and are sent again"));
            }
            Event::Making { length, seed } => self.making(length, seed),
            Event::File(report) => self.file(report),
            // Only a server hears these, and tells of them itself.
            Event::Asked(_)
            | Event::Offered { .. }
            | Event::Transferred { .. }
            | Event::Answered(_)
            | Event::Declined { .. } => {}
            // Told by whoever asked for it.
            Event::Streaming { .. } | Event::Packet(_) => {}
            Event::Retrying { error, wait } => self.retrying(error, wait),
        }
    }
}

/// What is heard, one by one.
impl Reporter {
    fn met(&self, peer: SocketAddr, software: &str) {
        let software = escape::text(software);
        if self.screen.voice().verbose {
            self.screen.note(&format!("connected with {software} at {peer}"));
        }
        let state = &mut *self.state();
        state.software = Some(software);
        if let Some(bars) = &state.bars {
            bars.met();
        }
        self.start(state);
    }

    /// Takes the first plan: what a later connection plans is what is left of it.
    fn planned_now(&self, plan: Plan) {
        let state = &mut *self.state();
        if state.plan.is_some() {
            return;
        }
        if state.is_made {
            let parts = [plan.label(), units::size(plan.bytes), format!("on {}", self.view.peer)].map(Some);
            self.screen.say(&line("ready", parts));
        }
        state.started = Instant::now();
        state.bars = self.screen.bars().map(|bars| Bars::new(bars, &plan.label(), plan.extent.files));
        state.plan = Some(plan);
        self.start(state);
    }

    fn compared(&self, bytes: u64) {
        let state = &mut *self.state();
        state.compared += bytes;
        if let Some(bars) = &state.bars {
            bars.compared(bytes);
        }
        self.progress(state);
    }

    fn moved(&self, bytes: u64, path: &OsStr) {
        let state = &mut *self.state();
        state.moved += bytes;
        state.is_lost = false;
        let is_new = state.current != path;
        if is_new {
            path.clone_into(&mut state.current);
        }
        if let Some(bars) = &state.bars {
            bars.moved(bytes, is_new.then_some(path));
        }
        self.progress(state);
    }

    fn path(&self, stats: &LinkStats) {
        let state = &mut *self.state();
        if let Some(bars) = &state.bars {
            bars.path(stats.loss, stats.smoothed_rtt);
        }
        state.path = Some(*stats);
    }

    fn making(&self, length: u64, seed: u64) {
        let peer = &self.view.peer;
        let characters = units::count(length, "character", "characters");
        if self.screen.voice().json {
            let object = json!({ "event": "making", "peer": peer, "length": length, "seed": seed });
            self.screen.object(&object);
        } else if !self.view.is_server {
            let parts = [Some(format!("{characters}, seed {seed}")), Some(format!("on {peer}"))];
            self.screen.say(&line("make", parts));
            self.state().is_made = true;
        } else if self.screen.voice().verbose {
            self.screen.say(&format!("{peer}  makes a file of {characters}, seed {seed}"));
        }
    }

    fn retrying(&self, error: &str, wait: Duration) {
        let error = escape::text(&crate::exit::plain_words(error));
        let was_lost = {
            let mut state = self.state();
            if let Some(bars) = &state.bars {
                bars.lost();
            }
            std::mem::replace(&mut state.is_lost, true)
        };
        if self.screen.voice().json {
            self.screen.object(&json!({
                "event": "retry",
                "peer": self.view.peer,
                "reason": error,
                "wait_seconds": json::seconds(wait),
            }));
        } else if !was_lost || self.screen.voice().verbose {
            self.screen.note(&format!("{error}; trying again in {}", units::time(wait)));
        }
    }
}

impl State {
    fn new(software: Option<String>) -> Self {
        let now = Instant::now();
        Self {
            started: now,
            software,
            plan: None,
            bars: None,
            is_lost: false,
            stored: OsString::new(),
            is_unwritable: false,
            wanted: 0,
            moved: 0,
            compared: 0,
            current: OsString::new(),
            path: None,
            is_plain: false,
            is_made: false,
            is_mute: false,
            told: now,
            checksum: "",
        }
    }

    fn wanted(&mut self, bytes: u64, held: u64, round: u32) {
        let Some(plan) = &mut self.plan else { return };
        self.wanted = if round == 0 { self.moved } else { self.wanted } + bytes;
        if !plan.is_wanted {
            // On a later connection this is also what came in this run.
            plan.extent.held = held;
            plan.is_wanted = true;
        }
        if let Some(bars) = &mut self.bars {
            bars.wanted(&plan.label(), bytes, held, round);
        }
    }
}

impl Plan {
    fn label(&self) -> String {
        match (self.is_more, self.extent.files) {
            (false, _) => escape::name(&self.name),
            (true, 0) => units::count(self.extent.directories, "directory", "directories"),
            (true, files) => units::count(files, "file", "files"),
        }
    }
}

/// How the program ends when only this went wrong.
fn exit_of(report: &FileReport<'_>) -> Exit {
    match (report.outcome, report.side) {
        (Outcome::Differs { .. } | Outcome::Damaged { .. }, _) => Exit::Damaged,
        (Outcome::Failed(_), _) | (Outcome::Changed | Outcome::Unreadable(_), Side::Sender) => {
            Exit::LocalFile
        }
        (Outcome::Refused(_), _) | (Outcome::Changed | Outcome::Unreadable(_), Side::Receiver) => {
            Exit::Refused
        }
        (Outcome::Verified(_) | Outcome::AlreadyThere(_) | Outcome::Directory | Outcome::Kept, _) => {
            Exit::Done
        }
    }
}
