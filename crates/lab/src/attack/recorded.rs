//! What can be done with what passed on the wire, and what can be read of it.

use std::fs;

use anyhow::Context as _;

use super::middle::{Middle, Piece, Way, pass};
use super::stranger::{Stranger, say};
use super::wire::STRANGERS_GROWTH;
use super::{Effort, Guard, Row, Target, noise};
use crate::Transport;
use crate::process::LIMIT;

/// Bytes of a server's answer to a first message on TCP: all that a recorded one gets.
const ANSWER: u64 = seal::HELLO_LEN as u64;

/// A good transfer to the target, as somebody on the way sees it.
fn record(target: &mut Target) -> anyhow::Result<Vec<Piece>> {
    let middle = Middle::new(target.transport(), target.address(), Box::new(pass))?;
    let client = target.start_put(middle.address(), &[], "film.bin", &noise(3, 400_000))?;
    target.finish(client)?;
    Ok(middle.seen())
}

pub(super) fn replay(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, Guard::Key, &[])?.with_most_growth(STRANGERS_GROWTH);
    let seen = record(&mut target)?;
    let said: Vec<Vec<u8>> =
        seen.into_iter().filter(|piece| piece.way == Way::Up).map(|piece| piece.bytes).collect();
    let bytes = said.iter().map(Vec::len).sum::<usize>() as u64;
    let times = effort.of(10, 1000);
    let note = match transport {
        Transport::Tcp => {
            for _ in 0..times {
                let back = say(target.address(), &said.concat())?.len() as u64;
                target.demand(back <= ANSWER, format!("{back} bytes to who sent a record again"));
            }
            format!("at most {ANSWER} bytes back each time")
        }
        Transport::Udp => {
            let mut stranger = Stranger::new(target.address(), target.key())?;
            for _ in 0..times {
                said.iter().for_each(|datagram| stranger.send(datagram));
                stranger.settle()?;
            }
            let back = stranger.got.1;
            target.demand(back <= bytes, format!("{back} bytes for {}", stranger.sent.1));
            format!("{back} bytes back for {}", stranger.sent.1)
        }
    };
    target.judge("a whole conversation again", times, note)
}

pub(super) fn replay_pieces(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, Guard::Key, &[])?.with_most_growth(STRANGERS_GROWTH);
    let seen = record(&mut target)?;
    let times = effort.of(1, 20);
    let (mut tried, mut back, mut sent) = (0, 0, 0);
    for _ in 0..times {
        // What the server said, too: that is sent back to where it came from.
        for piece in &seen {
            tried += 1;
            match transport {
                Transport::Tcp => back += say(target.address(), &piece.bytes)?.len() as u64,
                Transport::Udp => {
                    let mut stranger = Stranger::new(target.address(), target.key())?;
                    stranger.send(&piece.bytes);
                    if tried % 64 == 0 {
                        stranger.settle()?;
                    }
                    back += stranger.got.1;
                }
            }
            sent += piece.bytes.len() as u64;
        }
    }
    target.demand(back <= sent, format!("{back} bytes for {sent}"));
    target.judge("single pieces of a conversation again", tried, format!("{back} bytes back for {sent}"))
}

/// What nobody on the way may read.
const SECRETS: [&str; 5] = ["a-telling-name", "telling content", "received-", "-client", "-server"];

pub(super) fn capture(transport: Transport, _effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, Guard::Key, &[])?;
    let middle = Middle::new(transport, target.address(), Box::new(pass))?;
    let text = "telling content ".repeat(20_000);
    let client = target.start_put(middle.address(), &[], "a-telling-name.txt", text.as_bytes())?;
    target.finish(client)?;
    for args in [&["get", "received-a-telling-name.txt"][..], &["ls"], &["echo", "telling content"]] {
        let client = target.start(middle.address(), args)?;
        target.finish(client)?;
    }
    let seen = middle.seen();
    let all = seen.iter().map(|piece| piece.bytes.len()).sum::<usize>();
    for secret in SECRETS {
        let is_there =
            |piece: &Piece| piece.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        target.demand(!seen.iter().any(is_there), format!("{secret} can be read"));
    }
    target.judge(
        "all traffic read",
        seen.len() as u64,
        format!("{all} bytes, no name, no content, no program"),
    )
}

/// The first bytes of a client without a key.
fn clear_start(transport: Transport) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut target = Target::new(transport, Guard::Open, &[])?;
    let seen = record(&mut target)?;
    Ok(seen.into_iter().filter(|piece| piece.way == Way::Up).map(|piece| piece.bytes).collect())
}

/// Both sides are made to believe that the other one has no key.
pub(super) fn downgrade(transport: Transport, effort: Effort) -> anyhow::Result<Row> {
    let mut target = Target::new(transport, Guard::Key, &[])?;
    let clear = clear_start(transport)?;
    // To the server somebody speaks in the clear.
    let mut tried = 0;
    match transport {
        Transport::Tcp => {
            for _ in 0..effort.of(10, 200) {
                let back = say(target.address(), &clear.concat())?.len();
                target.demand(back == 0, format!("{back} bytes to who has no key"));
                tried += 1;
            }
        }
        Transport::Udp => {
            let mut stranger = Stranger::new(target.address(), target.key())?;
            for _ in 0..effort.of(10, 200) {
                clear.iter().for_each(|datagram| stranger.send(datagram));
                tried += 1;
            }
            stranger.settle()?;
            target.demand(stranger.got.1 == 0, format!("{} bytes to who has no key", stranger.got.1));
        }
    }
    // To a client with the key somebody answers in the clear: a server that has none.
    let open = Target::new(transport, Guard::Open, &[])?;
    let middle = Middle::new(transport, open.address(), Box::new(pass))?;
    fs::write(target.from("a-telling-name.bin"), "telling content")?;
    let client = target.start(middle.address(), &["--retry=0", "a-telling-name.bin"])?;
    let output = client.wait(LIMIT).context("a client of a server without a key")?;
    target.demand(!output.status.success(), "a client with a key went on without");
    let told = middle.seen().iter().any(|piece| {
        let has = |secret: &str| piece.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        SECRETS.iter().any(|secret| has(secret) && piece.way == Way::Up)
    });
    target.demand(!told, "a client with a key said something in the clear");
    tried += 1;
    let row = open.judge("", 0, "")?;
    row.lost.into_iter().for_each(|lost| target.lose(lost));
    target.judge(
        "made to speak in the clear",
        tried,
        format!("the client ends with {:?}", output.code().unwrap_or(-1)),
    )
}
