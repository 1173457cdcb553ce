//! A client that speaks no protocol: sends a file as it is, or what is typed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;

use framing::{Checksum, Digest, Hasher};
use link::raw::RawPort;
use link::{IDLE_LIMIT, LinkError};
use session::SessionError;
use session::raw::{self, Ending, SendError, Sent};

use super::args::ClientArgs;
use crate::exit::{self, Exit, Problem};
use crate::raw::{Moved, OF_DATAGRAMS, OF_STREAMS};
use crate::report::{label, line};
use crate::screen::Screen;
use crate::{Connect, RawLink, address, escape, json, units};

/// Stands for standard input.
const STDIN: &str = "-";
/// The most bytes of an answer that are shown.
const MAX_SHOWN: usize = 200;

pub(super) fn run<T: Connect>(
    args: &ClientArgs<T>,
    file: Option<&Path>,
    screen: &Arc<Screen>,
) -> anyhow::Result<Exit> {
    let source = file.map(open).transpose()?;
    let server = args.server();
    let link = args.transport.connect_raw(&server, Screen::noting(screen)).map_err(|error| {
        let error = SessionError::from(error);
        let advice = exit::advice(&error, &screen.program().counterpart(), false);
        let text = exit::plain_words(&error.to_string());
        let text = advice.map_or(text.clone(), |advice| format!("{text}; {advice}"));
        Problem::new(Exit::of_session(&error), text)
    })?;
    let (peer, note) = match &link {
        RawLink::Stream(stream) => (Some(stream.peer()), OF_STREAMS),
        RawLink::Datagrams(port, _) => (port.peer(), OF_DATAGRAMS),
    };
    if peer.is_some_and(|peer| !address::is_loopback(peer.ip())) && !args.common.insecure {
        screen.note(&format!("nothing on the way to {server} is encrypted; --insecure silences this line"));
    }
    screen.note(note);
    let call = Call { screen, server };
    match source {
        Some((name, mut source)) => call.send(link, &name, &mut *source),
        None => call.converse(link),
    }
}

/// What is to be sent, and its name.
type Source = (std::ffi::OsString, Box<dyn Read + Send>);

fn open(path: &Path) -> Result<Source, Problem> {
    if path == Path::new(STDIN) {
        return Ok((STDIN.into(), Box::new(io::stdin())));
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_owned();
    let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::Error::other("it is a directory, and --raw sends one file")),
        false => Ok(file),
    });
    match file {
        Ok(file) => Ok((name, Box::new(file))),
        Err(error) => Err(unreadable(path.as_os_str(), &error)),
    }
}

fn unreadable(name: &OsStr, error: &io::Error) -> Problem {
    let why = exit::plain_words(&error.to_string());
    Problem::new(Exit::LocalFile, format!("cannot read {}: {why}", escape::name(name)))
}

struct Call<'a> {
    screen: &'a Arc<Screen>,
    server: String,
}

