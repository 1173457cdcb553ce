//! Datagrams: what a server answers and keeps, and what a client sends.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use framing::{Checksum, Hasher, Refusal};
use link::LinkError;
use link::raw::{Datagram, RawPort, Ready, Slots};

use super::{DOUBT, Ending, GREETING, Intake, Keeper, PAUSE, SendError, Sent, is_greeting};
use crate::SessionError;

/// A sender that is silent for so long has sent all of its file.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a client waits for another answer when it has sent all.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// Ports below are those of the system's services. They don't talk to this program: datagrams that seem to come from there
/// are to make the two send each other echoes for ever.
const FIRST_OWN_PORT: u16 = 1024;
/// The largest UDP payload over IPv4.
const MAX_DATAGRAM_LEN: u64 = 65_507;
/// Bytes of the IP and UDP headers of a datagram, which a rate counts too.
const OVERHEAD: u64 = 28;
/// How much sending time that was missed is made up for.
const BURST: Duration = Duration::from_millis(2);
/// After so many datagrams in a row a client looks what has come back.
const LOOK: u64 = 16;

/// What is sent back for a datagram: itself, unless it greets.
///
/// That is less than three times as much as what came, counted with headers, so that nobody can use a server to flood others.
#[must_use]
pub fn answer(from: SocketAddr, bytes: &[u8]) -> Option<&[u8]> {
    // Two servers must not greet each other for ever.
    if from.port() < FIRST_OWN_PORT || bytes.starts_with(GREETING) {
        return None;
    }
    Some(if is_greeting(bytes) { GREETING } else { bytes })
}

/// Takes datagrams of several senders and makes a file of those of each.
///
/// A state machine: it is told the time, and asked when it wants to be called again.
#[derive(Debug)]
pub struct Gathering {
    keeper: Keeper,
    most: usize,
    senders: HashMap<SocketAddr, Sender>,
}

#[derive(Debug)]
struct Sender {
    state: State,
    until: Instant,
}

#[derive(Debug)]
enum State {
    /// It has sent one line that may greet, or be all of its file, to this address.
    Doubtful { line: Vec<u8>, to: Option<IpAddr> },
    /// Its file is coming.
    Open(Box<Intake>),
    /// Its file can't be kept; the rest of it is passed over.
    Spoilt,
    /// Its file was whole. Another end of it makes no new one.
    Over,
}

/// What is to be done for a sender.
#[derive(Debug)]
pub enum Due {
    /// It is to be sent [`GREETING`], from this address if one is given.
    Greet(SocketAddr, Option<IpAddr>),
    /// Its file is whole, and to be committed.
    Commit(SocketAddr, Box<Intake>),
}

impl Gathering {
    /// Gathers files of at most so many senders at once.
    #[must_use]
    pub fn new(keeper: Keeper, most: usize) -> Self {
        Self { keeper, most, senders: HashMap::new() }
    }

    /// When [`Self::expire`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.senders.values().map(|sender| sender.until).min()
    }

    /// Senders whose files are not whole.
    pub fn unfinished(&self) -> impl Iterator<Item = SocketAddr> {
        let is_open = |sender: &Sender| matches!(sender.state, State::Open(_) | State::Doubtful { .. });
        self.senders.iter().filter(move |(_, sender)| is_open(sender)).map(|(from, _)| *from)
    }

    /// Takes a datagram: what is to be done now. An error is about this sender's file only.
    pub fn take(&mut self, now: Instant, datagram: &Datagram<'_>) -> Result<Option<Due>, SessionError> {
        let Datagram { from, to, bytes } = *datagram;
        let state = self.senders.remove(&from).map(|sender| sender.state);
        if state.is_none() {
            self.make_room()?;
        }
        let taken = match (state, bytes) {
            (None | Some(State::Over), bytes) if is_greeting(bytes) => {
                Ok(State::Doubtful { line: bytes.to_vec(), to })
            }
            (None, []) => return self.keeper.begin().map(|intake| self.over(now, from, Some(intake))),
            (None | Some(State::Over), [_, ..]) => self.keeper.begin().and_then(|intake| put(intake, bytes)),
            (Some(State::Open(intake)), []) => return Ok(self.over(now, from, Some(*intake))),
            (Some(State::Open(intake)), bytes) => put(*intake, bytes),
            (Some(State::Doubtful { line, .. }), bytes) => {
                let begun = self.keeper.begin().and_then(|mut intake| intake.append(&line).map(|()| intake));
                match (begun, bytes) {
                    (Ok(intake), []) => return Ok(self.over(now, from, Some(intake))),
                    (Ok(intake), bytes) => put(intake, bytes),
                    (Err(error), _) => Err(error),
                }
            }
            (Some(State::Spoilt), [_, ..]) => Ok(State::Spoilt),
            (Some(State::Spoilt | State::Over), []) => return Ok(self.over(now, from, None)),
        };
        let (state, told) = match taken {
            Ok(state) => (state, Ok(None)),
            Err(error) => (State::Spoilt, Err(error)),
        };
        let wait = if matches!(state, State::Doubtful { .. }) { DOUBT } else { SILENCE };
        self.senders.insert(from, Sender { state, until: now + wait });
        told
    }

    /// Does what is due by now.
    pub fn expire(&mut self, now: Instant) -> Vec<Due> {
        let late = self.senders.extract_if(|_, sender| sender.until <= now);
        let due = late.filter_map(|(from, sender)| match sender.state {
            State::Doubtful { to, .. } => Some(Due::Greet(from, to)),
            State::Open(intake) => Some(Due::Commit(from, intake)),
            State::Spoilt | State::Over => None,
        });
        due.collect()
    }

    fn over(&mut self, now: Instant, from: SocketAddr, intake: Option<Intake>) -> Option<Due> {
        self.senders.insert(from, Sender { state: State::Over, until: now + SILENCE });
        intake.map(|intake| Due::Commit(from, Box::new(intake)))
    }

    /// Makes room for another sender: those who are done go first.
    fn make_room(&mut self) -> Result<(), SessionError> {
        if self.senders.len() < self.most {
            return Ok(());
        }
        let is_over = |sender: &Sender| matches!(sender.state, State::Over);
        let over =
            self.senders.iter().filter(|(_, sender)| is_over(sender)).min_by_key(|(_, sender)| sender.until);
        let from = over.map(|(from, _)| *from).ok_or_else(|| {
            let text =
                format!("{} senders are served already, and datagrams of others are dropped", self.most);
            SessionError::Declined { refusal: Refusal::Busy, text }
        })?;
        self.senders.remove(&from);
        Ok(())
    }
}

