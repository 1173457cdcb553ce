//! The handshake that proves on both sides that they have the key, before anything else is said.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use seal::{
    Channel, HELLO_LEN, HandshakeError, Initiator, Key, RECORD_OVERHEAD, answer, check_start, record_len,
};
use socket2::SockRef;

use super::sealed::Sealed;
use super::socket::{TcpOptions, is_shortage, wait};
use super::{TcpLink, is_passing};
use crate::{ConnectError, Note, Notice};

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The longest first record of a client. It proves that the client has made this handshake and not only recorded another.
const FIRST_RECORD_LEN: usize = 4096 + RECORD_OVERHEAD;
/// How many peers may be in the middle of one.
const MOST_WAITING: usize = 512;
/// How long who was turned away has time to see it, and how much of what it says meanwhile is thrown away. To close while
/// bytes are unread would break the connection, and look like an accident.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
const FAREWELL_LEN: usize = 64 * 1024;
/// How long to leave the listening socket alone when this process has run out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// What is said of a client that keeps silent, and of one that is not waited for any longer because of a crowd.
const TOO_SLOW: &str = "it took too long for its handshake";
const CROWDED_OUT: &str = "too many wait for their handshake at once";
/// What is said of a client whose handshake was good and leads nowhere.
const RECORDED: &str = "its handshake was recorded from another connection";
/// What the server's first bytes are when it has no key: a frame of version 1.
const CLEAR_START: [u8; 3] = [b'T', b'D', framing::frame::VERSION];

/// The client's side, on a fresh connection.
pub(super) fn greet(stream: &TcpStream, server: &str, key: &Key) -> Result<Sealed, ConnectError> {
    stream.set_nonblocking(true)?;
    let deadline = Instant::now() + HANDSHAKE_LIMIT;
    let failed = |error| ConnectError::Connect { server: server.to_owned(), error };
    let refused = |error| explain(error, server);
    let (initiator, hello) = Initiator::begin(key).map_err(refused)?;
    let mut stream = stream;
    // A fresh socket has room for so little.
    stream.write_all(&hello).map_err(failed)?;
    let mut reply = [0; HELLO_LEN];
    let mut got = 0;
    while got < HELLO_LEN {
        if !wait(&[(stream, PollFlags::IN)], Some(deadline))?[0] {
            let text = format!("no answer to the handshake within {} s", HANDSHAKE_LIMIT.as_secs());
            return Err(failed(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        match stream.read(&mut reply[got..]) {
            Ok(0) => return Err(refused(HandshakeError::KeysDiffer)),
            Ok(read) => got += read,
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(failed(error)),
        }
        if reply[..got].starts_with(&CLEAR_START) {
            return Err(ConnectError::Keyless { server: server.to_owned() });
        }
        check_start(&reply[..got]).map_err(refused)?;
    }
    let channel = initiator.finish(&reply).map_err(refused)?;
    Ok(Sealed::new(channel, &[]))
}

fn explain(error: HandshakeError, server: &str) -> ConnectError {
    let server = server.to_owned();
    match error {
        HandshakeError::KeysDiffer => ConnectError::KeysDiffer { server },
        HandshakeError::NotSealed | HandshakeError::Version(_) | HandshakeError::Random => {
            ConnectError::Handshake { server, error: error.to_string() }
        }
    }
}

/// Where peers wait until they have proved that they have the key. They cost nobody else anything: no thread, and hardly
/// any memory.
#[derive(Debug)]
pub(super) struct Porch {
    key: Key,
    waiting: Vec<Guest>,
    log: Log,
    /// When to listen again, after this process ran out of something.
    paused: Option<Instant>,
}

/// A peer that has not proved anything yet.
#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    peer: SocketAddr,
    /// What it has said and was not understood yet.
    heard: Vec<u8>,
    progress: Progress,
    deadline: Instant,
}

/// How far a guest is.
#[derive(Debug)]
enum Progress {
    /// It has not begun a handshake.
    Stranger,
    /// Its first message was answered. It was good, but may be an old one of somebody else.
    Answered(Box<Channel>),
    /// It was turned away, and so much of what it said since was thrown away.
    Refused(usize),
}

/// What to do with a guest next.
enum Step {
    Wait,
    Leave,
    Welcome(Sealed),
    TurnAway(&'static str),
}

impl Porch {
    pub(super) fn new(key: Key, note: Option<Note>) -> Self {
        Self { key, waiting: Vec::new(), log: Log { note }, paused: None }
    }

    /// Waits for the next peer that has the key: `None` once `wake` can be read.
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
            if ready.listener {
                self.take(listener);
            }
            let now = Instant::now();
            for at in (0..self.waiting.len()).rev() {
                let guest = &mut self.waiting[at];
                let step = match ready.guests.get(at) {
                    Some(true) => guest.listen(&self.key),
                    _ => Step::Wait,
                };
                match step {
                    Step::Wait if guest.deadline > now => {}
                    Step::Wait if !matches!(guest.progress, Progress::Refused(_)) => {
                        self.log.turned_away(guest.peer, TOO_SLOW);
                        self.waiting.swap_remove(at).drop_hard();
                    }
                    Step::Wait | Step::Leave => {
                        self.waiting.swap_remove(at);
                    }
                    Step::Welcome(sealed) => {
                        let Guest { stream, peer, .. } = self.waiting.swap_remove(at);
                        if let Ok(link) = TcpLink::new(stream, peer, Some(sealed)) {
                            return Ok(Some(link));
                        }
                    }
                    Step::TurnAway(why) => {
                        self.log.turned_away(guest.peer, why);
                        guest.turn_away(now);
                    }
                }
            }
        }
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
        polled.extend(guests.map(|guest| PollFd::from_borrowed_fd(guest.stream.as_fd(), PollFlags::IN)));
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

    /// Lets one in, and somebody else out where there are too many.
    fn take(&mut self, listener: &TcpListener) {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // Out of descriptors or memory: those who are here will give some back.
            Err(error) if is_shortage(&error) => {
                self.paused = Some(Instant::now() + PAUSE);
                return;
            }
            // Gone again before it was accepted.
            Err(_) => return,
        };
        let settled = TcpOptions::default().apply(SockRef::from(&stream)).is_ok();
        if !settled || stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.make_place();
        }
        let deadline = Instant::now() + HANDSHAKE_LIMIT;
        let (heard, progress) = (Vec::new(), Progress::Stranger);
        self.waiting.push(Guest { stream, peer, heard, progress, deadline });
    }

    /// Drops the one that has waited longest of the address that has most of them here, so that a crowd from one place
    /// is in its own way.
    fn make_place(&mut self) {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for guest in &self.waiting {
            *crowds.entry(guest.peer.ip()).or_default() += 1;
        }
        let largest = |guest: &Guest| crowds.get(&guest.peer.ip()).copied().unwrap_or_default();
        let at = (0..self.waiting.len()).max_by_key(|&at| {
            let guest = &self.waiting[at];
            (largest(guest), std::cmp::Reverse(guest.deadline))
        });
        if let Some(at) = at {
            let guest = self.waiting.swap_remove(at);
            self.log.turned_away(guest.peer, CROWDED_OUT);
            guest.drop_hard();
        }
    }
}

