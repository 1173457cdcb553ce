//! Signals of the person or the system.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use link::Closer;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::pipe;

use crate::exit::Exit;
use crate::screen::Screen;

/// Where Linux tells which signals this process ignores.
const STATUS: &str = "/proc/self/status";
/// How long the last words may take when the terminal or pipe does not take them.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// What an interrupt ends: the connection that is open now; and with it a command at a prompt, or else the program.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    closer: Option<Closer>,
    is_stopped: bool,
    /// What is set by the first interrupt, in place of all else.
    gentle: Option<Arc<AtomicBool>>,
    /// Whether somebody sits at a prompt: then an interrupt ends a command, and not the program.
    has_prompt: bool,
    /// How the terminal was before lines were edited on it.
    terminal: Option<Termios>,
    /// A directory that nobody needs when the program is over.
    temporary: Option<PathBuf>,
}

impl Line {
    /// Takes the connection that is open now, or `None` when it is no longer.
    pub(crate) fn set(&self, closer: Option<Closer>) {
        let mut state = self.state();
        if let Some(closer) = closer.as_ref().filter(|_| state.is_stopped) {
            closer.close();
        }
        state.closer = closer;
    }

    /// From now on the first interrupt only sets this: what runs has something to say before it ends.
    pub(crate) fn stop_gently(&self, flag: Option<Arc<AtomicBool>>) {
        self.state().gentle = flag;
    }

    /// Says that a command begins, which was not interrupted yet.
    pub(crate) fn begin(&self) {
        self.state().is_stopped = false;
    }

    /// Whether the command was interrupted.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// From now on there is a prompt: an interrupt ends what runs, and what ends the program leaves the terminal as it is now.
    pub(crate) fn keep_prompt(&self) {
        let mut state = self.state();
        state.has_prompt = true;
        state.terminal = tcgetattr(io::stdin()).ok();
    }

    /// Whether there is a prompt.
    pub(crate) fn has_prompt(&self) -> bool {
        self.state().has_prompt
    }

    /// Takes note of a directory that is to be removed when the program is interrupted.
    pub(crate) fn set_temporary(&self, dir: Option<PathBuf>) {
        self.state().temporary = dir;
    }

    /// Ends what runs: whether the program is to go on.
    fn stop(&self) -> bool {
        let mut state = self.state();
        if let Some(flag) = state.gentle.take() {
            flag.store(true, Ordering::Relaxed);
            return true;
        }
        if state.has_prompt {
            state.is_stopped = true;
            if let Some(closer) = &state.closer {
                closer.close();
            }
        }
        state.has_prompt
    }

    /// Leaves everything in order.
    fn leave(&self) {
        let state = self.state();
        if let Some(terminal) = &state.terminal {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, terminal);
        }
        if let Some(closer) = &state.closer {
            closer.close();
        }
        if let Some(dir) = &state.temporary {
            let _ = fs::remove_dir_all(dir);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the program with exit code 130 and these words as soon as it is told to end or, where there is no prompt, interrupted.
///
/// Nothing much needs to be put in order: what is half done goes on with the next run. Only the other side is told, which would not
/// see it everywhere: over UDP nothing else says that this program is gone.
pub(crate) fn listen(screen: Arc<Screen>, line: Arc<Line>, text: &'static str) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        for signal in signals.forever() {
            if signal != SIGINT || !line.stop() {
                end(screen, line, text);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

fn end(screen: Arc<Screen>, line: Arc<Line>, text: &'static str) -> ! {
    let (spoken, heard) = mpsc::channel();
    thread::spawn(move || {
        screen.clear();
        screen.error(text, Exit::Interrupted, None);
        // The end of the connection is no news for anybody here.
        let _silence = screen.silence();
        line.leave();
        let _ = spoken.send(());
        // Until the program is over.
        thread::park();
    });
    let _ = heard.recv_timeout(LAST_WORDS);
    process::exit(Exit::Interrupted.code().into());
}

/// Something that can be waited for beside sockets: readable from the first signal or call on.
#[derive(Debug)]
pub(crate) struct Wake {
    reader: UnixStream,
    writer: UnixStream,
}

impl Wake {
    /// One that the signals to end the program wake, too.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Under nohup the end of the terminal is not the end of the server.
            if signal != SIGHUP || !is_ignored(signal, &fs::read_to_string(STATUS).unwrap_or_default()) {
                pipe::register(signal, writer.try_clone()?)?;
            }
        }
        writer.set_nonblocking(true)?;
        Ok(Self { reader, writer })
    }

    /// Wakes whoever waits.
    pub(crate) fn wake(&self) {
        // When it is full there is enough in it to wake anyone.
        let _ = (&self.writer).write(&[0]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Whether this status of a process says that it ignores the signal.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_known() {
        let status = "Name:\ttcp-server\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(SIGHUP, status));
        assert!(!is_ignored(SIGINT, status));
        assert!(!is_ignored(SIGHUP, ""));
    }

    #[test]
    fn at_a_prompt_only_the_command_ends() {
        let line = Line::default();
        assert!(!line.stop(), "without one the program ends");
        line.keep_prompt();
        let (sender, closed) = mpsc::channel();
        let closer = move || {
            let sender = sender.clone();
            Some(Closer::new(move || sender.send(()).unwrap()))
        };
        line.set(closer());
        assert!(line.stop() && line.is_stopped());
        assert_eq!(closed.try_iter().count(), 1);
        line.set(closer());
        assert_eq!(closed.try_iter().count(), 1, "a connection that came too late is not used");
        line.begin();
        line.set(closer());
        assert!(!line.is_stopped());
        assert_eq!(closed.try_iter().count(), 0);
    }

    #[test]
    fn waking_is_seen() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let wake = Wake { reader, writer };
        wake.wake();
        assert_eq!(io::Read::read(&mut &wake.reader, &mut [0; 8]).unwrap(), 1);
    }
}
