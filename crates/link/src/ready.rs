//! Waiting for sockets to be ready.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

/// Waits until one of these is ready, or the deadline: which of them are ready. A broken one counts as ready.
///
/// The deadline is kept to some 50 microseconds, where a socket's read timeout is rounded to milliseconds.
pub(crate) fn wait<const N: usize>(
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
