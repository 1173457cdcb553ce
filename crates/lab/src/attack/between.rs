//! What somebody on the way can do to the conversation of two who have the key.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use framing::packet;

use super::middle::{Hands, Middle, Piece, Way, pass};
use super::{Dice, Effort, Guard, Row, Target, noise};
use crate::Transport;

/// What goes in the place of a piece.
type Sent = Vec<(Way, Vec<u8>)>;

/// Counts what was done.
#[derive(Debug, Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Count {
    fn add(&self, more: usize) {
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A file goes to a server and back, past these hands, which do something to a piece now and then: both must be whole.
fn suffer(
    attack: &str,
    transport: Transport,
    effort: Effort,
    hands: impl FnOnce(Count) -> Hands,
) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, Guard::Key, &[])?;
    let count = Count::default();
    let middle = Middle::new(transport, target.address(), hands(count.clone()))?;
    let film = noise(3, effort.of(2_000_000, 30_000_000) as usize);
    let client = target.start_put(middle.address(), &[], "film.bin", &film)?;
    target.finish(client)?;
    let back = target.start(middle.address(), &["get", "received-film.bin", "--prefix=back-"])?;
    target.finish(back)?;
    let same = fs::read(target.from("back-received-film.bin")).is_ok_and(|back| back == film);
    target.demand(same, "the file did not come back as it was");
    let sessions = middle.seen().iter().map(|piece| piece.session + 1).max().unwrap_or_default();
    let tried = count.get();
    target.demand(tried > 0, "nothing was tried");
    let note = match transport {
        Transport::Tcp => format!("whole there and back, in {sessions} connections"),
        Transport::Udp => "whole there and back".to_owned(),
    };
    target.judge(attack, tried, note)
}

/// Does something to one record of each of the first connections, another one and the other way each time, and so often.
fn once_each(most: u64, count: Count, mut act: impl FnMut(&Piece) -> Sent + Send + 'static) -> Hands {
    let mut done = HashMap::new();
    Box::new(move |piece| {
        let way = if piece.session % 3 == 2 { Way::Down } else { Way::Up };
        let at = 1 + piece.session / 3 % 6;
        let is_now = piece.way == way && piece.index >= at && count.get() < most;
        if !is_now || done.insert(piece.session, ()).is_some() {
            return pass(piece);
        }
        count.add(1);
        act(piece)
    })
}

/// How many connections are attacked over TCP: each costs the client a pause before the next, and it gives up after 30 seconds
/// in which nothing got through.
const CONNECTIONS: u64 = 6;

