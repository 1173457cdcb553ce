//! A connection: everything between the packets that come and those that go.

mod acks;
mod incoming;
mod outgoing;
mod timers;
mod train;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use framing::ChunkSet;
use framing::packet::{self, TOKEN_LEN};

use crate::config::Config;
use crate::congestion::{Bbr, Congestion, Controller, Cubic, Fixed};
use crate::control::{ControlReceiver, ControlSender};
use crate::datagrams::{DatagramError, Datagrams};
use crate::end::End;
use crate::gate::Accepted;
use crate::mtu::MtuSearch;
use crate::pacer::Pacer;
use crate::parts::{Claim, Outgoing, in_units};
use crate::received::ReceivedPackets;
use crate::rtt::RttEstimator;
use crate::sent::SentPackets;
use crate::stats::{Footprint, Stats, Trace};

use acks::{Pairs, RoundState};
use timers::Timers;
use train::Trains;

/// Bytes per second of plain chunks unless the user says otherwise: 100 Mbit/s.
const PLAIN_RATE: f64 = 12_500_000.0;

/// The most bytes on their way, whatever the peer says that it has measured: 10 Gbit/s for 0.2 s. Each packet costs memory.
const MAX_IN_FLIGHT: u64 = 256 << 20;
/// How often an address is challenged before it is left alone.
const MAX_CHALLENGES: u32 = 5;
/// Bytes of a packet with a challenge, or with the answer to one.
const CHALLENGE_LEN: usize = packet::DATA_HEADER_LEN + 9 + packet::CRC_LEN;

/// What a packet held for the caller.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Nothing.
    Nothing,
    /// A part of a chunk, and possibly of those that follow.
    Part {
        /// The chunk that it begins in.
        chunk: u64,
        /// The unit that it begins with.
        unit: u8,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// A chunk of a plain transfer. Copies are not held back.
    Plain {
        /// Its number.
        chunk: u64,
        /// Its bytes, as they came.
        payload: &'a [u8],
        /// Whether they are as they were sent.
        intact: bool,
    },
    /// Something that may vanish. Copies are not held back.
    Datagram(&'a [u8]),
}

/// What [`Connection::claim`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Parts to be sent now.
    Ready,
    /// Nothing now; to be asked again then, or when a packet has come.
    Wait {
        /// When, if a packet alone can't change it.
        until: Option<Instant>,
        /// What it waits for.
        why: Waiting,
    },
    /// Every part has arrived or was given up.
    Done,
}

/// What a sender waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Acknowledgements: as much is on its way as may be, or all is.
    Path,
    /// The moment at which the next packet is due.
    Pacing,
    /// The same, because the user wants it no faster.
    RateLimit,
    /// The peer, to take what it has been sent.
    Credit,
}

/// What to put before a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartHeader {
    /// The peer's connection id.
    pub cid: u32,
    /// The packet's number.
    pub pn: u64,
}

/// What to put before a plain chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainHeader {
    /// The peer's connection id.
    pub cid: u32,
    /// The packet's number.
    pub pn: u64,
}

/// How far the connection is.
#[derive(Debug)]
enum Phase {
    /// A client that has heard nothing yet.
    Init { first_echo: u64, sent: Vec<Instant> },
    /// A client that has a token and has heard no Data packet yet.
    Connecting { token: [u8; TOKEN_LEN] },
    /// Both sides know each other.
    Open,
    /// It is over; so many Close packets are to go out still.
    Over { closes: u8 },
}

/// Another address that the peer may have moved to.
#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    challenge: [u8; 8],
    /// When it was challenged last, and how often since it was heard of.
    challenged: Option<Instant>,
    tries: u32,
    /// Bytes that came from it, and that went there.
    came: usize,
    went: usize,
}

impl Candidate {
    /// When it is to be challenged: never with more than three times the bytes that came from it (RFC 9000 section 8.1).
    fn due(&self, now: Instant, rtt: Duration) -> Option<Instant> {
        let may = self.tries < MAX_CHALLENGES && self.went + CHALLENGE_LEN <= 3 * self.came;
        may.then(|| self.challenged.map_or(now, |at| at + rtt.max(Duration::from_millis(20))))
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    phase: Phase,
    end: Option<End>,
    close_reason: (u64, String),
    own_cid: u32,
    peer_cid: u32,
    remote: SocketAddr,
    candidate: Option<Candidate>,
    /// The answer to a challenge, and where it goes.
    response: Option<(SocketAddr, [u8; 8])>,
    random: u64,

    rtt: RttEstimator,
    sent: SentPackets,
    received: ReceivedPackets,
    control_out: ControlSender,
    control_in: ControlReceiver,
    outgoing: Outgoing,
    datagrams: Datagrams,
    mtu: MtuSearch,
    pacer: Pacer,
    plain_pacer: Pacer,
    controller: Box<dyn Controller>,
    timers: Timers,

    /// Bytes on the wire that were acknowledged, and when the last of them was.
    delivered: u64,
    delivered_at: Instant,
    round: RoundState,
    pairs: Pairs,
    trains: Trains,
    /// Whether chunks are, or will soon be, sent from here.
    is_bulk: bool,
    /// Numbers below this were sent while there was nothing better to do.
    app_limited_until: u64,
    /// Whether the next part follows a pause that is no fault of the path.
    after_pause: bool,

    /// Up to where the peer takes parts, and bytes of parts sent and not lost.
    peer_credit: u64,
    part_bytes: u64,
    /// The receiver's side of the same: bytes of parts that came, and that were taken.
    came: u64,
    consumed: u64,
    told_credit: u64,
    told_control_credit: u64,

    /// Packets acknowledged and lost of late, fading.
    recent_acked: f64,
    recent_lost: f64,
    stats: Stats,
}

impl Connection {
    /// A client's end: it will ask `server`. `seed` is random; packets to this end will carry `client_cid`.
    #[must_use]
    pub fn connect(config: Config, server: SocketAddr, client_cid: u32, seed: u64, now: Instant) -> Self {
        let phase = Phase::Init { first_echo: seed, sent: Vec::new() };
        Self::new(config, phase, [client_cid, 0], server, seed, now)
    }