fn put(mut intake: Intake, bytes: &[u8]) -> Result<State, SessionError> {
    intake.append(bytes).map(|()| State::Open(Box::new(intake)))
}

/// How datagrams are to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Bytes in each.
    pub len: usize,
    /// Bits a second, headers included.
    pub rate: u64,
}

/// Sends all of `source` in datagrams, then an empty one, and waits a moment for answers. What comes back is `heard`,
/// datagram by datagram.
pub fn send_datagrams(
    port: &RawPort,
    source: &mut dyn Read,
    plan: Plan,
    heard: &mut dyn FnMut(&[u8]),
) -> Result<Sent, SendError> {
    let mut slots = Slots::default();
    let mut buffer = vec![0; plan.len];
    let mut hasher = Hasher::new(Checksum::Md5);
    let began = Instant::now();
    let (mut len, mut datagrams, mut next) = (0, 0, began);
    loop {
        let filled = fill(source, &mut buffer).map_err(SendError::Source)?;
        if filled == 0 {
            break;
        }
        if datagrams % LOOK == 0 || next > Instant::now() {
            hear(port, &mut slots, next, heard)?;
        }
        send(port, &buffer[..filled])?;
        hasher.update(&buffer[..filled]);
        len += filled as u64;
        datagrams += 1;
        let cost =
            Duration::from_nanos((filled as u64 + OVERHEAD).saturating_mul(8_000_000_000) / plan.rate.max(1));
        let now = Instant::now();
        next = next.max(now.checked_sub(BURST).unwrap_or(now)) + cost;
    }
    hear(port, &mut slots, next, heard)?;
    send(port, &[])?;
    let (digest, elapsed) = (hasher.finish(), began.elapsed());
    hear_out(port, &mut slots, heard, || true)?;
    Ok(Sent { len, datagrams, digest, elapsed, ending: Ending::Silent })
}

/// Sends each line of `source` as a datagram and tells what is `heard`, both as it comes, until a while after the end of the
/// source.
pub fn converse_datagrams(
    port: &Arc<RawPort>,
    mut source: impl BufRead + Send + 'static,
    heard: &mut dyn FnMut(&[u8]),
) -> Result<Ending, SendError> {
    let far = Arc::clone(port);
    let speak = move || -> Result<(), SendError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut source).take(MAX_DATAGRAM_LEN).read_until(b'\n', &mut line);
            match read.map_err(SendError::Source)? {
                0 => return Ok(()),
                _ => send(&far, &line)?,
            }
        }
    };
    let input = thread::Builder::new().name("input".to_owned()).spawn(speak).map_err(SendError::Source)?;
    hear_out(port, &mut Slots::default(), heard, || input.is_finished())?;
    input.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(Ending::Silent)
}

fn send(port: &RawPort, bytes: &[u8]) -> Result<(), SendError> {
    // It is connected: there is no other place.
    let to = port.peer().ok_or_else(|| LinkError::Broken(io::ErrorKind::NotConnected.into()))?;
    Ok(port.send(to, None, bytes).map_err(LinkError::Broken)?)
}

/// Hears what comes until the deadline.
fn hear(
    port: &RawPort,
    slots: &mut Slots,
    deadline: Instant,
    heard: &mut dyn FnMut(&[u8]),
) -> Result<(), LinkError> {
    while port.receive(slots, Some(deadline), None)? == Ready::Datagrams {
        slots.datagrams().for_each(|datagram| heard(datagram.bytes));
        if Instant::now() >= deadline {
            break;
        }
    }
    Ok(())
}

/// Hears what comes until nothing has come for a while after the end.
fn hear_out(
    port: &RawPort,
    slots: &mut Slots,
    heard: &mut dyn FnMut(&[u8]),
    is_over: impl Fn() -> bool,
) -> Result<(), LinkError> {
    let mut since = Instant::now();
    while since.elapsed() < ANSWER_WAIT {
        if !is_over() {
            since = Instant::now();
        }
        if port.receive(slots, Some(Instant::now() + PAUSE), None)? == Ready::Datagrams {
            slots.datagrams().for_each(|datagram| heard(datagram.bytes));
            since = Instant::now();
        }
    }
    Ok(())
}

/// Fills the buffer from a source: how many bytes, fewer than its length only at the end.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
