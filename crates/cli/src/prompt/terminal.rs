//! Somebody at a terminal.

use std::cell::Cell;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Context as _;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Editor, Helper};

use super::complete::{Shelves, complete};
use super::lines::Line;
use super::names::{found, local_things};
use super::wildcards::Found;
use super::{Prompt, history};
use crate::exit::{self, Exit};
use crate::{Connect, escape};

/// Greets, and takes line after line until somebody leaves.
pub(super) fn run<T: Connect>(prompt: &Rc<Prompt<T>>) -> anyhow::Result<Exit> {
    let (contact, screen) = (&prompt.contact, &prompt.contact.screen);
    contact.line.keep_prompt();
    contact.line.begin();
    if let Err(error) = contact.meet() {
        return if contact.line.is_stopped() { Ok(Exit::Interrupted) } else { Err(error) };
    }
    let software = contact.met().unwrap_or_default();
    screen.say(&format!("connected with {software} at {}; help lists the commands", contact.server));
    let mut editor = editor(prompt).context("cannot edit lines on this terminal")?;
    let history = History::open(prompt, &mut editor);
    loop {
        match editor.readline(&format!("{}> ", prompt.place.borrow().shown())) {
            Ok(line) => {
                history.keep(prompt, &mut editor, &line);
                if let ControlFlow::Break(()) = prompt.take(&Line::Whole(line.into_bytes())) {
                    return Ok(Exit::Done);
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(Exit::Done),
            Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
                screen.error("that was no UTF-8 text", Exit::Usage, None);
            }
            Err(error) => return Err(error).context("cannot read from the terminal"),
        }
    }
}

fn editor<T: Connect>(prompt: &Rc<Prompt<T>>) -> rustyline::Result<Editor<Assistant<T>, FileHistory>> {
    let config = Config::builder()
        .max_history_size(history::MAX_LINES)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant(Rc::clone(prompt))));
    Ok(editor)
}

/// Where lines are remembered, if they can be.
struct History {
    path: Option<PathBuf>,
    /// Whether it was said that they can't.
    is_told: Cell<bool>,
}

impl History {
    fn open<T: Connect>(prompt: &Prompt<T>, editor: &mut Editor<Assistant<T>, FileHistory>) -> Self {
        let history = Self { path: history::path(), is_told: Cell::new(false) };
        if let Some(path) = &history.path {
            match editor.load_history(path) {
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::NotFound => {
                    if let Err(error) = history::make_directory(path) {
                        history.tell(prompt, &error.into());
                    }
                }
                Err(error) => history.tell(prompt, &error),
                Ok(()) => {}
            }
        }
        history
    }

    fn keep<T: Connect>(
        &self,
        prompt: &Prompt<T>,
        editor: &mut Editor<Assistant<T>, FileHistory>,
        line: &str,
    ) {
        let is_new = editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = self.path.as_ref().filter(|_| is_new)
            && let Err(error) = editor.append_history(path)
        {
            self.tell(prompt, &error);
        }
    }

    fn tell<T: Connect>(&self, prompt: &Prompt<T>, error: &ReadlineError) {
        if let Some(path) = self.path.as_ref().filter(|_| !self.is_told.replace(true)) {
            let (path, why) = (escape::name(path.as_os_str()), exit::plain_words(&error.to_string()));
            prompt.contact.screen.note(&format!("lines are not remembered in {path}: {why}"));
        }
    }
}

/// Helps somebody who types.
struct Assistant<T: Connect>(Rc<Prompt<T>>);

impl<T: Connect> Completer for Assistant<T> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(complete(line, position, &*self.0))
    }
}

impl<T: Connect> Helper for Assistant<T> {}
impl<T: Connect> Highlighter for Assistant<T> {}
impl<T: Connect> Validator for Assistant<T> {}

impl<T: Connect> Hinter for Assistant<T> {
    type Hint = String;
}

impl<T: Connect> Shelves for Prompt<T> {
    fn remote(&self, dir: &[u8]) -> Vec<Found> {
        // Somebody who types gets no names rather than a word why.
        let Ok(path) = self.place.borrow().resolve(dir) else { return Vec::new() };
        let listed = self.shelf.of(&path, || self.contact.peek(&path).ok_or(()));
        listed.map(|things| things.iter().map(found).collect()).unwrap_or_default()
    }

    fn local(&self, dir: &[u8]) -> Vec<Found> {
        local_things(dir).unwrap_or_default()
    }
}
