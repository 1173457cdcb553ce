//! A client: sends files to a server or fetches them, and tells the person how it went.

mod args;
mod raw;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use framing::Checksum;
use link::{Closer, ConnectError, Link};
use seal::Key;
use session::{
    Caller, Conversation, GetJob, Observer, PutJob, SessionError, Sources, Store, StoreOptions, Summary,
    with_retry,
};

use crate::exit::{self, Exit, Problem};
use crate::interrupt::Line;
use crate::report::View;
use crate::reporter::Reporter;
use crate::screen::Screen;
use crate::{Connect, Program, address, escape, flags, interrupt};
use args::{ClientArgs, GetArgs, Work};

/// Runs a client with the arguments of this process.
#[must_use]
pub fn main<T: Connect>(program: Program) -> ExitCode {
    Program::take_descriptors();
    let mut args = match ClientArgs::<T>::read(program) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let work = match args.work(program) {
        Ok(work) => work,
        Err(text) => {
            flags::usage(program, &text, args.voice.json);
            return Exit::Usage.into();
        }
    };
    let screen = Arc::new(Screen::with_bars(program, args.voice));
    let exit = run(&args, &work, &screen).unwrap_or_else(|error| {
        let exit = Exit::of_error(&error);
        screen.error(&exit::one_line(&error), exit, None);
        exit
    });
    exit.into()
}

fn run<T: Connect>(args: &ClientArgs<T>, work: &Work, screen: &Arc<Screen>) -> anyhow::Result<Exit> {
    let given = args.common.key.load(args.common.insecure, false)?;
    let key = given.map(|given| given.key);
    screen.has_key(key.as_ref());
    let line = Line::default();
    let again = match work {
        Work::Raw(_) => "interrupted",
        _ => "interrupted; run the same command again to go on",
    };
    interrupt::exit_at_once(screen.clone(), line.clone(), again).context("cannot listen for signals")?;
    let server = args.server();
    let dir = match work {
        Work::Put(_) | Work::Raw(_) => PathBuf::from("."),
        Work::Get(get) => get.to.clone(),
    };
    let is_several = match work {
        Work::Put(paths) => paths.len() > 1,
        Work::Get(get) => get.names.len() > 1,
        Work::Raw(_) => false,
    };
    let view = View { is_server: false, peer: server.clone(), dir, is_several };
    let reporter = Reporter::new(screen.clone(), view);
    let call = Call {
        args,
        software: screen.program().software(),
        counterpart: screen.program().counterpart(),
        has_warned: Cell::new(args.common.insecure || key.is_some()),
        key,
        server,
        screen,
        line,
        reporter: &reporter,
    };
    match work {
        Work::Put(paths) => call.put(paths),
        Work::Get(get) => call.get(get),
        Work::Raw(file) => raw::run(args, file.as_deref(), screen),
    }
}

/// One run of a client.
struct Call<'a, T: Connect> {
    args: &'a ClientArgs<T>,
    server: String,
    software: String,
    counterpart: String,
    screen: &'a Arc<Screen>,
    reporter: &'a Reporter,
    line: Line,
    key: Option<Key>,
    /// Whether the person knows that nothing is encrypted.
    has_warned: Cell<bool>,
}

