//! Clients that stop in the middle: some never read, some hold on to a file that they do not send.

use std::time::{Duration, SystemTime};

use framing::{CHUNK_LEN, ChunkSet, Message};
use lab::Transport;
use lab::process::{LIMIT, Process};
use rustix::process::{Pid, Signal, kill_process};

use super::siege::Siege;
use crate::scene::noise;

over_each_transport!(clients_that_never_read, a_sender_that_stalls, senders_that_leave);

/// Clients ask for a big file, and stop when its first bytes have come.
fn clients_that_never_read(transport: Transport) {
    const CLIENTS: u64 = 20;
    let mut siege = Siege::new(transport, &[]);
    let big = std::fs::File::create(siege.scene.to("big")).unwrap();
    let block = noise(1, 1 << 20);
    (0..200).for_each(|_| std::io::Write::write_all(&mut &big, &block).unwrap());
    let clients: Vec<Process> = (0..CLIENTS)
        .map(|number| {
            let prefix = format!("--prefix=stopped-{number}-");
            siege.scene.start(siege.address(), &["get", "big", &prefix, "--retry", "0s"])
        })
        .collect();
    let began = std::time::Instant::now();
    for (number, client) in clients.iter().enumerate() {
        let begun = format!(".stopped-{number}-big.");
        while !siege.scene.sent_names().iter().any(|name| name.starts_with(&begun)) {
            assert!(began.elapsed() < LIMIT, "a client does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_raw(client.id().cast_signed()).unwrap(), Signal::STOP).unwrap();
    }
    siege.transfer("meanwhile.bin");
    // What they were to get is on the disk of the server once, and in its memory not at all.
    siege.judge("clients that never read what they get", CLIENTS, 4 * CLIENTS, "200 MiB each");
    drop(clients);
}

/// Peers that offer the file that somebody else sends, and then say nothing, or that they are still at it.
fn a_sender_that_stalls(transport: Transport) {
    const CHUNKS: u64 = 100;
    let mut siege = Siege::new(transport, &[]);
    for chatty in [false, true] {
        let name = format!("wanted-{chatty}");
        siege.scene.write(&name, &noise(3, CHUNKS as usize * CHUNK_LEN));
        let file = std::fs::File::open(siege.scene.from(&name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
        let mut peer = siege.peer();
        peer.offer(std::iter::once((name.as_bytes(), CHUNKS * CHUNK_LEN as u64)));
        peer.wait_for_want().unwrap();
        peer.send_chunks(&ChunkSet::from(0..CHUNKS / 2)).unwrap();
        let talk = chatty.then(|| {
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let talker = std::thread::spawn(move || {
                while stopped
                    .recv_timeout(Duration::from_millis(100))
                    .is_err_and(|end| end == std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    peer.say(&Message::Working);
                }
            });
            (stop, talker)
        });
        let client = siege.scene.run(siege.server(), &[&name]);
        siege.demand(client.code() == Some(0), format!("{name} is not taken: {}", client.stderr));
        if let Some((stop, talker)) = talk {
            drop(stop);
            talker.join().unwrap();
        }
    }
    siege.judge("a file that a silent peer holds", 2, 64, "");
}

/// Peers that begin with the same file again and again, and leave: what they leave is one partial file.
fn senders_that_leave(transport: Transport) {
    const PEERS: u64 = 100;
    const CHUNKS: u64 = 20;
    let mut siege = Siege::new(transport, &[]);
    for _ in 0..PEERS {
        let mut peer = siege.peer();
        peer.offer(std::iter::once((&b"left"[..], CHUNKS * CHUNK_LEN as u64)));
        match peer.wait_for_want() {
            Ok(wanted) => {
                let half = wanted.len() as usize / 2;
                peer.send_chunks(
                    &wanted.ranges().flatten().take(half).map(|chunk| chunk..chunk + 1).collect(),
                )
                .unwrap();
            }
            Err(error) => siege.demand(false, format!("it is not taken: {error}")),
        }
    }
    siege.wait_until_idle();
    let parts = siege.scene.parts();
    let bytes: u64 = parts.iter().map(|part| part.metadata().unwrap().len()).sum();
    siege.judge(
        "a file that is begun and left",
        PEERS,
        64,
        format!("{} partial files, {bytes} bytes", parts.len()),
    );
}
