//! The prompt: a line, a command. On a terminal somebody types the lines, from a pipe they come as they are.
//!
//! ```text
//! terminal | lines -> grammar (words, numbers) -> Command -> wildcards, place -> Contact, which asks the server
//! ```

mod complete;
pub(crate) mod grammar;
mod help;
mod history;
mod lines;
mod names;
mod place;
mod shelf;
mod terminal;
mod wildcards;
mod words;

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, IsTerminal};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use session::IfExists;

use crate::client::{Contact, Landing};
use crate::exit::{self, Exit, Problem};
use crate::{Connect, escape, json};
use grammar::Command;
use lines::{Line, Lines};
use shelf::Shelf;
use words::Word;

pub use grammar::check;
pub(crate) use place::Place;

/// What a person would call what is received, who can't say so at the prompt.
const PREFIX: &str = "received-";

/// Does what the lines of standard input say.
pub(crate) fn run<T: Connect>(contact: Contact<T>) -> anyhow::Result<Exit> {
    let is_typed = io::stdin().is_terminal() && io::stdout().is_terminal() && !contact.screen.voice().json;
    let prompt = Rc::new(Prompt::new(contact, is_typed));
    let done = if is_typed { terminal::run(&prompt) } else { prompt.read(io::stdin().lock()) };
    prompt.contact.finish();
    done
}

/// Somebody's way through a server, command by command.
pub(super) struct Prompt<T: Connect> {
    contact: Contact<T>,
    place: RefCell<Place>,
    /// What is known of directories, within one line.
    shelf: Shelf,
    /// Whether somebody types, who sees where he is.
    is_typed: bool,
}

impl<T: Connect> Prompt<T> {
    fn new(contact: Contact<T>, is_typed: bool) -> Self {
        Self { contact, place: RefCell::default(), shelf: Shelf::default(), is_typed }
    }

    /// Does what all lines say: how the first one failed that did.
    fn read(&self, input: impl BufRead) -> anyhow::Result<Exit> {
        let mut first = Exit::Done;
        let mut lines = Lines::new(input);
        let read = |error: io::Error| {
            Problem::new(
                Exit::LocalFile,
                format!("cannot read commands: {}", exit::plain_words(&error.to_string())),
            )
        };
        while let Some(line) = lines.next().map_err(read)? {
            let ControlFlow::Continue(exit) = self.take(&line) else { break };
            if first == Exit::Done {
                first = exit;
            }
            if exit == Exit::NoLink && self.contact.met().is_none() {
                // Nobody is there, and all the rest would only say so again.
                break;
            }
        }
        Ok(first)
    }

    /// Does what a line says, and tells what went wrong; breaks off when it says to leave.
    fn take(&self, line: &Line) -> ControlFlow<(), Exit> {
        let parsed = match line {
            Line::Whole(line) => grammar::parse(line),
            Line::TooLong(len) => Err(grammar::too_long(*len)),
        };
        let command = match parsed {
            Ok(Command::Quit) => return ControlFlow::Break(()),
            Ok(command) => command,
            Err(text) => {
                self.contact.screen.error(&text, Exit::Usage, None);
                return ControlFlow::Continue(Exit::Usage);
            }
        };
        let goes_on = command.goes_on();
        self.contact.line.begin();
        self.shelf.clear();
        let done = self.perform(command);
        self.shelf.clear();
        ControlFlow::Continue(match done {
            Ok(exit) => exit,
            Err(_) if self.contact.line.is_stopped() => {
                let again = if goes_on { "; the same command again goes on where it stopped" } else { "" };
                self.contact.screen.note(&format!("interrupted{again}"));
                Exit::Interrupted
            }
            Err(error) => self.complain(&error),
        })
    }

    fn complain(&self, error: &anyhow::Error) -> Exit {
        let exit = Exit::of_error(error);
        self.contact.screen.error(&exit::one_line(error), exit, None);
        exit
    }

    fn perform(&self, command: Command) -> anyhow::Result<Exit> {
        match command {
            Command::Nothing | Command::Quit => Ok(Exit::Done),
            Command::List(word) => self.list(word.as_ref()),
            Command::Chdir(word) => self.chdir(&word),
            Command::Get(words) => self.get(&words),
            Command::Put(words) => self.contact.put(&names::local(&words)?, self.place.borrow().path()),
            Command::Generate(wanted) => self.contact.generate(&wanted),
            Command::Stream(wanted) => self.contact.stream(&wanted),
            Command::Help(topic) => {
                let text = topic.map_or_else(help::all, help::of);
                let screen = &self.contact.screen;
                if screen.voice().json {
                    screen.note(&text);
                } else {
                    screen.say(&text);
                }
                Ok(Exit::Done)
            }
            Command::Echo(bytes) => self.contact.echo(&bytes),
        }
    }

    fn list(&self, word: Option<&Word>) -> anyhow::Result<Exit> {
        let things = match word {
            None => self.contact.things(self.place.borrow().path())?,
            Some(word) if wildcards::is_wild(word) => self.matching(word)?,
            Some(word) => self.contact.things(&self.resolve(&word.bytes())?)?,
        };
        self.contact.show(&things);
        Ok(Exit::Done)
    }

    fn chdir(&self, word: &Word) -> anyhow::Result<Exit> {
        let path = match &*self.remote(std::slice::from_ref(word))? {
            [path] => self.contact.chdir(path)?,
            paths => {
                let text = format!("{} names match; chdir goes to one directory", paths.len());
                return Err(Problem::new(Exit::Usage, text).into());
            }
        };
        self.place.borrow_mut().go(&path);
        let shown = self.place.borrow().shown();
        if !self.is_typed {
            self.contact.screen.say(&format!("here  {shown}"));
        }
        let mut object = json::event("chdir");
        object.insert("peer".to_owned(), self.contact.server.clone().into());
        json::put_name(&mut object, "path", OsStr::from_bytes(&[b"/", path.as_bytes()].concat()));
        self.contact.screen.object(&object.into());
        Ok(Exit::Done)
    }

    fn get(&self, words: &[Word]) -> anyhow::Result<Exit> {
        let paths = self.remote(words)?;
        if paths.iter().any(|path| path.is_empty()) {
            let text =
                "the server's directory itself has no name to fetch it by; dl * takes all that is in it";
            return Err(Problem::new(Exit::Usage, text).into());
        }
        let landing = Landing { dir: Path::new("."), prefix: PREFIX, if_exists: IfExists::Rename };
        let mut first = Exit::Done;
        // One name that no server gives would fail a whole request, and a wildcard finds such ones too.
        let (paths, unsafe_ones) = names::safe(paths);
        for (path, why) in unsafe_ones {
            let text = format!("cannot get {} from {}: {why}", escape::name(&path), self.contact.server);
            self.contact.screen.error(&text, Exit::Refused, None);
            first = Exit::Refused;
        }
        for batch in names::batches(&paths) {
            let exit = match self.contact.get(batch, &landing) {
                Ok(exit) => exit,
                Err(error) if self.contact.line.is_stopped() => return Err(error),
                Err(error) => self.complain(&error),
            };
            if first == Exit::Done {
                first = exit;
            }
        }
        Ok(first)
    }

    fn resolve(&self, path: &[u8]) -> anyhow::Result<OsString> {
        Ok(self.place.borrow().resolve(path).map_err(|text| Problem::new(Exit::Usage, text))?)
    }
}
