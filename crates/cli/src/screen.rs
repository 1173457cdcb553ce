//! The two streams that a person or a script reads.

mod outlet;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::{MultiProgress, ProgressDrawTarget};
use link::{Note, Notice};
use seal::{Fingerprint, Key};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::flags::Voice;
use crate::{Program, progress, units};
use outlet::Outlet;

/// Standard output and standard error, and the progress bars that must step aside for both.
///
/// Errors in writing are passed over: whoever closed the pipe does not want to read on, and the transfer goes on.
#[derive(Debug)]
pub(crate) struct Screen {
    program: Program,
    voice: Voice,
    bars: Option<MultiProgress>,
    /// Held while lines are written that belong together.
    turn: Mutex<()>,
    /// How lines get out of a server, which waits for nobody who reads them.
    outlets: Option<Mutex<Outlets>>,
    /// What was noted that need not be said again.
    noted: Mutex<BTreeSet<String>>,
    /// What tells the key from others, where there is one.
    key: OnceLock<Fingerprint>,
}

/// Standard output and standard error.
#[derive(Debug, Default)]
struct Outlets {
    output: Outlet,
    errors: Outlet,
}

/// One of the two streams.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Output,
    Errors,
}

/// How many notes are remembered, so as not to say them again. A server may run for years.
const MOST_NOTED: usize = 1000;

impl Screen {
    /// A screen without bars.
    pub(crate) const fn new(program: Program, voice: Voice) -> Self {
        Self {
            program,
            voice,
            bars: None,
            turn: Mutex::new(()),
            outlets: None,
            noted: Mutex::new(BTreeSet::new()),
            key: OnceLock::new(),
        }
    }

    /// A screen of a server. When nobody reads what it says, it goes on without saying it, and says later how much that was.
    pub(crate) fn of_server(program: Program, voice: Voice) -> Self {
        Self { outlets: Some(Mutex::default()), ..Self::new(program, voice) }
    }

    /// A screen that has bars where a person will see them: on a terminal, and not when told to be quiet.
    pub(crate) fn with_bars(program: Program, voice: Voice) -> Self {
        let wanted = !voice.quiet && !voice.json && io::IsTerminal::is_terminal(&io::stderr());
        Self {
            bars: wanted.then(|| MultiProgress::with_draw_target(progress::target())),
            ..Self::new(program, voice)
        }
    }

    pub(crate) const fn program(&self) -> Program {
        self.program
    }

    pub(crate) const fn voice(&self) -> Voice {
        self.voice
    }

    /// Takes note of the key, if there is one. Once.
    pub(crate) fn has_key(&self, key: Option<&Key>) {
        if let Some(key) = key {
            self.key.get_or_init(|| key.fingerprint());
        }
    }

    /// What tells the key from others, where there is one.
    pub(crate) fn key(&self) -> Option<Fingerprint> {
        self.key.get().copied()
    }

    pub(crate) const fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    /// Prints lines for a person, unless told to be quiet.
    pub(crate) fn say(&self, lines: &str) {
        if !self.voice.quiet && !self.voice.json {
            self.print(Stream::Output, &[lines, "\n"]);
        }
    }

    /// Prints the line that others wait for, however quiet the program is.
    pub(crate) fn announce(&self, line: &str, object: &Value) {
        if self.voice.json {
            self.object(object);
        } else {
            self.print(Stream::Output, &[line, "\n"]);
        }
    }

    /// Prints an object, if that is the form.
    pub(crate) fn object(&self, object: &Value) {
        if self.voice.json {
            self.print(Stream::Output, &[&object.to_string(), "\n"]);
        }
    }

    /// Prints something worth knowing that is no error.
    pub(crate) fn note(&self, text: &str) {
        if self.voice.json {
            self.object(&json!({ "event": "note", "text": text }));
        } else if !self.voice.quiet {
            self.print(Stream::Errors, &["note  ", text, "\n"]);
        }
    }

    /// Prints something worth knowing that is no error, unless it was said before.
    pub(crate) fn note_once(&self, text: &str) {
        let is_new = {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() >= MOST_NOTED {
                noted.clear();
            }
            noted.insert(text.to_owned())
        };
        if is_new {
            self.note(text);
        }
    }

    /// Takes advice and prints each once.
    pub(crate) fn noting(screen: &Arc<Self>) -> Note {
        let screen = screen.clone();
        Arc::new(move |notice| {
            if let Notice::Advice(text) = notice {
                screen.note_once(text);
            }
        })
    }

    /// Prints what must be known before something is done, however quiet the program is.
    pub(crate) fn warn(&self, text: &str) {
        self.print(Stream::Errors, &["warning: ", text, "\n"]);
    }

    /// Prints what failed: one line, in every form. `peer` is the client that it is about, on a server.
    pub(crate) fn error(&self, text: &str, exit: Exit, peer: Option<&str>) {
        self.print(Stream::Errors, &[self.program.name, ": ", text, "\n"]);
        // A wrong usage is followed by lines on the right one, which are for people.
        let message = text.lines().next().unwrap_or_default();
        let mut object = json!({ "event": "error", "message": message, "exit_code": exit.code() });
        if let Some(peer) = peer {
            object["peer"] = peer.into();
        }
        self.object(&object);
    }

    /// Prints nothing any more while this is held.
    pub(crate) fn silence(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the bars away for good.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    fn print(&self, stream: Stream, parts: &[&str]) {
        let lines = parts.concat();
        let write = || {
            let _turn = self.silence();
            match (&self.outlets, stream) {
                (Some(outlets), stream) => self.pass(outlets, stream, &lines),
                (None, Stream::Output) => write_all(&mut io::stdout(), &lines),
                (None, Stream::Errors) => write_all(&mut io::stderr(), &lines),
            }
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn pass(&self, outlets: &Mutex<Outlets>, stream: Stream, lines: &str) {
        let Outlets { output, errors } = &mut *outlets.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = |is_object: bool| {
            move |count| {
                let text = format!(
                    "{} left out here: nobody read them",
                    units::count(count, "line was", "lines were")
                );
                if is_object {
                    format!("{}\n", json!({ "event": "note", "text": text }))
                } else {
                    format!("note  {text}\n")
                }
            }
        };
        match stream {
            Stream::Output => output.write(io::stdout().as_fd(), lines, tally(self.voice.json)),
            Stream::Errors => errors.write(io::stderr().as_fd(), lines, tally(false)),
        }
    }
}

fn write_all(stream: &mut dyn Write, lines: &str) {
    let _ = stream.write_all(lines.as_bytes());
    let _ = stream.flush();
}
