//! A client: sends files to a server or fetches them, and tells the person how it went.

mod args;
mod contact;
mod landing;
mod raw;
mod requests;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::exit::{self, Exit, Problem};
use crate::interrupt::{self, Line};
use crate::prompt::{self, Place};
use crate::screen::Screen;
use crate::{Connect, Program, flags};
use args::{ClientArgs, Work};

pub(crate) use args::GenerateArgs;
pub(crate) use contact::Contact;
pub(crate) use landing::Landing;

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
    let exit = run(Arc::new(args), &work, &screen).unwrap_or_else(|error| {
        let exit = Exit::of_error(&error);
        screen.error(&exit::one_line(&error), exit, None);
        exit
    });
    exit.into()
}

fn run<T: Connect>(args: Arc<ClientArgs<T>>, work: &Work, screen: &Arc<Screen>) -> anyhow::Result<Exit> {
    let reads_commands = matches!(work, Work::Prompt);
    let given = args.common.key.load(args.common.insecure, reads_commands)?;
    let key = given.map(|given| given.key);
    screen.has_key(key.as_ref());
    let line = Arc::new(Line::default());
    let again = match work {
        Work::Raw(_) => "interrupted",
        _ => "interrupted; run the same command again to go on",
    };
    interrupt::listen(screen.clone(), line.clone(), again).context("cannot listen for signals")?;
    let contact = Contact::new(args.clone(), key, screen.clone(), line, !reads_commands);
    let root = OsStr::new("");
    let done = match work {
        Work::Put(paths) => contact.put(paths, root),
        Work::Get(get) => contact.get(&get.names, &get.landing()),
        Work::List(path) => list(&contact, path.as_deref().unwrap_or(root)),
        Work::Echo(text) => contact.echo(text.as_bytes()),
        Work::Generate(wanted) => contact.generate(wanted),
        Work::Stream(wanted) => contact.stream(wanted),
        Work::Prompt => return prompt::run(contact),
        Work::Raw(file) => return raw::run(&args, file.as_deref(), screen),
    };
    contact.finish();
    done
}

fn list<T: Connect>(contact: &Contact<T>, path: &OsStr) -> anyhow::Result<Exit> {
    let path = Place::default().resolve(path.as_bytes()).map_err(|text| Problem::new(Exit::Usage, text))?;
    contact.show(&contact.things(&path)?);
    Ok(Exit::Done)
}
