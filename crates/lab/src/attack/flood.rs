//! First messages, as many as somebody can send, while others are served.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use seal::{Initiator, KEY_LEN, Key};
use socket2::{Domain, SockRef, Socket, Type};

use super::pace::Pace;
use super::stranger::{clear_init, sealed_init};
use super::wire::STRANGERS_GROWTH;
use super::{Effort, Guard, Row, Target};
use crate::Transport;

/// How many different messages are made before.
const MESSAGES: u32 = 512;
/// How many connections of a flood are open at a time.
const OPEN: usize = 400;
/// How many addresses it comes from.
const ADDRESSES: u32 = 200;
/// How often it catches up with its rate.
const TICK: Duration = Duration::from_millis(2);

/// Datagrams, or connections, in a second. A server of a debug build takes thirty times as long for
/// each, and has a busy machine.
const fn rate(transport: Transport, effort: Effort) -> u64 {
    match transport {
        Transport::Tcp => effort.of(200, 2_000),
        Transport::Udp => effort.of(300, 20_000),
    }
}

/// An address of this machine: on loopback all of 127.0.0.0/8 can send.
pub(super) fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x7f02_0001 + number).into()
}

/// A connection from an address of this machine. What it said last is lost when it is dropped, and the port is free at once.
pub(super) fn connect(own: IpAddr, server: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::new(own, 0).into()).with_context(|| format!("cannot bind {own}"))?;
    socket.connect(&server.into()).context("cannot connect")?;
    Ok(socket.into())
}

pub(super) fn of_strangers(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    flood("flood of first messages, another key", transport, effort, Guard::Key, |_, number| {
        let mut key = [1; KEY_LEN];
        key[..4].copy_from_slice(&number.to_le_bytes());
        first_message(transport, &Key::from_bytes(key), number)
    })
}

pub(super) fn of_recorded(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    flood("flood of first messages, recorded", transport, effort, Guard::Key, |target, number| {
        first_message(transport, target.key().context("there is no key")?, number)
    })
}

pub(super) fn without_key(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    flood("flood of first messages, no key", transport, effort, Guard::Open, |_, number| {
        Ok(match transport {
            Transport::Tcp => Vec::new(),
            Transport::Udp => clear_init(number, u64::from(number)),
        })
    })
}

fn first_message(transport: Transport, key: &Key, number: u32) -> anyhow::Result<Vec<u8>> {
    match transport {
        Transport::Tcp => Ok(Initiator::begin(key)?.1.to_vec()),
        Transport::Udp => sealed_init(key, number, u64::from(number)),
    }
}

fn flood(
    attack: &str,
    transport: Transport,
    effort: Effort,
    guard: Guard,
    message: impl Fn(&Target, u32) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<Row> {
    let target = Target::new(transport, guard, &[])?;
    let messages = (0..MESSAGES).map(|number| message(&target, number)).collect::<Result<Vec<_>, _>>()?;
    // The transfers that go on beside it need memory, too.
    let mut target = target.with_most_growth(2 * STRANGERS_GROWTH);
    let mut pace = Pace::new(&target, effort)?;
    let mut sent = 0;
    for _ in 0..pace.rounds() {
        pace.alone(&mut target)?;
        let flood = Flood::start(transport, rate(transport, effort), target.address(), messages.clone());
        pace.attacked(&mut target)?;
        sent += flood.stop()?;
    }
    let each = match transport {
        Transport::Tcp => "connections",
        Transport::Udp => "datagrams",
    };
    let note = format!("{} {each} a second; {}", rate(transport, effort), pace.judge(&mut target)?);
    target.judge(attack, sent, note)
}

/// Goes on until it is stopped.
struct Flood {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Flood {
    fn start(transport: Transport, rate: u64, server: SocketAddr, messages: Vec<Vec<u8>>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut sender = Sender::new(transport, server)?;
            let (began, mut sent) = (Instant::now(), 0_u64);
            while !seen.load(Ordering::Relaxed) {
                let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
                // Who can't keep up does not catch up all at once.
                for _ in 0..due.saturating_sub(sent).min(100) {
                    sender.send(&messages[sent as usize % messages.len()]);
                    sent += 1;
                }
                thread::sleep(TICK);
            }
            Ok(sent)
        });
        Self { is_over, thread }
    }

    /// How many were sent.
    fn stop(self) -> anyhow::Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(sent) => sent,
            Err(_) => bail!("a thread that attacks has failed"),
        }
    }
}

/// What a flood comes out of.
enum Sender {
    Tcp { server: SocketAddr, open: VecDeque<TcpStream>, number: u32 },
    Udp { sockets: Vec<UdpSocket>, number: usize },
}

impl Sender {
    fn new(transport: Transport, server: SocketAddr) -> anyhow::Result<Self> {
        if transport == Transport::Tcp {
            return Ok(Self::Tcp { server, open: VecDeque::new(), number: 0 });
        }
        let socket = |number| {
            let socket = UdpSocket::bind((address(number), 0))?;
            // What comes back is thrown away where nobody looks.
            SockRef::from(&socket).set_recv_buffer_size(1)?;
            socket.connect(server)?;
            Ok(socket)
        };
        let sockets = (0..ADDRESSES).map(socket).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self::Udp { sockets, number: 0 })
    }

    fn send(&mut self, message: &[u8]) {
        match self {
            // What can't be sent is lost.
            Self::Udp { sockets, number } => {
                *number = (*number + 1) % sockets.len();
                let _ = sockets[*number].send(message);
            }
            Self::Tcp { server, open, number } => {
                *number = (*number + 1) % ADDRESSES;
                if open.len() >= OPEN {
                    open.pop_front();
                }
                if let Ok(mut stream) = connect(address(*number), *server) {
                    let _ = stream.write_all(message);
                    open.push_back(stream);
                }
            }
        }
    }
}
