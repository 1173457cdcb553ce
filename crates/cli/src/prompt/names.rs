//! From the words of a command to names, here and on the server.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{fs, io};

use session::Listed;
use session::store::{NameError, SafePath};

use super::Prompt;
use super::wildcards::{Found, expand, too_many};
use super::words::Word;
use crate::exit::{self, Exit, Problem};
use crate::{Connect, escape};

/// The most bytes of names in one request.
const MAX_BATCH_LEN: usize = 32 * 1024;

/// The files of this machine that words name.
pub(super) fn local(words: &[Word]) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for word in words {
        let shown = escape::name(OsStr::from_bytes(&word.bytes()));
        let found = expand(word, |dir| {
            local_things(dir).map_err(|error| {
                let (dir, why) =
                    (escape::name(OsStr::from_bytes(dir)), exit::plain_words(&error.to_string()));
                Problem::new(Exit::LocalFile, format!("cannot list {dir}: {why}"))
            })
        })?;
        let found = found.ok_or_else(|| Problem::new(Exit::Usage, too_many(&shown)))?;
        if found.is_empty() {
            return Err(Problem::new(Exit::LocalFile, format!("nothing here matches {shown}")).into());
        }
        paths.extend(found.into_iter().map(|path| PathBuf::from(OsString::from_vec(path))));
    }
    Ok(paths)
}

/// What is in a directory of this machine, called as it begins a path.
pub(super) fn local_things(dir: &[u8]) -> io::Result<Vec<Found>> {
    let dir = if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) };
    let found = fs::read_dir(dir)?.map(|entry| {
        let entry = entry?;
        // What a link points to; a link that points nowhere is a name all the same.
        let is_directory = fs::metadata(entry.path()).is_ok_and(|about| about.is_dir());
        Ok(Found { name: entry.file_name().into_vec(), is_directory })
    });
    found.collect()
}

impl<T: Connect> Prompt<T> {
    /// The paths on the server that words name, from the directory that is served.
    pub(super) fn remote(&self, words: &[Word]) -> anyhow::Result<Vec<OsString>> {
        let mut paths = Vec::new();
        for word in words {
            for path in self.expand(word)? {
                paths.push(self.resolve(&path)?);
            }
        }
        Ok(paths)
    }

    /// The things on the server that match a word, called as the word calls them.
    pub(super) fn matching(&self, word: &Word) -> anyhow::Result<Vec<Listed>> {
        let mut things = Vec::new();
        for path in self.expand(word)? {
            let path = path.strip_suffix(b"/").unwrap_or(&path);
            let name_start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            let (dir, name) = path.split_at(name_start);
            let listed = self.things(dir)?;
            // A file may have gone since.
            if let Some(thing) = listed.iter().find(|thing| thing.name.as_bytes() == name) {
                things.push(Listed { name: OsString::from_vec(path.to_vec()), ..thing.clone() });
            }
        }
        Ok(things)
    }

    fn expand(&self, word: &Word) -> anyhow::Result<Vec<Vec<u8>>> {
        let shown = escape::name(OsStr::from_bytes(&word.bytes()));
        let found = expand(word, |dir| anyhow::Ok(self.things(dir)?.iter().map(found).collect()))?;
        let found = found.ok_or_else(|| Problem::new(Exit::Usage, too_many(&shown)))?;
        if found.is_empty() {
            let text = format!("nothing on {} matches {shown}", self.contact.server);
            return Err(Problem::new(Exit::Refused, text).into());
        }
        Ok(found)
    }

    /// What is in a directory of the server, called as it begins a path.
    fn things(&self, dir: &[u8]) -> anyhow::Result<Rc<Vec<Listed>>> {
        let path = self.resolve(dir)?;
        self.shelf.of(&path, || self.contact.things(&path))
    }
}

/// What matters of a thing, to match it.
pub(super) fn found(thing: &Listed) -> Found {
    Found { name: thing.name.as_bytes().to_vec(), is_directory: thing.is_directory }
}

/// The names that can be asked for, and the others with what is wrong with each.
pub(super) fn safe(paths: Vec<OsString>) -> (Vec<OsString>, Vec<(OsString, NameError)>) {
    let mut others = Vec::new();
    let mut safe = Vec::new();
    for path in paths {
        match SafePath::parse(path.as_bytes()) {
            Ok(_) => safe.push(path),
            Err(why) => others.push((path, why)),
        }
    }
    (safe, others)
}

/// The names in as many parts as it takes requests: none with more names than fit, or with two that would be called the same.
pub(super) fn batches(paths: &[OsString]) -> Vec<&[OsString]> {
    let mut batches = Vec::new();
    let mut rest = paths;
    while !rest.is_empty() {
        let mut len = 0;
        let mut names: HashSet<Option<&OsStr>> = HashSet::new();
        let mut count = 0;
        for path in rest {
            len += path.len();
            // One name fits in any case.
            if !names.insert(Path::new(path).file_name()) || (len > MAX_BATCH_LEN && count > 0) {
                break;
            }
            count += 1;
        }
        let (batch, after) = rest.split_at(count);
        batches.push(batch);
        rest = after;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::words::split;

    fn paths(names: &[&str]) -> Vec<OsString> {
        names.iter().map(OsString::from).collect()
    }

    #[test]
    fn names_are_asked_for_together_if_they_can_be() {
        assert!(batches(&[]).is_empty());
        let few = paths(&["a", "b/c", "d"]);
        assert_eq!(batches(&few), [&few[..]]);
        let twice = paths(&["x/a", "b", "y/a", "c", "b"]);
        assert_eq!(batches(&twice), [&twice[..2], &twice[2..]]);
        let long = "x".repeat(MAX_BATCH_LEN / 2);
        let many = paths(&[&long, &format!("{long}2"), &format!("{long}3")]);
        assert_eq!(batches(&many).len(), 3);
        let longer = paths(&[&"x".repeat(2 * MAX_BATCH_LEN)]);
        assert_eq!(batches(&longer), [&longer[..]]);
    }

    #[test]
    fn names_that_no_server_gives_are_told_from_the_others() {
        let (safe, others) = safe(paths(&["a", "new\nline", "b/c", "b/aux.h"]));
        assert_eq!(safe, paths(&["a", "b/c"]));
        let named: Vec<_> = others.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(named, paths(&["new\nline", "b/aux.h"]));
    }

    #[test]
    fn local_names_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.mp3", "a.mp3", "c.txt"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let of = |name: &str| {
            let line = format!("{}/{name}", dir.path().display());
            local(&split(line.as_bytes()).unwrap())
        };
        assert_eq!(of("*.mp3").unwrap(), ["a.mp3", "b.mp3"].map(|name| dir.path().join(name)));
        assert_eq!(of("none").unwrap(), [dir.path().join("none")], "that it is not there is said later");
        let error = of("z*").unwrap_err();
        assert_eq!(Exit::of_error(&error), Exit::LocalFile);
        assert!(error.to_string().starts_with("nothing here matches"), "{error}");
        assert_eq!(Exit::of_error(&of("none/*").unwrap_err()), Exit::LocalFile);
    }
}
