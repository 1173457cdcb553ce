//! Little that promises much: manifests, holes and wishes that would have the server take memory, disk and time for them.

use std::time::{Duration, Instant};

use framing::{
    CHUNK_LEN, Checksum, ChunkSet, Get, Hasher, MAX_ENTRIES, Message, Name, PageBuilder, Part, Refusal,
};
use lab::Transport;
use lab::process::LIMIT;
use link::LinkError;

use super::siege::{Peer, Ranges, Siege};

/// What somebody says that is not so, and how.
type Lie = (&'static str, fn(&mut Peer));

/// A length that no file has.
const HUGE: u64 = 1 << 63;
const TIB: u64 = 1 << 40;

over_each_transport!(promises, wishes, false_digests, holes_of_a_tebibyte, many_empty_files);

/// What a peer says that does not fit together, and the server ends the conversation over.
const PROMISES: [Lie; 12] = [
    ("more files than there can be", |peer| peer.put(u32::MAX, HUGE)),
    ("a file that is too long", |peer| peer.offer([(&b"x"[..], HUGE)].into_iter())),
    ("more bytes than can be counted", |peer| {
        let names: Vec<String> = (0..1 << 16).map(|number| format!("x{number}")).collect();
        peer.put(1 << 16, u64::MAX);
        peer.entries(names.iter().map(|name| (name.as_bytes(), 1 << 48)));
    }),
    ("one name twice", |peer| peer.offer([(&b"x"[..], 1), (b"x", 1)].into_iter())),
    ("other bytes than it said", |peer| {
        peer.put(1, 5);
        peer.entries([(&b"x"[..], 6)].into_iter());
        peer.say(&Message::End(Part::Manifest));
    }),
    ("more files than it said", |peer| {
        peer.put(1, 0);
        peer.entries([(&b"x"[..], 0), (b"y", 0)].into_iter());
    }),
    ("fewer files than it said", |peer| {
        peer.put(1 << 20, 0);
        peer.say(&Message::End(Part::Manifest));
    }),
    ("holes behind the end", |peer| {
        peer.put(1, 1);
        peer.entries([(&b"x"[..], 1)].into_iter());
        peer.ranges(Ranges::Holes, std::iter::once(0..u64::MAX));
    }),
    ("too many holes", |peer| {
        peer.put(1, TIB);
        peer.entries([(&b"x"[..], TIB)].into_iter());
        peer.ranges(Ranges::Holes, (0..(1 << 20) + 5000).map(|hole| 2 * hole..2 * hole + 1));
    }),
    ("a digest of no file", |peer| {
        peer.offer([(&b"x"[..], CHUNK_LEN as u64)].into_iter());
        let _ = peer.wait_for_want();
        peer.digests(7..8, Hasher::digest(Checksum::Md5, b""));
    }),
    ("a wish in the wrong place", |peer| {
        peer.offer([(&b"x"[..], CHUNK_LEN as u64)].into_iter());
        peer.ranges(Ranges::Want, std::iter::once(0..1));
    }),
    ("a chunk that nobody asked for", |peer| {
        peer.offer([(&b"x"[..], CHUNK_LEN as u64)].into_iter());
        let _ = peer.wait_for_want();
        let _ = peer.send_chunks(&ChunkSet::from(5..9));
    }),
];

fn promises(transport: Transport) {
    let mut siege = Siege::new(transport, &[]);
    for (what, say) in PROMISES {
        let mut peer = siege.peer();
        say(&mut peer);
        let end = peer.end();
        let is_ended = !matches!(end, LinkError::Silent(_));
        siege.demand(is_ended, format!("{what}: the server waits for more ({end})"));
    }
    siege.judge("promises that do not fit together", PROMISES.len() as u64, 64, "");
}

/// Asks for a file and wishes for chunks of it that it does not have, or too often.
fn wishes(transport: Transport) {
    let mut siege = Siege::new(transport, &[]);
    let file = std::fs::File::create(siege.scene.to("hole")).unwrap();
    file.set_len(TIB).unwrap();
    let wishes: [Lie; 3] = [
        ("behind the end", |peer| peer.ranges(Ranges::Want, std::iter::once(0..u64::MAX))),
        ("too many separate ones", |peer| {
            peer.ranges(Ranges::Want, (0..(1 << 20) + 5000).map(|chunk| 2 * chunk..2 * chunk + 1));
        }),
        ("sums behind the end", |peer| peer.ranges(Ranges::Compare, std::iter::once(5..u64::MAX))),
    ];
    for (what, wish) in wishes {
        let mut peer = siege.peer();
        let mut names = PageBuilder::default();
        names.push(&Name(b"hole"));
        let get = Get { checksum: Checksum::Md5, plain: false, follow: false, names: names.page() };
        peer.say(&Message::Get(get));
        let offered = peer.hear(|message| matches!(message, Message::End(Part::Manifest)).then_some(()));
        siege.demand(offered.is_ok(), "the file is not offered");
        wish(&mut peer);
        let end = peer.end();
        let is_ended = !matches!(end, LinkError::Silent(_));
        siege.demand(is_ended, format!("{what}: the server waits for more ({end})"));
    }
    siege.judge("wishes that cannot be", wishes.len() as u64, 64, "");
}

/// Says of files that nothing has to be sent of that they come to something else.
fn false_digests(transport: Transport) {
    const FILES: u32 = 600;
    let mut siege = Siege::new(transport, &[]);
    let names: Vec<String> = (0..FILES).map(|number| format!("false-{number}")).collect();
    let mut peer = siege.peer();
    let len = |number: usize| (number % 3) as u64 * CHUNK_LEN as u64;
    let files = names.iter().enumerate().map(|(number, name)| (name.as_bytes(), len(number)));
    let bytes: u64 = files.clone().map(|(_, len)| len).sum();
    peer.put(FILES, bytes);
    peer.entries(files);
    peer.ranges(Ranges::Holes, std::iter::once(0..bytes / CHUNK_LEN as u64));
    peer.say(&Message::End(Part::Manifest));
    let wanted = peer.wait_for_want();
    siege.demand(wanted.is_ok_and(|wanted| wanted.is_empty()), "it wants chunks of holes");
    peer.digests(0..FILES, Hasher::digest(Checksum::Md5, b"something else"));
    peer.say(&Message::End(Part::Chunks));
    let mut differ = 0;
    let over = peer.hear(|message| {
        if let Message::Stored(page) = message {
            differ += page.iter().filter(|one| matches!(one.verdict, framing::Verdict::Differs(_))).count();
        }
        matches!(message, Message::End(Part::Transfer)).then_some(())
    });
    siege.demand(over.is_ok(), format!("the transfer did not end: {over:?}"));
    siege.demand(differ == FILES as usize, format!("{differ} of {FILES} differ"));
    let parts = siege.scene.parts().len();
    siege.demand(parts == 0, format!("{parts} partial files are left"));
    siege.judge("digests that nothing comes to", FILES.into(), 64, "");
}

/// Somebody names as many files as he may, and then no more; others do the same.
#[test]
fn a_crowd_of_names() {
    let mut siege = Siege::new(Transport::Tcp, &[]);
    let names: Vec<String> = (0..MAX_ENTRIES).map(|number| format!("name-{number:07}")).collect();
    let entries = || names.iter().map(|name| (name.as_bytes(), 0));
    let mut first = siege.peer();
    first.put(names.len() as u32, 0);
    first.entries(entries());
    // It has heard all of them then.
    siege.wait_until_idle();
    let mut others: Vec<Peer> = (0..5).map(|_| siege.peer()).collect();
    others.iter_mut().for_each(|other| {
        other.put(100_000, 0);
        other.entries(entries().take(100_000));
    });
    for other in &mut others {
        let end = other.end();
        let is_busy = matches!(end, LinkError::Refused { refusal: Refusal::Busy, .. });
        siege.demand(is_busy, format!("it is not told that the server is busy: {end}"));
    }
    // Who has not so many goes on.
    siege.transfer("meanwhile.bin");
    siege.judge("more names than there is room for", 6, 256, "1,048,576 names of one client");
    drop(first);
}

/// Thousands of files that are one hole each: nothing of them has to be sent, and all of them are to be hashed.
fn holes_of_a_tebibyte(transport: Transport) {
    const FILES: u32 = 3000;
    const OPEN: u64 = 400;
    let mut siege = Siege::new(transport, &[]);
    limit_open_files(siege.id(), OPEN);
    let names: Vec<String> = (0..FILES).map(|number| format!("hole-{number}")).collect();
    let mut peer = siege.peer();
    peer.put(FILES, u64::from(FILES) * TIB);
    peer.entries(names.iter().map(|name| (name.as_bytes(), TIB)));
    let chunks = u64::from(FILES) * TIB / CHUNK_LEN as u64;
    peer.ranges(Ranges::Holes, std::iter::once(0..chunks));
    peer.say(&Message::End(Part::Manifest));
    let wanted = peer.wait_for_want().unwrap();
    siege.demand(wanted.is_empty(), "it wants chunks of holes");
    peer.digests(0..FILES, Hasher::digest(Checksum::Md5, b""));
    peer.say(&Message::End(Part::Chunks));
    // Meanwhile others are served, and before long they go first.
    siege.transfer("meanwhile.bin");
    let began = Instant::now();
    while !siege.has_yielding_thread() {
        assert!(began.elapsed() < LIMIT, "no thread makes way");
        std::thread::sleep(Duration::from_millis(50));
    }
    let open = siege.open_files();
    siege.demand((open as u64) < OPEN, format!("{open} files are open"));
    drop(peer);
    siege.wait_until_idle();
    let refused = siege.server().process().stdout().matches("Too many open files").count();
    siege.demand(refused == 0, format!("{refused} files were refused for want of descriptors"));
    siege.judge("files that are one hole of 1 TiB each", FILES.into(), 64, format!("{open} files open"));
}

/// From now on the process may have so many files open.
fn limit_open_files(id: u32, most: u64) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(Pid::from_raw(id.cast_signed()), Resource::Nofile, limit).unwrap();
}

/// Very many files without any bytes, of which the peer knows the digests before the server has made the first.
fn many_empty_files(transport: Transport) {
    const FILES: u32 = 20_000;
    const OPEN: u64 = 400;
    let mut siege = Siege::new(transport, &[]);
    limit_open_files(siege.id(), OPEN);
    let names: Vec<String> = (0..FILES).map(|number| format!("empty/{number}")).collect();
    let mut peer = siege.peer();
    peer.offer(names.iter().map(|name| (name.as_bytes(), 0)));
    peer.wait_for_want().unwrap();
    peer.digests(0..FILES, Hasher::digest(Checksum::Md5, b""));
    peer.say(&Message::End(Part::Chunks));
    let mut stored = 0;
    let over = peer.hear(|message| {
        if let Message::Stored(page) = message {
            stored += page.iter().filter(|one| matches!(one.verdict, framing::Verdict::Stored(_))).count();
        }
        matches!(message, Message::End(Part::Transfer)).then_some(())
    });
    siege.demand(over.is_ok(), format!("the transfer did not end: {over:?}"));
    siege.demand(stored == FILES as usize, format!("{stored} of {FILES} were stored"));
    siege.judge("empty files, all at once", FILES.into(), 64, "");
}
