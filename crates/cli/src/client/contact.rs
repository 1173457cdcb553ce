//! The way to the server: a connection that is made when it is needed, and made again when it was lost.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use framing::Refusal;
use link::{Closer, Link, LinkError, LinkStats};
use seal::Key;
use session::{Caller, Conversation, Event, Listed, Observer, SessionError, with_retry};

use super::args::ClientArgs;
use crate::exit::{self, Exit, Problem};
use crate::interrupt::Line;
use crate::report::{Fate, View};
use crate::reporter::Reporter;
use crate::screen::Screen;
use crate::{Connect, address};

/// How long somebody who types waits for names.
const PEEK_LIMIT: Duration = Duration::from_secs(3);

/// The way to the server.
pub(crate) struct Contact<T: Connect> {
    pub(super) args: Arc<ClientArgs<T>>,
    key: Option<Key>,
    pub(crate) server: String,
    software: String,
    counterpart: String,
    pub(crate) screen: Arc<Screen>,
    pub(crate) line: Arc<Line>,
    /// Whether there is only one request to be made.
    pub(super) is_single: bool,
    /// Whether the person knows that nothing is encrypted.
    has_warned: Cell<bool>,
    /// The conversation that goes on, between two requests.
    conversation: RefCell<Option<Conversation>>,
    /// What the server has called itself.
    met: RefCell<Option<String>>,
    /// The directory that the server was told to keep files in, in this conversation.
    place: RefCell<OsString>,
}

impl<T: Connect> Contact<T> {
    pub(super) fn new(
        args: Arc<ClientArgs<T>>,
        key: Option<Key>,
        screen: Arc<Screen>,
        line: Arc<Line>,
        is_single: bool,
    ) -> Self {
        Self {
            server: args.server(),
            software: screen.program().software(),
            counterpart: screen.program().counterpart(),
            has_warned: Cell::new(args.common.insecure || key.is_some()),
            args,
            key,
            screen,
            line,
            is_single,
            conversation: RefCell::default(),
            met: RefCell::default(),
            place: RefCell::default(),
        }
    }

    /// What the server has called itself, once it was met.
    pub(crate) fn met(&self) -> Option<String> {
        self.met.borrow().clone()
    }

    /// How what is transferred is told of.
    pub(super) fn view(&self) -> View {
        View {
            is_server: false,
            peer: self.server.clone(),
            dir: ".".into(),
            is_several: false,
            fate: Fate::Kept,
        }
    }

    /// Who tells of one request.
    pub(super) fn reporter(&self, view: View) -> Reporter {
        Reporter::new(self.screen.clone(), view).knowing(self.met())
    }

    /// Connects if need be, and waits for the server's greeting.
    pub(crate) fn meet(&self) -> anyhow::Result<()> {
        self.ask(&format!("cannot talk with {}", self.server), Conversation::meet)
    }

