//! Signals of the person or the system.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use link::Closer;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::pipe;

use crate::exit::Exit;
use crate::screen::Screen;

/// Where Linux tells which signals this process ignores.
const STATUS: &str = "/proc/self/status";
/// How long the last words may take when the terminal or pipe does not take them.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The connection that is open now, if one is: who is interrupted can end it.
pub(crate) type Line = Arc<Mutex<Option<Closer>>>;

/// Ends the program with exit code 130 and these words as soon as it is interrupted or told to end.
///
/// Nothing needs to be put in order: what is half done goes on with the next run. Only the other side is told, which would not
/// see it everywhere: over UDP nothing else says that this program is gone.
pub(crate) fn exit_at_once(screen: Arc<Screen>, line: Line, text: &'static str) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        signals.forever().next();
        let (spoken, heard) = mpsc::channel();
        thread::spawn(move || {
            screen.clear();
            screen.error(text, Exit::Interrupted, None);
            // The end of the connection is no news for anybody here.
            let _silence = screen.silence();
            if let Some(closer) = &*line.lock().unwrap_or_else(PoisonError::into_inner) {
                closer.close();
            }
            let _ = spoken.send(());
            // Until the program is over.
            thread::park();
        });
        let _ = heard.recv_timeout(LAST_WORDS);
        process::exit(Exit::Interrupted.code().into());
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
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
    fn waking_is_seen() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let wake = Wake { reader, writer };
        wake.wake();
        assert_eq!(io::Read::read(&mut &wake.reader, &mut [0; 8]).unwrap(), 1);
    }
}
