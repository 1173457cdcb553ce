//! First messages of who does not have the key, or says nothing sensible.

use anyhow::Context as _;
use framing::packet;
use seal::{Initiator, KEY_LEN, Key};

use super::stranger::{Stranger, say, sealed_init};
use super::{Dice, Effort, Guard, Row, Target};
use crate::Transport;

/// How much more memory a server may take because of strangers who have nothing to say, in KiB.
pub(super) const STRANGERS_GROWTH: u64 = 8 * 1024;

/// A server with a key, and what a stranger has got from it so far.
struct Siege {
    target: Target,
    stranger: Option<Stranger>,
    tried: u64,
    back: u64,
}

impl Siege {
    fn new(transport: Transport, guard: Guard) -> anyhow::Result<Self> {
        let target = Target::new(transport, guard, &[])?.with_most_growth(STRANGERS_GROWTH);
        let stranger = match transport {
            Transport::Tcp => None,
            Transport::Udp => Some(Stranger::new(target.address(), target.key())?),
        };
        Ok(Self { target, stranger, tried: 0, back: 0 })
    }

    fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.tried += 1;
        match &mut self.stranger {
            Some(stranger) => stranger.send(bytes),
            None => self.back += say(self.target.address(), bytes)?.len() as u64,
        }
        Ok(())
    }

    /// Bytes that came back, once all was judged.
    fn back(&mut self) -> anyhow::Result<u64> {
        if let Some(stranger) = &mut self.stranger {
            stranger.settle()?;
            self.back = stranger.got.1;
        }
        Ok(self.back)
    }

    /// Ends it. A server with a key says nothing to strangers.
    fn end_in_silence(mut self, attack: &str) -> anyhow::Result<Row> {
        let back = self.back()?;
        self.target.demand(back == 0, format!("{back} bytes to strangers"));
        self.target.judge(attack, self.tried, "not one byte back")
    }
}

/// The first message of a client, made with a key.
fn first_message(transport: Transport, key: &Key, number: u32) -> anyhow::Result<Vec<u8>> {
    match transport {
        Transport::Tcp => Ok(Initiator::begin(key)?.1.to_vec()),
        Transport::Udp => sealed_init(key, number, u64::from(number)),
    }
}

pub(super) fn another_key(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut siege = Siege::new(transport, Guard::Key)?;
    for number in 0..effort.of(200, 10_000) {
        // Of each half the keys are almost right.
        let mut key = [0; KEY_LEN];
        key[number as usize % KEY_LEN] = number as u8 | 1;
        siege.say(&first_message(transport, &Key::from_bytes(key), number as u32)?)?;
    }
    siege.end_in_silence("another key")
}

pub(super) fn flipped(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut siege = Siege::new(transport, Guard::Key)?;
    let key = siege.target.key().cloned().context("there is no key")?;
    for number in 0..effort.of(1, 10) {
        let good = first_message(transport, &key, number as u32)?;
        for bit in 0..good.len() * 8 {
            // What is to be sent back says nothing to the server and proves nothing.
            if transport == Transport::Udp && packet::field::ECHO.contains(&(bit / 8)) {
                continue;
            }
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            siege.say(&bad)?;
        }
    }
    siege.end_in_silence("first message, each bit flipped")
}

pub(super) fn cut(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut siege = Siege::new(transport, Guard::Key)?;
    let key = siege.target.key().cloned().context("there is no key")?;
    for number in 0..effort.of(4, 40) {
        let good = first_message(transport, &key, number as u32)?;
        for len in 0..good.len() {
            siege.say(&good[..len])?;
        }
    }
    siege.end_in_silence("first message, cut at each length")
}

pub(super) fn garbage_to_key(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    garbage("garbage, server with a key", transport, effort, Guard::Key)
}

pub(super) fn garbage_to_open(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    garbage("garbage, server without a key", transport, effort, Guard::Open)
}

/// Bytes of chance, most of them behind a beginning that makes the server look closer.
fn garbage(attack: &str, transport: Transport, effort: Effort, guard: Guard) -> anyhow::Result<Row> {
    let mut siege = Siege::new(transport, guard)?;
    let mut dice = Dice::new(6);
    let count = match transport {
        Transport::Tcp => effort.of(300, 10_000),
        Transport::Udp => effort.of(5_000, 500_000),
    };
    let mut sent = 0;
    for number in 0..count {
        let len = dice.below(1400) as usize;
        let mut bytes = super::noise(dice.next(), len);
        let beginnings: [&[u8]; 4] = match transport {
            Transport::Tcp => [b"TDS\x01", b"TD\x01\x01", b"TD\x01\x02", b""],
            Transport::Udp => [b"\xd1TDU\x01", b"\xd3TDU\x01", b"\xc1TDU\x01", b""],
        };
        let beginning = beginnings[dice.below(4) as usize];
        let most = beginning.len().min(len);
        bytes[..most].copy_from_slice(&beginning[..most]);
        siege.say(&bytes)?;
        sent += len as u64;
        // A flood is another attack: here all are to be judged.
        if number % 256 == 255 {
            siege.back()?;
        }
    }
    let back = siege.back()?;
    siege.target.demand(back <= sent, format!("{back} bytes for {sent}"));
    let note = format!("{back} bytes back for {sent}");
    let Siege { target, tried, .. } = siege;
    target.judge(attack, tried, note)
}
