//! What a client can have done: each request, from what was asked for to what there is to say of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use framing::Checksum;
use jiff::tz::TimeZone;
use session::{GetJob, Listed, PutJob, Sources, Summary};

use super::args::{self, GenerateArgs};
use super::contact::Contact;
use super::landing::{self, Landing, Temporary};
use crate::exit::{self, Exit, Problem};
use crate::report::Fate;
use crate::stream::{self, StreamArgs};
use crate::{Connect, escape, json, listing, units};

impl<T: Connect> Contact<T> {
    /// Sends files and trees, to be kept in this directory of the server.
    pub(crate) fn put(&self, paths: &[PathBuf], place: &OsStr) -> anyhow::Result<Exit> {
        let mut view = self.view();
        view.is_several = paths.len() > 1;
        let reporter = self.reporter(view);
        let sources = Sources::local(paths, self.args.common.follow, &reporter).map_err(|error| {
            let is_missing = |path: &PathBuf| fs::symlink_metadata(path).is_err();
            match paths.first() {
                Some(path) if is_missing(path) && args::is_like_command(path) => {
                    let text = format!(
                        "{error}; the commands are {}, and --help explains them",
                        args::COMMANDS.join(", ")
                    );
                    anyhow::Error::new(Problem::new(Exit::LocalFile, text))
                }
                _ => error.into(),
            }
        })?;
        let job = PutJob::new(sources, self.checksum());
        let mut job = if self.args.transport.is_plain() { job.plain() } else { job };
        let names = names(paths.iter().map(|path| path.file_name().unwrap_or(path.as_os_str())));
        let doing = format!("cannot send {names} to {}", self.server);
        let summary = self.transfer(&doing, &reporter, |conversation, caller| {
            self.settle(conversation, place, caller)?;
            conversation.put(&mut job, caller)
        })?;
        if is_empty(&summary) {
            let text = format!("nothing was sent: {names} was left out; --follow follows symbolic links");
            return Err(Problem::new(Exit::LocalFile, text).into());
        }
        Ok(reporter.finish(&self.conclude(summary)))
    }

    /// Fetches files and trees, named from the directory that is served.
    pub(crate) fn get(&self, wanted: &[OsString], landing: &Landing<'_>) -> anyhow::Result<Exit> {
        if let Some(text) = self.args.transport.idle_when_receiving() {
            self.screen.note_once(text);
        }
        let store = landing.store()?;
        let job = GetJob::new(wanted.to_vec(), self.checksum(), self.args.common.follow);
        let mut job = if self.args.transport.is_plain() { job.plain() } else { job };
        let names = names(wanted.iter().map(|name| name.as_os_str()));
        let doing = format!("cannot get {names} from {}", self.server);
        let mut view = self.view();
        landing.dir.clone_into(&mut view.dir);
        view.is_several = wanted.len() > 1;
        let reporter = self.reporter(view);
        let summary = self
            .transfer(&doing, &reporter, |conversation, caller| conversation.get(&mut job, &store, caller))?;
        if is_empty(&summary) {
            let text = format!("nothing was received: {} left out {names}", self.server);
            return Err(Problem::new(Exit::Refused, text).into());
        }
        Ok(reporter.finish(&self.conclude(summary)))
    }

    /// Has a file made, and keeps it if that is wanted.
    pub(crate) fn generate(&self, wanted: &GenerateArgs) -> anyhow::Result<Exit> {
        let temporary = match &wanted.to {
            Some(_) => None,
            None => Some(Temporary::new(self.line.clone())?),
        };
        let mut view = self.view();
        let store = match (&wanted.to, &temporary) {
            (Some(path), _) => {
                view.fate = Fate::KeptAs(path.clone());
                landing::store_of_one(path, wanted.if_exists.into())?
            }
            (None, dir) => {
                view.fate = Fate::Removed;
                landing::passing_store(dir.as_ref().map_or(Path::new("."), Temporary::path))?
            }
        };
        let job = GetJob::generate(wanted.length, wanted.seed, self.checksum());
        let mut job = if self.args.transport.is_plain() { job.plain() } else { job };
        let doing = format!("cannot get a file of {} characters from {}", wanted.length, self.server);
        let reporter = self.reporter(view);
        let summary = self.transfer(&doing, &reporter, |conversation, caller| {
            conversation.generate(&mut job, &store, caller)
        })?;
        Ok(reporter.finish(&self.conclude(summary)))
    }