pub(super) fn flips(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut dice = Dice::new(1);
    let mut flip = move |piece: &Piece| {
        let mut bytes = piece.bytes.clone();
        let bit = dice.below(8 * bytes.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        vec![(piece.way, bytes)]
    };
    suffer("bits flipped in a transfer", transport, effort, |count| match transport {
        Transport::Tcp => once_each(CONNECTIONS, count, flip),
        Transport::Udp => {
            let mut dice = Dice::new(2);
            Box::new(move |piece| {
                if dice.below(10) > 0 {
                    return pass(piece);
                }
                count.add(1);
                flip(piece)
            })
        }
    })
}

pub(super) fn repeats(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    suffer("records and packets sent again", transport, effort, |count| match transport {
        Transport::Tcp => once_each(CONNECTIONS, count, |piece| [pass(piece), pass(piece)].concat()),
        Transport::Udp => {
            let (mut dice, mut old) = (Dice::new(3), Vec::new());
            Box::new(move |piece| {
                old.push((piece.way, piece.bytes.clone()));
                let again = old[dice.below(old.len() as u64) as usize].clone();
                count.add(2);
                [pass(piece), pass(piece), vec![again]].concat()
            })
        }
    })
}

pub(super) fn reordering(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    suffer("records and packets in another order", transport, effort, |count| match transport {
        Transport::Tcp => {
            let mut held: HashMap<usize, Sent> = HashMap::new();
            let mut hold = once_each(CONNECTIONS, count, |_| Vec::new());
            Box::new(move |piece| {
                let now = hold(piece);
                if now.is_empty() {
                    held.insert(piece.session, pass(piece));
                    // Nothing at all would cut it.
                    return vec![(piece.way, Vec::new())];
                }
                let is_late = held.get(&piece.session).is_some_and(|late| late[0].0 == piece.way);
                let late = if is_late { held.remove(&piece.session) } else { None };
                [now, late.unwrap_or_default()].concat()
            })
        }
        Transport::Udp => {
            let (mut dice, mut held) = (Dice::new(4), [Vec::new(), Vec::new()]);
            Box::new(move |piece| {
                let held = &mut held[piece.way as usize];
                held.push((piece.way, piece.bytes.clone()));
                // The first ones go as they come, so that there is a conversation.
                if piece.index > 4 && held.len() < 8 && dice.below(3) > 0 {
                    return Vec::new();
                }
                count.add(held.len());
                held.drain(..).rev().collect()
            })
        }
    })
}

pub(super) fn reflection(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let back = |piece: &Piece| {
        let other = if piece.way == Way::Up { Way::Down } else { Way::Up };
        vec![(other, piece.bytes.clone()), (piece.way, piece.bytes.clone())]
    };
    suffer("sent back to where it came from", transport, effort, |count| match transport {
        Transport::Tcp => once_each(CONNECTIONS, count, back),
        Transport::Udp => Box::new(move |piece| {
            count.add(1);
            back(piece)
        }),
    })
}

pub(super) fn splicing(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    suffer("pieces of another session, same key", transport, effort, |count| {
        let mut first: HashMap<(Way, usize), Vec<u8>> = HashMap::new();
        let mut other = move |piece: &Piece| {
            if piece.session == 0 {
                first.insert((piece.way, piece.index), piece.bytes.clone());
            }
            first.get(&(piece.way, piece.index)).cloned().unwrap_or_default()
        };
        match transport {
            Transport::Tcp => {
                // The one before goes in the place of this one, and so does what came first of all.
                let mut replace = once_each(CONNECTIONS, count, |_| Vec::new());
                Box::new(move |piece| {
                    let old = other(piece);
                    let is_now = piece.session > 0 && !old.is_empty() && replace(piece).is_empty();
                    if is_now {
                        return vec![(piece.way, old)];
                    }
                    // Somebody has to cut the first one, so that there is a second.
                    if piece.session == 0 && piece.index == 12 { Vec::new() } else { pass(piece) }
                })
            }
            Transport::Udp => Box::new(move |piece| {
                let old = other(piece);
                if piece.session == 0 || old.is_empty() {
                    return pass(piece);
                }
                // With the id of this session, and as it was.
                let mut dressed = old.clone();
                if let (Some(id), Some(own)) =
                    (dressed.get_mut(packet::field::CID), piece.bytes.get(packet::field::CID))
                {
                    id.copy_from_slice(own);
                }
                count.add(2);
                vec![(piece.way, dressed), (piece.way, old), (piece.way, piece.bytes.clone())]
            }),
        }
    })
}

/// A copy of the first packet asks for an answer that the client does not wait for, and comes before it.
pub(super) fn echoes(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    suffer("first packet before it, another echo", transport, effort, |count| {
        Box::new(move |piece| {
            let mut copy = piece.bytes.clone();
            if piece.way == Way::Down || copy.len() != seal::datagram::INIT_LEN || copy[0] != 0xd1 {
                return pass(piece);
            }
            copy[packet::field::ECHO.start] ^= 1;
            count.add(1);
            vec![(Way::Up, copy), (Way::Up, piece.bytes.clone())]
        })
    })
}

pub(super) fn injection(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    suffer("forged, from the client's address", transport, effort, |count| {
        let mut dice = Dice::new(5);
        Box::new(move |piece| {
            let mut sent = Vec::new();
            if let Some(id) = piece.bytes.get(packet::field::CID).filter(|_| piece.index > 4) {
                let id = id.first_chunk().copied().map_or(0, u32::from_be_bytes);
                let pn = piece.bytes.get(packet::field::PN).and_then(|pn| pn.first_chunk());
                let pn = pn.copied().map_or(0, u32::from_be_bytes);
                sent = forged(id, pn, &mut dice).into_iter().map(|bytes| (piece.way, bytes)).collect();
                count.add(sent.len());
            }
            sent.extend(pass(piece));
            sent
        })
    })
}

/// What could end a connection of this id, or confuse it, if it were believed: clear packets with good checksums, and sealed
/// ones of who does not know the secrets.
fn forged(id: u32, pn: u32, dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new(); 4];
    packet::begin_data(&mut all[0], id, u64::from(pn) + 1);
    packet::put_close(&mut all[0], packet::CLOSE_PROTOCOL, "forged");
    packet::seal(&mut all[0], 0);
    packet::reset(&mut all[1], id, pn, 0);
    all[2] = noise(dice.next(), 200);
    all[2][0] = 0xd4;
    all[3] = noise(dice.next(), seal::datagram::RESET_LEN);
    all[3][0] = 0xd5;
    for sealed in &mut all[2..] {
        sealed[packet::field::CID].copy_from_slice(&id.to_be_bytes());
        sealed[packet::field::PN].copy_from_slice(&pn.wrapping_add(1).to_be_bytes());
    }
    all
}