    /// A server's end, for a client whose address is proven.
    #[must_use]
    pub fn accept(config: Config, accepted: Accepted, client: SocketAddr, seed: u64, now: Instant) -> Self {
        let cids = [accepted.server_cid, accepted.client_cid];
        Self::new(config, Phase::Open, cids, client, seed, now)
    }

    fn new(
        config: Config,
        phase: Phase,
        cids: [u32; 2],
        remote: SocketAddr,
        seed: u64,
        now: Instant,
    ) -> Self {
        let max_rate = config.max_rate.map_or(PLAIN_RATE, |bits| bits as f64 / 8.0);
        let controller: Box<dyn Controller> = match config.congestion {
            Congestion::Bbr => Box::new(Bbr::new(seed)),
            Congestion::Cubic => Box::new(Cubic::new()),
            Congestion::Fixed => Box::new(Fixed::new(max_rate)),
        };
        Self {
            phase,
            end: None,
            close_reason: (0, String::new()),
            own_cid: cids[0],
            peer_cid: cids[1],
            remote,
            candidate: None,
            response: None,
            random: seed,
            rtt: RttEstimator::new(),
            sent: SentPackets::new(),
            received: ReceivedPackets::new(),
            control_out: ControlSender::new(),
            control_in: ControlReceiver::default(),
            outgoing: Outgoing::default(),
            datagrams: Datagrams::default(),
            mtu: MtuSearch::new(config.max_datagram),
            pacer: Pacer::new(),
            plain_pacer: Pacer::new(),
            controller,
            timers: Timers::new(now),
            delivered: 0,
            delivered_at: now,
            round: RoundState::new(now),
            pairs: Pairs::default(),
            trains: Trains::default(),
            is_bulk: false,
            app_limited_until: 0,
            after_pause: false,
            peer_credit: 0,
            part_bytes: 0,
            came: 0,
            consumed: 0,
            told_credit: 0,
            told_control_credit: 0,
            recent_acked: 0.0,
            recent_lost: 0.0,
            stats: Stats::default(),
            config,
        }
    }

    /// The connection id that packets to this end carry.
    #[must_use]
    pub const fn cid(&self) -> u32 {
        self.own_cid
    }

    /// Where packets go. It changes when the peer has moved and proven its new address.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the peer has answered, so that everything else can be sent.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Open)
    }

    /// Why it is over; `None` while it lives.
    #[must_use]
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Bytes of a full datagram now (UDP payload).
    #[must_use]
    pub const fn datagram_len(&self) -> usize {
        self.mtu.current() as usize
    }

    /// Says that the socket does not send a datagram of this length.
    pub fn too_big(&mut self, len: usize) {
        self.mtu.too_big(len);
    }

    /// Sends a message: reliable, in order. `false` when too much waits to be acknowledged, or the message is longer than
    /// [`MAX_MESSAGE_LEN`](crate::MAX_MESSAGE_LEN).
    pub fn send_message(&mut self, now: Instant, message: &[u8]) -> bool {
        let pushed = self.end.is_none() && self.control_out.push(message);
        if pushed {
            self.timers.repeat_control(now);
        }
        pushed
    }

    /// The next message of the peer. Those that came before the end are still given after it.
    pub fn recv_message(&mut self) -> Option<Vec<u8>> {
        match self.control_in.pop() {
            Ok(message) => {
                if self.control_in.credit() >= self.told_control_credit + crate::control::WINDOW / 4 {
                    self.received.announce();
                }
                message
            }
            Err(error) => {
                self.misbehaved(error.to_string());
                None
            }
        }
    }

    /// Whether every message has arrived.
    #[must_use]
    pub fn messages_acknowledged(&self) -> bool {
        self.control_out.is_acknowledged()
    }

    /// Sends bytes that may vanish: once, in a packet of their own, as soon as the path allows, and otherwise not at all.
    pub fn send_datagram(&mut self, now: Instant, bytes: &[u8]) -> Result<(), DatagramError> {
        if self.end.is_some() || !self.is_established() {
            return Err(DatagramError::NotOpen);
        }
        let most = self.datagram_room();
        if bytes.len() > most {
            return Err(DatagramError::TooLong { len: bytes.len(), most });
        }
        self.datagrams.push(now, bytes)
    }