impl Call<'_> {
    fn send(&self, link: RawLink, name: &OsStr, source: &mut (dyn Read + Send)) -> anyhow::Result<Exit> {
        let mut answer = Answer::default();
        let is_stream = matches!(link, RawLink::Stream(_));
        let sent = match link {
            RawLink::Stream(stream) => raw::send(&stream, source, &mut |bytes| answer.take(bytes)),
            RawLink::Datagrams(port, plan) => {
                raw::send_datagrams(&port, source, plan, &mut |bytes| answer.take(bytes))
            }
        };
        let sent = sent.map_err(|error| self.lost(name, error))?;
        self.tell(name, &sent, (!is_stream).then_some(sent.datagrams), answer);
        match sent.ending {
            Ending::Closed => {}
            Ending::ClosedEarly => self.screen.note(&format!(
                "{} closed its own direction before the end, so whether it has taken all of it is not known",
                self.server
            )),
            Ending::Silent if is_stream => {
                let text = format!(
                    "all was sent, but {} did not close the connection within {} s, so whether it has taken all of it \
                     is not known",
                    self.server,
                    IDLE_LIMIT.as_secs()
                );
                return Err(Problem::new(Exit::NoLink, text).into());
            }
            Ending::Silent => {}
        }
        Ok(Exit::Done)
    }

    /// Sends what is typed, and prints what comes back.
    fn converse(&self, link: RawLink) -> anyhow::Result<Exit> {
        if io::stdin().is_terminal() {
            self.screen.note(&format!("what you type goes to {}, line by line; Ctrl-D ends it", self.server));
        }
        let mut heard = |bytes: &[u8]| self.heard(bytes);
        let ended = match link {
            RawLink::Stream(stream) => raw::converse(&Arc::new(stream), io::stdin(), &mut heard),
            RawLink::Datagrams(port, _) => self.converse_datagrams(port),
        };
        match ended.map_err(|error| self.lost(OsStr::new("what was typed"), error))? {
            Ending::ClosedEarly => self.screen.note(&format!("{} closed the connection", self.server)),
            Ending::Closed | Ending::Silent => {}
        }
        Ok(Exit::Done)
    }

    fn converse_datagrams(&self, port: RawPort) -> Result<Ending, SendError> {
        // Each datagram is a line of its own, whether it ends one or not.
        let mut heard = |bytes: &[u8]| {
            self.heard(bytes);
            if !bytes.ends_with(b"\n") && !self.screen.voice().json {
                self.heard(b"\n");
            }
        };
        raw::converse_datagrams(&Arc::new(port), BufReader::new(io::stdin()), &mut heard)
    }

    /// Prints what came: as it is, unless it could steer a terminal.
    fn heard(&self, bytes: &[u8]) {
        if self.screen.voice().json {
            let mut object = json::event("said");
            object.insert("peer".to_owned(), self.server.as_str().into());
            use std::os::unix::ffi::OsStrExt as _;
            json::put_name(&mut object, "text", OsStr::from_bytes(bytes));
            self.screen.object(&object.into());
            return;
        }
        let mut stdout = io::stdout();
        let written = if stdout.is_terminal() {
            stdout.write_all(escape::lines(bytes).as_bytes())
        } else {
            stdout.write_all(bytes)
        };
        // Whoever closed the pipe does not want to read on.
        let _ = written.and_then(|()| stdout.flush());
    }

    fn lost(&self, name: &OsStr, error: SendError) -> Problem {
        let server = &self.server;
        match error {
            SendError::Source(error) => unreadable(name, &error),
            SendError::Link(LinkError::Broken(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let counterpart = self.screen.program().counterpart();
                Problem::new(
                    Exit::NoLink,
                    format!("nobody answers at {server}; is {counterpart} running there?"),
                )
            }
            SendError::Link(error) => {
                let why = exit::plain_words(&error.to_string());
                let text = format!(
                    "cannot send {} to {server}: {why}; whether it has kept any of it is not known",
                    escape::name(name)
                );
                Problem::new(Exit::NoLink, text)
            }
        }
    }

    fn tell(&self, name: &OsStr, sent: &Sent, datagrams: Option<u64>, answer: Answer) {
        let Sent { len, elapsed, digest, .. } = *sent;
        let moved = Moved { name, len, elapsed, datagrams, digest };
        self.screen.say(&moved.lines("sent", format!("to {}", self.server)));
        let mut object = moved.object("sender", &self.server);
        object["answer_bytes"] = answer.len.into();
        if let Some(text) = answer.text() {
            self.screen.say(&line("said", [Some(text.clone())]));
            object["answer"] = text.into();
        } else if answer.len > 0 {
            let (len, back) = answer.finish();
            let same = if back == digest { "same" } else { "not what was sent" };
            self.screen.say(&line("back", [Some(units::size(len)), Some(format!("from {}", self.server))]));
            self.screen.say(&format!("{}{back}   back   {same}", label(back.checksum().name())));
            object["answer_checksum"] = back.to_string().into();
        }
        self.screen.object(&object);
    }
}

/// What the other side said while a file was sent.
struct Answer {
    beginning: Vec<u8>,
    len: u64,
    hasher: Hasher,
}

impl Default for Answer {
    fn default() -> Self {
        Self { beginning: Vec::new(), len: 0, hasher: Hasher::new(Checksum::Md5) }
    }
}

impl Answer {
    fn take(&mut self, bytes: &[u8]) {
        let room = MAX_SHOWN - self.beginning.len();
        self.beginning.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.len += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// All of it, if it is a short text.
    fn text(&self) -> Option<String> {
        let is_all = self.len > 0 && self.len == self.beginning.len() as u64;
        let text = std::str::from_utf8(&self.beginning).ok().filter(|_| is_all)?;
        Some(escape::text(text.trim_end()))
    }

    fn finish(self) -> (u64, Digest) {
        (self.len, self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_answers_are_shown_and_long_ones_weighed() {
        let mut answer = Answer::default();
        assert_eq!(answer.text(), None);
        answer.take(b"Hello from ");
        answer.take(b"the server!\n");
        assert_eq!(answer.text().as_deref(), Some("Hello from the server!"));
        answer.take(&[0; 1000]);
        assert_eq!(answer.text(), None);
        assert_eq!(answer.finish().0, 1023);
        let mut odd = Answer::default();
        odd.take(b"\xff");
        assert_eq!(odd.text(), None);
    }
}