    /// Has packets sent at set times, and tells what became of them.
    pub(crate) fn stream(&self, wanted: &StreamArgs) -> anyhow::Result<Exit> {
        let doing = format!("cannot have a stream from {}", self.server);
        let stop = Arc::new(AtomicBool::new(false));
        self.line.stop_gently(Some(stop.clone()));
        let done = self.ask(&doing, |conversation, caller| {
            stream::run(conversation, wanted, &stop, &self.screen, &self.server, caller)
        });
        self.line.stop_gently(None);
        match done? {
            (exit, None) => Ok(exit),
            (exit, Some(error)) => {
                let text = exit::plain_words(&error.to_string());
                let doing = format!("the stream from {} broke off", self.server);
                Err(anyhow::Error::new(Problem::new(exit, text)).context(doing))
            }
        }
    }

    /// Has something said back, and shows it with the time that it took.
    pub(crate) fn echo(&self, bytes: &[u8]) -> anyhow::Result<Exit> {
        let doing = format!("cannot have {} say something back", self.server);
        let echo = self.ask(&doing, |conversation, caller| conversation.echo(bytes, caller))?;
        let text = OsStr::from_bytes(&echo.bytes);
        if echo.bytes != bytes {
            let text = format!("{} said something else: {}", self.server, escape::name(text));
            return Err(Problem::new(Exit::Damaged, text).into());
        }
        self.screen.say(&format!("echo  {}   RTT {}", escape::name(text), units::millis(echo.rtt)));
        let mut object = json::event("echo");
        object.insert("peer".to_owned(), self.server.clone().into());
        object.insert("bytes".to_owned(), bytes.len().into());
        json::put_name(&mut object, "text", text);
        object.insert("rtt_ms".to_owned(), json::millis(echo.rtt).into());
        self.screen.object(&object.into());
        Ok(Exit::Done)
    }

    /// What is in a directory, or the file of this name.
    pub(crate) fn things(&self, path: &OsStr) -> anyhow::Result<Vec<Listed>> {
        let shown = if path.is_empty() { "/".to_owned() } else { escape::name(path) };
        let doing = format!("cannot list {shown} on {}", self.server);
        self.ask(&doing, |conversation, caller| conversation.list(path.as_bytes(), caller))
    }

    /// Shows what was listed.
    pub(crate) fn show(&self, things: &[Listed]) {
        if things.is_empty() {
            self.screen.note("nothing is there");
        } else {
            self.screen.say(&listing::table(things, &TimeZone::system()));
        }
        things.iter().for_each(|thing| self.screen.object(&listing::object(thing, &self.server)));
    }

    /// Finds out whether a directory is there: its path.
    pub(crate) fn chdir(&self, path: &OsStr) -> anyhow::Result<OsString> {
        let shown = if path.is_empty() { "/".to_owned() } else { escape::name(path) };
        let doing = format!("cannot go to {shown} on {}", self.server);
        self.ask(&doing, |conversation, caller| {
            self.settle(conversation, path, caller)?;
            Ok(path.to_owned())
        })
    }

    /// Takes leave once the only request is done, so that it is told with its last numbers.
    fn conclude(&self, mut summary: Summary) -> Summary {
        if self.is_single {
            summary.link = self.finish().or(summary.link);
        }
        summary
    }

    fn checksum(&self) -> Checksum {
        self.args.common.checksum.into()
    }
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
