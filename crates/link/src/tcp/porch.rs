//! Where peers wait until they have said something that is worth a thread, and proved that they have the key.

mod guest;
mod log;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, getrlimit};
use seal::Key;

use super::TcpLink;
use super::socket::is_shortage;
use crate::notice::{CROWDED_OUT, TOO_SLOW};
use crate::{Note, origin};
use guest::{Crowd, Guest, Step};
use log::Log;

pub(super) use guest::First;

/// How many peers may wait, where this process may have descriptors enough: of each four one may be for them.
const MOST_WAITING: usize = 512;
const LEAST_WAITING: usize = 8;
const SHARE_OF_DESCRIPTORS: u64 = 4;
/// How many are let in before those who wait are looked at again: looking costs something for each of them.
const MOST_AT_ONCE: usize = 64;
/// How long to leave the listening socket alone when this process has run out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Where peers wait until their first frame is there. They cost nobody else anything: no thread, and hardly any memory.
#[derive(Debug)]
pub(super) struct Porch {
    /// What they have to prove, if anything.
    key: Option<Key>,
    /// How long each may take.
    limit: Duration,
    most: usize,
    waiting: Vec<Guest>,
    /// How many of them come from where.
    crowds: HashMap<IpAddr, Crowd>,
    log: Log,
    /// When to listen again, after this process ran out of something.
    paused: Option<Instant>,
}

impl Porch {
    pub(super) fn new(key: Option<Key>, limit: Duration, note: Option<Note>) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = (descriptors / SHARE_OF_DESCRIPTORS).clamp(LEAST_WAITING as u64, MOST_WAITING as u64);
        Self {
            key,
            limit,
            most: most as usize,
            waiting: Vec::new(),
            crowds: HashMap::new(),
            log: Log::new(note),
            paused: None,
        }
    }

    /// Waits for the next peer that comes in: `None` once `wake` can be read.
    pub(super) fn next(
        &mut self,
        listener: &TcpListener,
        wake: BorrowedFd<'_>,
    ) -> io::Result<Option<TcpLink>> {
        loop {
            let ready = self.wait(listener, wake)?;
            if ready.wake {
                return Ok(None);
            }
            // Those who wait first: new ones may take their places.
            if let Some(link) = self.look(&ready.guests) {
                return Ok(Some(link));
            }
            if ready.listener {
                self.take(listener);
            }
        }
    }

    /// Looks after those who wait: the first who comes in. The others are looked at the next time.
    fn look(&mut self, is_ready: &[bool]) -> Option<TcpLink> {
        let now = Instant::now();
        for at in (0..self.waiting.len()).rev() {
            let guest = &mut self.waiting[at];
            let step =
                if is_ready.get(at) == Some(&true) { guest.listen(self.key.as_ref()) } else { Step::Wait };
            match step {
                Step::Wait if guest.deadline > now => {}
                Step::Wait if !guest.is_refused() => self.let_go(at, TOO_SLOW),
                Step::Wait | Step::Leave => {
                    self.remove(at);
                }
                Step::Welcome(first) => {
                    let (stream, peer) = self.remove(at).into_connection();
                    if let Ok(link) = TcpLink::welcome(stream, peer, first) {
                        return Some(link);
                    }
                }
                Step::TurnAway(why) => {
                    self.log.turned_away(guest.peer(), why);
                    guest.turn_away(now);
                }
            }
        }
        None
    }

    fn wait(&mut self, listener: &TcpListener, wake: BorrowedFd<'_>) -> io::Result<Ready> {
        let now = Instant::now();
        self.paused = self.paused.filter(|until| *until > now);
        let deadline = self.waiting.iter().map(|guest| guest.deadline).chain(self.paused).min();
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let timeout = timeout.and_then(|left| Timespec::try_from(left).ok());
        let listening = if self.paused.is_some() { PollFlags::empty() } else { PollFlags::IN };
        let mut polled = vec![
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
            PollFd::from_borrowed_fd(listener.as_fd(), listening),
        ];
        let guests = self.waiting.iter();
        polled.extend(guests.map(|guest| PollFd::from_borrowed_fd(guest.stream().as_fd(), PollFlags::IN)));
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |polled: &PollFd<'_>| !polled.revents().is_empty();
        Ok(Ready {
            wake: is_ready(&polled[0]),
            listener: is_ready(&polled[1]),
            guests: polled[2..].iter().map(is_ready).collect(),
        })
    }

    /// Lets those in who knock, and somebody else out where there are too many.
    fn take(&mut self, listener: &TcpListener) {
        // Nobody is let out who was not looked at.
        for _ in 0..MOST_AT_ONCE.min(self.most / 2) {
            match listener.accept() {
                Ok((stream, peer)) if stream.set_nonblocking(true).is_ok() => self.add(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Out of descriptors or memory: who waits here gives some back.
                Err(error) if is_shortage(&error) && !self.waiting.is_empty() => self.make_place(),
                // Those who are being served will.
                Err(error) if is_shortage(&error) => {
                    self.paused = Some(Instant::now() + PAUSE);
                    return;
                }
                // Gone again before it was accepted.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn add(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.waiting.len() >= self.most {
            self.make_place();
        }
        let crowd = Arc::clone(self.crowds.entry(origin(peer.ip())).or_default());
        crowd.fetch_add(1, Ordering::Relaxed);
        self.waiting.push(Guest::new(stream, peer, crowd, Instant::now() + self.limit));
    }

    fn remove(&mut self, at: usize) -> Guest {
        let guest = self.waiting.swap_remove(at);
        if guest.leave_crowd() == 0 {
            self.crowds.remove(&origin(guest.peer().ip()));
        }
        guest
    }

    /// Drops the one that has waited longest of those who come from where most do, so that a crowd from one place is in its
    /// own way.
    fn make_place(&mut self) {
        let at = (0..self.waiting.len()).max_by_key(|&at| {
            let guest = &self.waiting[at];
            (guest.crowd(), std::cmp::Reverse(guest.deadline))
        });
        if let Some(at) = at {
            self.let_go(at, CROWDED_OUT);
        }
    }

    fn let_go(&mut self, at: usize, why: &str) {
        let guest = self.remove(at);
        if !guest.is_refused() {
            self.log.turned_away(guest.peer(), why);
        }
        guest.drop_hard();
    }
}

struct Ready {
    wake: bool,
    listener: bool,
    /// As many of those who wait as there were.
    guests: Vec<bool>,
}
