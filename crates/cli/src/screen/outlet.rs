//! One of the two streams of a server. Whoever began to read it may have stopped, and clients must not wait for that.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};
use rustix::termios::isatty;

/// How long a stream that nobody reads is waited for, once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that can be written without waiting to a pipe that has room at all: its smallest unit.
const PIECE: usize = 4096;

/// The same of a terminal, whose smallest unit is 256 bytes: it makes two of each end of a line.
const TERMINAL_PIECE: usize = 128;

/// A stream, and what could not be written to it.
#[derive(Debug)]
pub(super) struct Outlet {
    patience: Duration,
    /// What is left of lines that were begun.
    rest: Vec<u8>,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Read,
    /// Nobody reads it, and so many lines were left out.
    Stuck(u64),
}

impl Default for Outlet {
    fn default() -> Self {
        Self { patience: PATIENCE, rest: Vec::new(), flow: Flow::Read }
    }
}

impl Outlet {
    /// Writes lines that belong together, or leaves them out while nobody reads. `tally` makes a line of how many were left out.
    pub(super) fn write(&mut self, stream: BorrowedFd<'_>, lines: &str, tally: impl FnOnce(u64) -> String) {
        let count = lines.lines().count() as u64;
        if let Flow::Stuck(left_out) = self.flow {
            if !self.drain(stream, Duration::ZERO) {
                self.flow = Flow::Stuck(left_out.saturating_add(count));
                return;
            }
            if left_out > 0 {
                self.rest.extend_from_slice(tally(left_out).as_bytes());
            }
        }
        self.rest.extend_from_slice(lines.as_bytes());
        self.flow = if self.drain(stream, self.patience) { Flow::Read } else { Flow::Stuck(0) };
    }

    /// Writes what is left: whether all of it was written, or nobody can read it any more.
    fn drain(&mut self, stream: BorrowedFd<'_>, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let most = if isatty(stream) { TERMINAL_PIECE } else { PIECE };
        while !self.rest.is_empty() {
            if !has_room(stream, deadline.saturating_duration_since(Instant::now())) {
                return false;
            }
            let piece = self.rest.len().min(most);
            match write(stream, &self.rest[..piece]) {
                Ok(written) => drop(self.rest.drain(..written)),
                Err(Errno::INTR | Errno::AGAIN) if Instant::now() < deadline => {}
                Err(Errno::INTR | Errno::AGAIN) => return false,
                // Whoever closed it does not want to read on.
                Err(_) => self.rest.clear(),
            }
        }
        true
    }
}

fn has_room(stream: BorrowedFd<'_>, limit: Duration) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
    // What can't be polled can be written.
    poll(&mut polled, Timespec::try_from(limit).ok().as_ref()).is_ok_and(|ready| ready > 0)
        || polled[0].revents().contains(PollFlags::NVAL)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{PipeReader, PipeWriter, Read as _, pipe};
    use std::os::fd::AsFd as _;
    use std::sync::mpsc;
    use std::thread;

    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    fn outlet() -> (Outlet, PipeReader, PipeWriter) {
        let (reader, writer) = pipe().unwrap();
        (Outlet { patience: Duration::ZERO, ..Outlet::default() }, reader, writer)
    }

    fn tally(count: u64) -> String {
        format!("{count} left out\n")
    }

    /// As many bytes as there are, at least one.
    fn read(reader: &mut PipeReader) -> String {
        let mut bytes = vec![0; 1 << 20];
        let len = reader.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn lines_come_as_they_are() {
        let (mut outlet, mut reader, writer) = outlet();
        outlet.write(writer.as_fd(), "one\n", tally);
        outlet.write(writer.as_fd(), "two\nthree\n", tally);
        assert_eq!(read(&mut reader), "one\ntwo\nthree\n");
    }

    #[test]
    fn when_nobody_reads_lines_are_left_out_and_counted() {
        let (mut outlet, mut reader, writer) = outlet();
        let line = |number: u32| format!("{number:099}\n");
        for number in 0..2000 {
            outlet.write(writer.as_fd(), &line(number), tally);
        }
        let first = read(&mut reader);
        outlet.write(writer.as_fd(), "after\n", tally);
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        let all = first + &rest;
        let mut lines = all.lines();
        let mut next = 0;
        let told = lines.by_ref().find(|told| {
            let is_next = line(next).trim_end() == *told;
            next += u32::from(is_next);
            !is_next
        });
        assert_eq!(told.unwrap(), format!("{} left out", 2000 - next));
        assert!(next > 100, "{next}");
        assert_eq!(lines.collect::<Vec<_>>(), ["after"]);
    }

    #[test]
    fn a_terminal_that_nobody_reads_is_not_waited_for() {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&screen).unwrap();
        let terminal = ioctl_tiocgptpeer(&screen, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let (done, waited) = mpsc::channel();
        let writer = thread::spawn(move || {
            let (mut outlet, ..) = outlet();
            for number in 0..2000 {
                outlet.write(terminal.as_fd(), &format!("{number:0299}\n"), tally);
            }
            done.send(outlet.flow).unwrap();
            terminal
        });
        let flow = waited.recv_timeout(Duration::from_secs(60));
        assert!(matches!(flow, Ok(Flow::Stuck(1..2000))), "{flow:?}");
        // While it is open, what was written to it can be read.
        let _terminal = writer.join().unwrap();
        let mut first = [0; 301];
        File::from(screen).read_exact(&mut first).unwrap();
        assert_eq!(first, *format!("{:0299}\r\n", 0).as_bytes());
    }

    #[test]
    fn who_has_closed_it_is_not_waited_for() {
        let (mut outlet, reader, writer) = outlet();
        drop(reader);
        for _ in 0..2000 {
            outlet.write(writer.as_fd(), &"x".repeat(100), tally);
        }
        assert_eq!((outlet.flow, outlet.rest.len()), (Flow::Read, 0));
    }

    #[test]
    fn a_file_is_always_written() {
        let path = std::env::temp_dir().join(format!("tandem-outlet-{}", std::process::id()));
        let (mut outlet, ..) = outlet();
        let file = File::create_new(&path).unwrap();
        for _ in 0..2000 {
            outlet.write(file.as_fd(), &"x".repeat(100), tally);
        }
        let len = file.metadata().unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(len, 200_000);
    }
}