impl<T: Connect> Call<'_, T> {
    fn put(&self, paths: &[PathBuf]) -> anyhow::Result<Exit> {
        let sources = Sources::local(paths, self.args.common.follow, self.reporter).map_err(|error| {
            let is_missing = |path: &PathBuf| fs::symlink_metadata(path).is_err();
            match paths.first() {
                Some(path) if is_missing(path) && args::is_like_command(path) => {
                    let text = format!("{error}; the commands are get and put, and --help explains them");
                    anyhow::Error::new(Problem::new(Exit::LocalFile, text))
                }
                _ => error.into(),
            }
        })?;
        let job = PutJob::new(sources, self.checksum());
        let mut job = if self.args.transport.is_plain() { job.plain() } else { job };
        let names = names(paths.iter().map(|path| path.file_name().unwrap_or(path.as_os_str())));
        let doing = format!("cannot send {names} to {}", self.server);
        let summary = self.transfer(&doing, |conversation, caller| conversation.put(&mut job, caller))?;
        if is_empty(&summary) {
            let text = format!("nothing was sent: {names} was left out; --follow follows symbolic links");
            return Err(Problem::new(Exit::LocalFile, text).into());
        }
        Ok(self.reporter.finish(&summary))
    }

    fn get(&self, get_args: &GetArgs) -> anyhow::Result<Exit> {
        if let Some(text) = self.args.transport.idle_when_receiving() {
            self.screen.note(text);
        }
        let store = open_store(get_args)?;
        let job = GetJob::new(get_args.names.clone(), self.checksum(), self.args.common.follow);
        let mut job = if self.args.transport.is_plain() { job.plain() } else { job };
        let names = names(get_args.names.iter().map(|name| name.as_os_str()));
        let doing = format!("cannot get {names} from {}", self.server);
        let summary =
            self.transfer(&doing, |conversation, caller| conversation.get(&mut job, &store, caller))?;
        if is_empty(&summary) {
            let text = format!("nothing was received: {} left out {names}", self.server);
            return Err(Problem::new(Exit::Refused, text).into());
        }
        Ok(self.reporter.finish(&summary))
    }

    /// Connects, as often as needed, and does what `run` does.
    fn transfer(
        &self,
        doing: &str,
        mut run: impl FnMut(&mut Conversation, Caller<'_>) -> Result<Summary, SessionError>,
    ) -> anyhow::Result<Summary> {
        let window: Duration = self.args.common.retry;
        let run_on_line = |link: Box<dyn Link>, observer: &dyn Observer| {
            self.set_line(link.closer().ok());
            let caller = self.caller(observer);
            let ran = Conversation::begin(link, caller).and_then(|mut conversation| {
                let mut summary = run(&mut conversation, caller)?;
                summary.link = conversation.finish().or(summary.link);
                Ok(summary)
            });
            // It may hold the socket open.
            self.set_line(None);
            ran
        };
        let result = with_retry(window, self.reporter, || self.connect(), run_on_line);
        self.reporter.clear();
        result.map_err(|error| {
            let advice = exit::advice(&error, &self.counterpart, self.reporter.has_met());
            let exit = Exit::of_session(&error);
            let names_itself =
                matches!(error, SessionError::Connect(_) | SessionError::Source(_) | SessionError::Store(_));
            let text = match advice {
                Some(advice) => format!("{}; {advice}", exit::plain_words(&error.to_string())),
                None => error.to_string(),
            };
            let problem = anyhow::Error::new(Problem::new(exit, text));
            if names_itself { problem } else { problem.context(doing.to_owned()) }
        })
    }

    fn connect(&self) -> Result<Box<dyn Link>, ConnectError> {
        if let Some(key) = self.key.as_ref().filter(|_| self.screen.voice().verbose) {
            let fingerprint = key.fingerprint();
            self.screen.note_once(&format!("key {fingerprint} seals everything to and from {}", self.server));
        }
        let note = Screen::noting(self.screen);
        let link = self.args.transport.connect(&self.server, self.key.as_ref(), note)?;
        if !address::is_loopback(link.peer().ip()) && !self.has_warned.replace(true) {
            self.screen.note(&format!(
                "nothing on the way to {} is encrypted: there is no key ({} keygen makes one); --insecure silences this line",
                self.server, self.counterpart
            ));
        }
        Ok(link)
    }

    fn set_line(&self, closer: Option<Closer>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = closer;
    }

    fn caller<'c>(&'c self, observer: &'c dyn Observer) -> Caller<'c> {
        Caller { software: &self.software, observer }
    }

    fn checksum(&self) -> Checksum {
        self.args.common.checksum.into()
    }
}

fn open_store(args: &GetArgs) -> anyhow::Result<Store> {
    if args.to != Path::new(".") {
        fs::create_dir_all(&args.to).map_err(|error| {
            let dir = escape::name(args.to.as_os_str());
            let why = exit::plain_words(&error.to_string());
            Problem::new(Exit::LocalFile, format!("cannot create the directory {dir}: {why}"))
        })?;
    }
    let options = StoreOptions {
        dir: args.to.clone(),
        prefix: args.prefix.clone().into(),
        if_exists: args.if_exists.into(),
        max_file_len: None,
    };
    Ok(Store::open(options)?)
}

/// Names, as part of a sentence.
fn names<'a>(mut names: impl ExactSizeIterator<Item = &'a OsStr>) -> String {
    let first = names.next().map(escape::name).unwrap_or_default();
    match names.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Whether nothing at all was transferred, well or not.
const fn is_empty(summary: &Summary) -> bool {
    summary.verified + summary.already_there + summary.directories + summary.kept == 0
        && summary.is_complete()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_sentence() {
        let of = |list: &[&str]| names(list.iter().map(OsStr::new));
        assert_eq!(of(&["a\n"]), "a\\n");
        assert_eq!(of(&["a", "b", "c"]), "a and 2 more");
    }

    #[test]
    fn nothing_is_told_from_failure() {
        assert!(is_empty(&Summary { skipped: 3, ..Summary::default() }));
        assert!(!is_empty(&Summary { refused: 1, ..Summary::default() }));
        assert!(!is_empty(&Summary { directories: 1, ..Summary::default() }));
    }
}
