//! The audit: one line for each thing that a client wanted, when it has ended, however it ended; and one for each client that
//! did not come in.
//!
//! What costs a client next to nothing can't fill the disk of whoever keeps the lines: see [`ration`].

mod log;
mod ration;
mod record;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use link::{Note, Notice};
use serde_json::{Value, json};
use session::FileReport;

use crate::escape;
use crate::exit::{Exit, Problem, plain_words};
use crate::screen::Screen;
use log::{Log, Written};
use ration::Ration;
use record::{Record, Who};

pub(super) use record::{Action, Amount, Verdict, What, shorten};

/// Clients that were turned away and wait to be told of. What is more is only counted.
const MOST_WAITING: usize = 256;
/// How often it is told how much was left out.
const TALLY_INTERVAL: Duration = Duration::from_secs(1);

/// Takes note of what clients do, on the screen and in a file.
#[derive(Debug)]
pub(super) struct Audit {
    screen: Arc<Screen>,
    log: Option<Log>,
    rations: Mutex<Rations>,
    /// To the thread that tells of those who are turned away: who turns them away has no time to wait for a screen.
    words: SyncSender<Word>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Lines that may still be written.
#[derive(Debug)]
struct Rations {
    outside: Ration,
    inside: Ration,
}

/// What the thread of an [`Audit`] is told.
#[derive(Debug)]
enum Word {
    TurnedAway {
        who: Who,
        why: String,
        /// Whether it is an error of its own, and not only an entry.
        is_error: bool,
    },
    /// Something was left out.
    LeftOut,
    End,
}

impl Rations {
    const fn have_left_out(&self) -> bool {
        self.outside.has_left_out() || self.inside.has_left_out()
    }
}

impl Audit {
    /// Starts one that writes to this screen and, if there is one, to this file, which must not be in the served directory.
    pub(super) fn start(
        screen: &Arc<Screen>,
        file: Option<&Path>,
        served: Option<&Path>,
    ) -> anyhow::Result<Arc<Self>> {
        let log = file.map(|path| open(path, served)).transpose()?;
        let now = Instant::now();
        let rations = Mutex::new(Rations { outside: Ration::new(now), inside: Ration::new(now) });
        let (words, heard) = sync_channel(MOST_WAITING);
        let audit = Arc::new(Self { screen: screen.clone(), log, rations, words, thread: Mutex::default() });
        let teller = audit.clone();
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || teller.listen(&heard));
        *audit.thread() = Some(thread.context("cannot start a thread")?);
        Ok(audit)
    }

    /// Takes note of what a client that came in has done: whether it was told, or only counted.
    pub(super) fn tell(
        &self,
        peer: SocketAddr,
        action: Action,
        what: What,
        amount: Amount,
        verdict: Verdict,
    ) -> bool {
        let who = Who { peer: Some(peer), key: self.screen.key() };
        let mut record = Record { at: Timestamp::now(), who, action, what, amount, verdict };
        if !record.is_weighty() && !self.count(self.rations().inside.take(Instant::now(), peer.ip())) {
            return false;
        }
        record.shorten();
        self.write(&record);
        true
    }

    /// Whether a line may be written on a detail of what this client does that costs it next to nothing. If not, it counts as
    /// left out.
    pub(super) fn may_tell(&self, peer: SocketAddr) -> bool {
        self.count(self.rations().inside.take_detail(Instant::now(), peer.ip()))
    }

    fn count(&self, may: bool) -> bool {
        if !may {
            // When its queue is full it is awake.
            let _ = self.words.try_send(Word::LeftOut);
        }
        may
    }

    /// Whether nothing may be told now of what costs this client next to nothing.
    pub(super) fn is_short(&self, peer: SocketAddr) -> bool {
        self.rations().inside.is_short(Instant::now(), peer.ip())
    }

    /// Takes note, in the file only, of one file of a transfer.
    pub(super) fn file(&self, peer: SocketAddr, action: Action, report: &FileReport<'_>) {
        if self.log.is_some() {
            let who = Who { peer: Some(peer), key: self.screen.key() };
            self.append(&record::file(Timestamp::now(), who, action, report));
        }
    }

    /// Takes note of a client that was sent away although it may have the key, for want of something here.
    pub(super) fn sent_away(&self, peer: SocketAddr, why: &str) {
        let who = Who { peer: Some(peer), key: self.screen.key() };
        self.pass_on(Word::TurnedAway { who, why: why.to_owned(), is_error: true });
    }

