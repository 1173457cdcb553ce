//! Being woken while waiting.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes a thread that [waits](crate::ready::wait).
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
