//! Waiting for sockets, and being woken while at it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Wakes a thread that waits in [`wait`].
#[derive(Debug)]
pub(super) struct Waker {
    near: UnixStream,
    far: UnixStream,
    /// Whether it has been woken and has not noticed yet.
    awake: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self { near, far, awake: AtomicBool::new(false) })
    }

    /// Makes it readable until it is [taken in](Self::settle).
    pub(super) fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            // A full pipe wakes as well.
            let _ = (&self.near).write(&[1]);
        }
    }

    /// Takes the waking in. What it was for is looked at after this.
    pub(super) fn settle(&self) {
        let mut scrap = [0; 64];
        while matches!((&self.far).read(&mut scrap), Ok(read) if read == scrap.len()) {}
        self.awake.store(false, Ordering::Release);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }
}

/// Waits until one of these is ready, or the deadline: which of them are ready. A broken one counts as ready.
///
/// The deadline is kept to some 50 microseconds, where a socket's read timeout is rounded to milliseconds.
pub(super) fn wait<const N: usize>(
    sockets: &[(&dyn AsFd, PollFlags); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled =
        sockets.each_ref().map(|(socket, flags)| PollFd::from_borrowed_fd(socket.as_fd(), *flags));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.each_ref().map(|polled| !polled.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
