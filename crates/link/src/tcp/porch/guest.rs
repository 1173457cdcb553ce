//! A peer that has not said anything yet that was worth a thread.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use framing::frame::Frame;
use seal::{Channel, HELLO_LEN, HandshakeError, Key, RECORD_OVERHEAD, answer, check_start, record_len};
use socket2::SockRef;

use crate::tcp::is_passing;
use crate::tcp::sealed::Sealed;

/// The longest first frame of a client, which is its Hello.
const FIRST_FRAME_LEN: usize = 4096;
/// The longest first record. It proves that the client has made this handshake and not only recorded another.
const FIRST_RECORD_LEN: usize = FIRST_FRAME_LEN + RECORD_OVERHEAD;
/// How long who was turned away has time to see it, and how much of what it says meanwhile is thrown away. To close while
/// bytes are unread would break the connection, and look like an accident.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
const FAREWELL_LEN: usize = 64 * 1024;

/// What is said of a client whose handshake was good and leads nowhere.
const RECORDED: &str = "its handshake was recorded from another connection";

/// How many guests come from one place. They share it, so that whoever compares crowds need not look them up.
pub(super) type Crowd = Arc<AtomicUsize>;

/// A peer that has not proved anything yet.
#[derive(Debug)]
pub(super) struct Guest {
    stream: TcpStream,
    peer: SocketAddr,
    /// Those who come from where it does, itself among them.
    crowd: Crowd,
    /// What it has said and was not understood yet.
    heard: Vec<u8>,
    progress: Progress,
    pub(super) deadline: Instant,
}

/// How far a guest is.
#[derive(Debug)]
enum Progress {
    /// It has not said anything whole.
    Stranger,
    /// Its first message was answered. It was good, but may be an old one of somebody else.
    Answered(Box<Channel>),
    /// It was turned away, and so much of what it said since was thrown away.
    Refused(usize),
}

/// What to do with a guest next.
#[derive(Debug)]
pub(super) enum Step {
    Wait,
    Leave,
    Welcome(First),
    TurnAway(&'static str),
}

/// What a guest came in with.
#[derive(Debug)]
pub(in crate::tcp) enum First {
    /// The first bytes of its stream: a whole frame, or something else that has to be answered.
    Clear(Vec<u8>),
    /// Its seal, and its first record in it.
    Sealed(Sealed),
}

impl Guest {
    pub(super) const fn new(stream: TcpStream, peer: SocketAddr, crowd: Crowd, deadline: Instant) -> Self {
        Self { stream, peer, crowd, heard: Vec::new(), progress: Progress::Stranger, deadline }
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// How many come from where it does.
    pub(super) fn crowd(&self) -> usize {
        self.crowd.load(Ordering::Relaxed)
    }

    /// It is counted no longer: how many are left.
    pub(super) fn leave_crowd(&self) -> usize {
        self.crowd.fetch_sub(1, Ordering::Relaxed) - 1
    }

    pub(super) fn into_connection(self) -> (TcpStream, SocketAddr) {
        (self.stream, self.peer)
    }

    /// Whether it has been told that it does not come in.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.progress, Progress::Refused(_))
    }

    /// Reads what it has said.
    pub(super) fn listen(&mut self, key: Option<&Key>) -> Step {
        let most = match (&self.progress, key) {
            (Progress::Refused(thrown), _) => return self.throw_away(*thrown),
            (Progress::Answered(_), _) => FIRST_RECORD_LEN,
            (Progress::Stranger, Some(_)) => HELLO_LEN,
            (Progress::Stranger, None) => FIRST_FRAME_LEN,
        };
        let mut said = [0; FIRST_RECORD_LEN];
        match self.stream.read(&mut said[..most - self.heard.len()]) {
            Ok(0) => return Step::Leave,
            Ok(read) => self.heard.extend_from_slice(&said[..read]),
            Err(error) if is_passing(&error) => return Step::Wait,
            Err(_) => return Step::Leave,
        }
        match (&self.progress, key) {
            (Progress::Stranger, Some(key)) => self.take_hello(key),
            (Progress::Stranger, None) => self.take_first_frame(),
            _ => self.take_first_record(),
        }
    }

    /// What is no frame is for the conversation to answer: it may be another version, or a client that has a key.
    fn take_first_frame(&mut self) -> Step {
        match Frame::parse(&self.heard) {
            Ok(None) if self.heard.len() < FIRST_FRAME_LEN => Step::Wait,
            Ok(None) => Step::TurnAway("its first message is too long"),
            Ok(Some(_)) | Err(_) => Step::Welcome(First::Clear(std::mem::take(&mut self.heard))),
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
                Step::Welcome(First::Sealed(Sealed::new(*channel, &self.heard)))
            }
            _ => Step::TurnAway(RECORDED),
        }
    }

    pub(super) fn turn_away(&mut self, now: Instant) {
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

    /// Breaks the connection, so that the peer can't take it for an answer to what it said.
    pub(super) fn drop_hard(self) {
        // It is closed in any case.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
