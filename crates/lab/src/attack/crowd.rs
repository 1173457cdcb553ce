//! Many connections that lead nowhere, while others are served.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use framing::packet::{self, Packet};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seal::{Initiator, KEY_LEN, Key};

use super::flood::{address, connect};
use super::pace::Pace;
use super::stranger::{Stranger, clear_init, sealed_init};
use super::wire::STRANGERS_GROWTH;
use super::{Effort, Guard, Row, Target};
use crate::Transport;
use crate::process::LIMIT;

/// How many addresses a crowd comes from.
const ADDRESSES: u64 = 100;
/// Between two bytes of who is slow.
const BYTE: Duration = Duration::from_secs(1);
/// How often it is looked whether the server has let go.
const LOOK: Duration = Duration::from_millis(50);
/// Descriptors that are not for the crowd.
const SPARE: u64 = 500;

/// How a crowd keeps a server waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It says nothing.
    Silent,
    /// It says a byte of a first message every second.
    Slow,
    /// It says a first message that was recorded, and nothing more.
    Answered,
}

pub(super) fn silent(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    crowd("connected, and not a byte", transport, effort, Guard::Key, Manner::Silent)
}

pub(super) fn silent_without_key(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let attack = "no key, connected, and not a byte";
    match transport {
        Transport::Tcp => crowd(attack, transport, effort, Guard::Open, Manner::Silent),
        Transport::Udp => connected(attack, effort),
    }
}

pub(super) fn slow(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    crowd("first message, a byte a second", transport, effort, Guard::Key, Manner::Slow)
}

pub(super) fn half_open(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    match transport {
        Transport::Tcp => {
            crowd("answered, and nothing more", transport, effort, Guard::Key, Manner::Answered)
        }
        Transport::Udp => answered("answered, and nothing more", effort),
    }
}

/// So many connections that wait for nothing, until the server is rid of them all; a file is sent meanwhile.
fn crowd(
    attack: &str,
    transport: Transport,
    effort: Effort,
    guard: Guard,
    manner: Manner,
) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, guard, &[])?.with_most_growth(STRANGERS_GROWTH);
    let before = descriptors(target.id())?;
    // Without one nobody says a first message.
    let key = target.key().cloned().unwrap_or_else(|| Key::from_bytes([0; KEY_LEN]));
    let mut crowd = Vec::new();
    for number in 0..effort.of(300, 3000) {
        let mut stream = connect(address((number % ADDRESSES) as u32), target.address())?;
        if manner == Manner::Answered {
            // It may have been thrown out for somebody else already.
            let _ = stream.write_all(&Initiator::begin(&key)?.1);
        }
        stream.set_nonblocking(true)?;
        crowd.push(stream);
    }
    let tried = crowd.len() as u64;
    target.put("beside.bin", &super::noise(9, 300_000))?;
    let (began, message) = (Instant::now(), Initiator::begin(&key)?.1);
    for byte in message.chunks(1).cycle() {
        let next = Instant::now() + if manner == Manner::Slow { BYTE } else { LOOK };
        while Instant::now() < next {
            crowd.retain(is_open);
            thread::sleep(LOOK);
        }
        if crowd.is_empty() {
            break;
        }
        ensure!(began.elapsed() < LIMIT, "{} connections are kept open", crowd.len());
        if manner == Manner::Slow {
            crowd.retain_mut(|stream| stream.write_all(byte).is_ok());
        }
    }
    let longest = began.elapsed().as_secs_f64();
    let after = settle(target.id(), before)?;
    target.demand(after <= before, format!("{} descriptors", after - before.min(after)));
    let note = format!("a file went through beside them; all were closed after {longest:.0} s");
    target.judge(attack, tried, note)
}

/// Whether the other side has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    let mut stream = stream;
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// How many descriptors a program has open.
fn descriptors(pid: u32) -> anyhow::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd")).context("the server has ended")?.count())
}

/// The same once it has so few, or after a while.
fn settle(pid: u32, few: usize) -> anyhow::Result<usize> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = descriptors(pid)?;
        if now <= few || Instant::now() > deadline {
            return Ok(now);
        }
        thread::sleep(LOOK);
    }
}

/// First packets that are answered, and nobody goes on.
fn answered(attack: &str, effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(Transport::Udp, Guard::Key, &[])?.with_most_growth(STRANGERS_GROWTH);
    let key = target.key().cloned().context("there is no key")?;
    let count = effort.of(500, 10_000);
    for number in 0..count {
        let mut stranger = Stranger::at(address((number % ADDRESSES) as u32), target.address(), Some(&key))?;
        stranger.ask(&sealed_init(&key, number as u32, number)?)?;
    }
    target.put("beside.bin", &super::noise(9, 300_000))?;
    target.judge(attack, count, "the server keeps nothing of them")
}

/// Connections over UDP that are made, and nobody says who they are.
fn connected(attack: &str, effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(Transport::Udp, Guard::Open, &[])?.with_most_growth(2 * STRANGERS_GROWTH);
    let count = effort.of(500, 5000).min(raise_limit()?.saturating_sub(SPARE));
    let mut crowd = Vec::new();
    for number in 0..count {
        let own = address((number % ADDRESSES) as u32);
        let mut stranger = Stranger::at(own, target.address(), None)?;
        let retry = stranger.ask(&clear_init(number as u32, number))?;
        let Ok(Packet::Retry { client_cid, server_cid, token, .. }) = Packet::parse(&retry) else {
            anyhow::bail!("that is no Retry");
        };
        let mut connect = Vec::new();
        packet::begin_connect(&mut connect, server_cid, client_cid, &token, 0);
        packet::put_ping(&mut connect);
        packet::seal(&mut connect, 0);
        stranger.send(&connect);
        crowd.push(stranger);
    }
    target.put("beside.bin", &super::noise(9, 300_000))?;
    let back = crowd.iter().map(Stranger::waiting).sum::<u64>();
    let sent = crowd.iter().map(|stranger| stranger.sent.1).sum::<u64>();
    target.judge(attack, count, format!("a file went through beside them; {back} bytes back for {sent}"))
}

/// Ten thousand connections at once that say nothing, and a transfer.
pub(super) fn ten_thousand(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let count = effort.of(2000, 10_000).min(raise_limit()?.saturating_sub(SPARE));
    let mut target = Target::new(transport, Guard::Key, &[])?.with_most_growth(2 * STRANGERS_GROWTH);
    let key = target.key().cloned().context("there is no key")?;
    let mut pace = Pace::new(&target, effort)?;
    for round in 0..pace.rounds() {
        pace.alone(&mut target)?;
        let (mut streams, mut strangers) = (Vec::new(), Vec::new());
        for number in 0..count {
            let own = address((number % ADDRESSES) as u32);
            match transport {
                Transport::Tcp => streams.push(connect(own, target.address())?),
                Transport::Udp => {
                    let mut stranger = Stranger::at(own, target.address(), None)?;
                    stranger.send(&sealed_init(&key, number as u32, round)?);
                    strangers.push(stranger);
                }
            }
        }
        if transport == Transport::Udp {
            // How many can come at once is what floods are for.
            Stranger::new(target.address(), Some(&key))?.settle()?;
        }
        pace.attacked(&mut target)?;
    }
    let note = format!("{count} at once; {}", pace.judge(&mut target)?);
    target.judge("thousands of connections that say nothing", count, note)
}

/// Lets this program and those that it starts open as many files as it may: how many.
pub(super) fn raise_limit() -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