    /// Takes what a listener has to say: advice, and who did not prove that it belongs here. Does not wait for more than the
    /// advice.
    pub(super) fn noting(audit: &Arc<Self>) -> Note {
        let audit = audit.clone();
        Arc::new(move |notice| match *notice {
            Notice::Advice(text) => audit.screen.note_once(text),
            Notice::TurnedAway { peer, why } => {
                let who = Who { peer: Some(peer), key: None };
                audit.pass_on(Word::TurnedAway { who, why: why.to_owned(), is_error: false });
            }
        })
    }

    fn pass_on(&self, word: Word) {
        if let Err(TrySendError::Full(_)) = self.words.try_send(word) {
            self.rations().outside.leave_out(1);
        }
    }

    /// Tells what there is still to tell. After this nobody is told of who is turned away.
    pub(super) fn end(&self) {
        let thread = self.thread().take();
        if self.words.send(Word::End).is_ok()
            && let Some(thread) = thread
        {
            let _ = thread.join();
        }
    }

    fn listen(&self, heard: &Receiver<Word>) {
        // When to tell how much was left out.
        let mut due: Option<Instant> = None;
        loop {
            let word = match due {
                Some(due) => heard.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match word {
                Ok(Word::TurnedAway { who, why, is_error }) => self.tell_of_stranger(who, why, is_error),
                Ok(Word::LeftOut) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Word::End) | Err(RecvTimeoutError::Disconnected) => return self.tally(),
            }
            let now = Instant::now();
            if due.is_some_and(|due| now >= due) {
                self.tally();
                due = None;
            }
            if due.is_none() && self.rations().have_left_out() {
                due = Some(now + TALLY_INTERVAL);
            }
        }
    }

    fn tell_of_stranger(&self, who: Who, why: String, is_error: bool) {
        let may = who.peer.is_none_or(|peer| self.rations().outside.take(Instant::now(), peer.ip()));
        if !may {
            return;
        }
        if is_error && let Some(peer) = who.peer {
            let text = format!("{peer}: sent away: {}", escape::text(&why));
            self.screen.error(&text, Exit::Refused, Some(&peer.to_string()));
        }
        let verdict = Verdict::TurnedAway(why);
        let (at, action) = (Timestamp::now(), Action::Connect);
        let (what, amount) = (What::Nothing, Amount::Nothing);
        let mut record = Record { at, who, action, what, amount, verdict };
        record.shorten();
        self.write(&record);
    }

    /// Tells how much was left out, if something was.
    fn tally(&self) {
        let left_out = {
            let mut rations = self.rations();
            [
                (Action::Connect, rations.outside.take_left_out()),
                (Action::Request, rations.inside.take_left_out()),
            ]
        };
        let who = Who { peer: None, key: None };
        for (action, lines) in left_out {
            if lines > 0 {
                let (at, amount) = (Timestamp::now(), Amount::Entered(lines));
                self.write(&Record {
                    at,
                    who,
                    action,
                    what: What::Nothing,
                    amount,
                    verdict: Verdict::LeftOut,
                });
            }
        }
    }

    fn write(&self, record: &Record) {
        let object = record.object();
        self.screen.say(&record.line());
        self.screen.object(&object);
        self.append(&object);
    }

    /// Appends to the file. Who can't write it any more goes on serving: a full disk of logs shall not be a way to stop a
    /// server.
    fn append(&self, object: &Value) {
        let Some(log) = &self.log else { return };
        let name = escape::name(log.path().as_os_str());
        let gap = |lost: u64| json!({ "event": "audit-gap", "time": record::time(Timestamp::now()), "lines": lost });
        match log.append(object, gap) {
            Written::Well | Written::FailedAgain => {}
            Written::Failed(error) => {
                let why = plain_words(&error.to_string());
                let text = format!("cannot write the audit to {name}: {why}; serving goes on without it");
                self.screen.error(&text, Exit::LocalFile, None);
            }
            Written::After(lost) => {
                self.screen.warn(&format!("the audit goes on in {name}; {lost} lines of it are missing"));
            }
        }
    }

    fn rations(&self) -> MutexGuard<'_, Rations> {
        self.rations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path, served: Option<&Path>) -> Result<Log, Problem> {
    let name = escape::name(path.as_os_str());
    let cannot = |error: &std::io::Error| {
        let text = format!("cannot write the audit to {name}: {}", plain_words(&error.to_string()));
        Problem::new(Exit::LocalFile, text)
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let parent = parent.canonicalize().map_err(|error| cannot(&error))?;
    if served.and_then(|dir| dir.canonicalize().ok()).is_some_and(|dir| parent.starts_with(dir)) {
        let text = format!(
            "the audit {name} would be in the served directory, where clients could read it; name a file outside of it, \
             or serve another directory with --dir"
        );
        return Err(Problem::new(Exit::Usage, text));
    }
    Log::open(path).map_err(|error| cannot(&error))
}