    /// Says that so many bytes of chunks will soon be sent: a train of packets will find out what the path carries.
    pub fn expect_bulk(&mut self, now: Instant, bytes: u64) {
        self.is_bulk = true;
        self.timers.probe_mtu(now);
        self.trains.plan(now, bytes);
    }

    /// Begins a pass over these chunks. What is left of an earlier pass is forgotten.
    pub fn begin_chunks(&mut self, wanted: ChunkSet) {
        self.is_bulk = true;
        self.after_pause = true;
        self.outgoing.begin(wanted);
    }

    /// Gives up chunks that can't be read.
    pub fn abandon(&mut self, chunks: std::ops::Range<u64>) {
        self.outgoing.abandon(chunks);
    }

    /// Puts a claim back that was not committed.
    pub fn release(&mut self, claim: &Claim) {
        self.part_bytes -= in_units(claim.len);
        self.outgoing.put_back(claim.id);
    }

    /// Takes note that so many bytes of parts were taken by whoever stores them: the peer may send as many more. A part counts
    /// for the bytes of its units, 128 each.
    pub fn consumed(&mut self, bytes: u64) {
        self.consumed += bytes;
        if self.credit() >= self.told_credit + self.config.window / 4 {
            self.received.announce();
        }
    }

    /// Changes how many bytes of parts may wait here. What was promised stays promised.
    pub fn set_window(&mut self, bytes: u64) {
        self.config.window = bytes;
    }

    /// Up to where the peer may send parts, in bytes since the beginning.
    fn credit(&self) -> u64 {
        (self.consumed + self.config.window).max(self.told_credit)
    }

    /// What it has seen of its path.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            packets_lost: self.sent.lost_packets,
            datagrams_sent: self.datagrams.sent,
            datagrams_dropped: self.datagrams.dropped,
            min_rtt: self.rtt.min(),
            mean_rtt: self.rtt.mean(),
            smoothed_rtt: self.rtt.smoothed(),
            datagram_len: self.mtu.current(),
            loss: self.loss(),
            ..self.stats
        }
    }

    /// What the control law does now.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace {
            pacing_rate: self.pacing_rate(),
            window: self.window(),
            in_flight: self.sent.in_flight(),
            smoothed_rtt: self.rtt.smoothed(),
            state: self.controller.state(),
        }
    }

    /// Whether a whole message waits to be taken.
    #[must_use]
    pub fn has_message(&self) -> bool {
        self.control_in.has_message()
    }

    /// How much it keeps.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint {
            packets: self.sent.len(),
            parts: self.outgoing.len(),
            datagrams: self.datagrams.len(),
            message_bytes: self.control_out.unacknowledged() + self.control_in.held(),
            ranges: self.received.len(),
        }
    }

    /// Ends the connection. [`Self::poll_transmit`] then has the words of farewell.
    pub fn close(&mut self, code: u64, reason: &str) {
        if self.end.is_none() {
            self.end = Some(End::Ours);
            self.say_goodbye(code, reason);
        }
    }

    fn say_goodbye(&mut self, code: u64, reason: &str) {
        let is_known = self.is_established();
        self.close_reason = (code, reason.to_owned());
        // Several at once where some would be lost: nobody asks for it again.
        let closes = if self.loss().max(self.received.loss()) > 0.005 { 4 } else { 1 };
        self.phase = Phase::Over { closes: if is_known { closes } else { 0 } };
    }

    fn misbehaved(&mut self, what: String) {
        if self.end.is_none() {
            self.say_goodbye(1, &what.chars().take(80).collect::<String>());
            self.end = Some(End::Misbehaved(what));
        }
    }

    fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.phase = Phase::Over { closes: 0 };
        }
    }

    /// The share of packets that were lost of late.
    fn loss(&self) -> f64 {
        let all = self.recent_acked + self.recent_lost;
        if all < 32.0 { self.received.loss() } else { self.recent_lost / all }
    }

    fn pacing_rate(&self) -> f64 {
        let rate = self.controller.pacing_rate();
        self.config.max_rate.map_or(rate, |bits| rate.min(bits as f64 / 8.0))
    }

    /// Whether it is the user's limit that the pace is held to, and not the path's.
    fn is_rate_limited(&self) -> bool {
        self.config.max_rate.is_some_and(|bits| self.controller.pacing_rate() >= bits as f64 / 8.0)
    }

    /// Bytes that may be on their way.
    fn window(&self) -> u64 {
        self.controller.window().min(MAX_IN_FLIGHT)
    }

    fn next_random(&mut self) -> u64 {
        // splitmix64: nothing here needs more than to be hard to guess from outside the path.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    const fn wire_len(&self, len: usize) -> u16 {
        (len + self.config.overhead as usize) as u16
    }
}

/// Half a second, for what happens when nothing else does.
const HALF_SECOND: Duration = Duration::from_millis(500);