struct Ready {
    wake: bool,
    listener: bool,
    /// As many of those who wait as there were.
    guests: Vec<bool>,
}

impl Guest {
    /// Reads what it has said.
    fn listen(&mut self, key: &Key) -> Step {
        let most = match self.progress {
            Progress::Stranger => HELLO_LEN,
            Progress::Answered(_) => FIRST_RECORD_LEN,
            Progress::Refused(thrown) => return self.throw_away(thrown),
        };
        let mut said = [0; FIRST_RECORD_LEN];
        match self.stream.read(&mut said[..most - self.heard.len()]) {
            Ok(0) => return Step::Leave,
            Ok(read) => self.heard.extend_from_slice(&said[..read]),
            Err(error) if is_passing(&error) => return Step::Wait,
            Err(_) => return Step::Leave,
        }
        match &self.progress {
            Progress::Answered(_) => self.take_first_record(),
            _ => self.take_hello(key),
        }
    }

    fn take_hello(&mut self, key: &Key) -> Step {
        match check_start(&self.heard) {
            Ok(()) => {}
            Err(HandshakeError::Version(_)) => return Step::TurnAway("it speaks another version"),
            Err(_) => return Step::TurnAway("it does not come with a key"),
        }
        let Some(hello) = self.heard.as_array() else { return Step::Wait };
        let (reply, channel) = match answer(key, hello) {
            Ok(answered) => answered,
            Err(HandshakeError::Random) => return Step::TurnAway("this system gave no random numbers"),
            Err(_) => return Step::TurnAway("it has another key"),
        };
        self.heard.clear();
        self.progress = Progress::Answered(Box::new(channel));
        match self.stream.write(&reply) {
            Ok(HELLO_LEN) => Step::Wait,
            // A fresh socket has room for so little; this one is strange.
            Ok(_) | Err(_) => Step::Leave,
        }
    }

    fn take_first_record(&mut self) -> Step {
        let record = match record_len(&self.heard) {
            Ok(Some(len)) if len <= FIRST_RECORD_LEN => self.heard.get(..len),
            Ok(None) => None,
            Ok(Some(_)) | Err(_) => return Step::TurnAway(RECORDED),
        };
        let Some(record) = record else { return Step::Wait };
        match std::mem::replace(&mut self.progress, Progress::Stranger) {
            Progress::Answered(channel) if channel.opener.would_open(record) => {
                Step::Welcome(Sealed::new(*channel, &self.heard))
            }
            _ => Step::TurnAway(RECORDED),
        }
    }

    fn turn_away(&mut self, now: Instant) {
        self.progress = Progress::Refused(0);
        self.heard = Vec::new();
        self.deadline = now + FAREWELL_LIMIT;
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn throw_away(&mut self, thrown: usize) -> Step {
        let mut scrap = [0; 4096];
        match self.stream.read(&mut scrap) {
            Ok(0) => Step::Leave,
            Ok(read) if thrown + read < FAREWELL_LEN => {
                self.progress = Progress::Refused(thrown + read);
                Step::Wait
            }
            Err(error) if is_passing(&error) => Step::Wait,
            Ok(_) | Err(_) => Step::Leave,
        }
    }

    /// Breaks the connection, so that the peer can't take it for an answer to its handshake.
    fn drop_hard(self) {
        // It is closed in any case.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Says who was turned away.
struct Log {
    note: Option<Note>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    fn turned_away(&self, peer: SocketAddr, why: &str) {
        if let Some(note) = &self.note {
            note(&Notice::TurnedAway { peer, why });
        }
    }
}