    /// Asks something short: once more when it turns out that the connection had been lost before.
    pub(crate) fn ask<R>(
        &self,
        doing: &str,
        mut ask: impl FnMut(&mut Conversation, Caller<'_>) -> Result<R, SessionError>,
    ) -> anyhow::Result<R> {
        let reporter = self.reporter(self.view());
        let had_one = self.conversation.borrow().is_some();
        let mut once = || self.converse(&reporter).and_then(|talk| self.hold(talk, &reporter, &mut ask));
        let mut asked = once();
        if let Err(error) = &asked
            && had_one
            && error.is_passing()
            && !self.line.is_stopped()
        {
            let was_moved = matches!(error, SessionError::Link(error) if is_moved(error));
            asked = once();
            if asked.is_ok() && !was_moved {
                self.tell_of_loss();
            }
        }
        self.learn(&reporter);
        asked.map_err(|error| {
            // What is short is simply asked again: nothing of it goes on.
            let is_lost = matches!(&error, SessionError::Link(lost) if lost.is_passing());
            let advice = exit::advice(&error, &self.counterpart, false).filter(|_| !is_lost);
            explain(&error, doing, advice)
        })
    }

    /// Transfers something, over as many connections as it needs.
    pub(super) fn transfer<R>(
        &self,
        doing: &str,
        reporter: &Reporter,
        mut run: impl FnMut(&mut Conversation, Caller<'_>) -> Result<R, SessionError>,
    ) -> anyhow::Result<R> {
        let result = with_retry(
            self.args.common.retry,
            reporter,
            |wait| self.pause(wait).and_then(|()| self.converse(reporter)),
            |talk, observer| self.hold(talk, observer, &mut run),
        );
        reporter.clear();
        self.learn(reporter);
        result.map_err(|error| {
            let advice = exit::advice(&error, &self.counterpart, reporter.has_met());
            explain(&error, doing, advice)
        })
    }

    /// What is in a directory, if the connection is good and the answer comes soon: for somebody who types meanwhile.
    pub(crate) fn peek(&self, path: &OsStr) -> Option<Vec<Listed>> {
        let mut conversation = self.conversation.take()?.still_there().ok()?;
        let closer = conversation.link().closer().ok()?;
        let (done, is_done) = mpsc::channel::<()>();
        let watch = move || {
            if is_done.recv_timeout(PEEK_LIMIT) == Err(RecvTimeoutError::Timeout) {
                closer.close();
            }
        };
        thread::Builder::new().name("peek".to_owned()).spawn(watch).ok()?;
        let listed = conversation.list(path.as_bytes(), self.caller(&Silent));
        drop(done);
        if conversation.is_open() {
            self.conversation.replace(Some(conversation));
        }
        listed.ok()
    }

    /// Tells the server where files are to be kept, if it does not know.
    pub(super) fn settle(
        &self,
        conversation: &mut Conversation,
        place: &OsStr,
        caller: Caller<'_>,
    ) -> Result<(), SessionError> {
        if *self.place.borrow() != place {
            conversation.chdir(place.as_bytes(), caller)?;
            self.place.replace(place.to_owned());
        }
        Ok(())
    }

    /// Takes leave of the server: what the link has seen of its path by then.
    pub(crate) fn finish(&self) -> Option<LinkStats> {
        let stats = self.conversation.take().and_then(Conversation::finish);
        // It may hold the socket open.
        self.line.set(None);
        stats
    }

    /// The conversation that goes on, or a new one.
    fn converse(&self, observer: &dyn Observer) -> Result<Conversation, SessionError> {
        let before = self.conversation.take().map(Conversation::still_there);
        let lost = match before {
            Some(Ok(conversation)) => return Ok(conversation),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let link = self.connect()?;
        self.line.set(link.closer().ok());
        self.place.take();
        if lost.is_some_and(|error| !is_moved(&error)) {
            self.tell_of_loss();
        }
        Conversation::begin(link, self.caller(observer))
    }

    /// Asks, and keeps the conversation for the next request if it still can be used.
    fn hold<R>(
        &self,
        mut conversation: Conversation,
        observer: &dyn Observer,
        ask: &mut impl FnMut(&mut Conversation, Caller<'_>) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        let asked = ask(&mut conversation, self.caller(observer));
        if self.line.is_stopped() {
            self.line.set(None);
            // Nothing that is to be tried again.
            return asked.map_err(|_| LinkError::Stopped.into());
        }
        if conversation.is_open() {
            self.conversation.replace(Some(conversation));
        } else {
            self.line.set(None);
        }
        asked
    }

    /// Waits, unless it is interrupted.
    fn pause(&self, wait: Duration) -> Result<(), SessionError> {
        if wait.is_zero() {
            return Ok(());
        }
        let (stop, stopped) = mpsc::channel();
        self.line.set(Some(Closer::new(move || {
            // Whoever waits no longer does not mind.
            let _ = stop.send(());
        })));
        let waited = stopped.recv_timeout(wait);
        self.line.set(None);
        if waited.is_ok() { Err(LinkError::Stopped.into()) } else { Ok(()) }
    }

    fn connect(&self) -> Result<Box<dyn Link>, SessionError> {
        if let Some(key) = self.key.as_ref().filter(|_| self.screen.voice().verbose) {
            let fingerprint = key.fingerprint();
            self.screen.note_once(&format!("key {fingerprint} is used with {}", self.server));
        }
        let link = if self.line.has_prompt() {
            self.connect_aside()?
        } else {
            let note = Screen::noting(&self.screen);
            self.args.transport.connect(&self.server, self.key.as_ref(), note)?
        };
        if !address::is_loopback(link.peer().ip()) && !self.has_warned.replace(true) {
            self.screen.note(&format!(
                "nothing on the way to {} is encrypted: there is no key ({} keygen makes one); --insecure silences this line",
                self.server, self.counterpart
            ));
        }
        Ok(link)
    }

    /// Connects in a thread of its own, which is left alone when somebody at a prompt does not want to wait for it.
    fn connect_aside(&self) -> Result<Box<dyn Link>, SessionError> {
        let (sender, receiver) = mpsc::channel();
        let stop = sender.clone();
        self.line.set(Some(Closer::new(move || {
            let _ = stop.send(None);
        })));
        let (args, server, key) = (self.args.clone(), self.server.clone(), self.key.clone());
        let note = Screen::noting(&self.screen);
        let connect = move || {
            // Whoever waits no longer does not mind.
            let _ = sender.send(Some(args.transport.connect(&server, key.as_ref(), note)));
        };
        thread::Builder::new().name("connect".to_owned()).spawn(connect).map_err(SessionError::Thread)?;
        let connected = receiver.recv().ok().flatten();
        self.line.set(None);
        Ok(connected.ok_or(LinkError::Stopped)??)
    }

    fn tell_of_loss(&self) {
        self.screen.note(&format!("the connection with {} had been lost; there is a new one", self.server));
    }

    fn learn(&self, reporter: &Reporter) {
        self.met.replace(reporter.software());
    }

    fn caller<'c>(&'c self, observer: &'c dyn Observer) -> Caller<'c> {
        Caller { software: &self.software, observer }
    }
}

/// Whether it was only sent away because it asked for nothing, and its place was for others: nothing to tell anybody of.
const fn is_moved(error: &LinkError) -> bool {
    matches!(error, LinkError::Refused { refusal: Refusal::Busy, .. })
}

/// What went wrong while doing this, and what helps.
fn explain(error: &SessionError, doing: &str, advice: Option<String>) -> anyhow::Error {
    let exit = Exit::of_session(error);
    let names_itself =
        matches!(error, SessionError::Connect(_) | SessionError::Source(_) | SessionError::Store(_));
    let text = match advice {
        Some(advice) => format!("{}; {advice}", exit::plain_words(&error.to_string())),
        None => error.to_string(),
    };
    let problem = anyhow::Error::new(Problem::new(exit, text));
    if names_itself { problem } else { problem.context(doing.to_owned()) }
}

/// Hears everything and says nothing.
struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
