//! Messages and chunks, over good paths and bad ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use framing::{ChunkSet, Message, Part, Refusal};
use link::{Limiter, Link, LinkError, LinkStats, UdpOptions};

use crate::relay::Harm;
use crate::store::{Lens, Sink, Source};
use crate::{Over, WAIT, connect, mtu, relayed, whole, whole_with};

fn all(wanted: &ChunkSet) -> Vec<u64> {
    wanted.ranges().flatten().collect()
}

/// Sends chunks one way, and says that they are over.
fn transfer(
    near: &mut dyn Link,
    far: &mut dyn Link,
    wanted: &ChunkSet,
    source: &mut Source,
    sink: &mut Sink,
) -> ChunkSet {
    let mut missing = wanted.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            near.send_chunks(wanted, source).unwrap();
            near.send(&Message::End(Part::Chunks)).unwrap();
        });
        far.recv_chunks(&mut missing, sink).unwrap();
        while sink.heard == 0 && missing.is_empty() {
            match far.recv(WAIT).unwrap() {
                Message::End(Part::Chunks) => sink.heard += 1,
                other => assert_eq!(other, Message::Working),
            }
        }
    });
    missing
}

/// Sends chunks and checks that all of them come whole: what both sides saw.
fn whole_transfer(near: &mut dyn Link, far: &mut dyn Link, wanted: &ChunkSet, lens: Lens) -> [LinkStats; 2] {
    let mut source = Source { lens: lens.clone(), ..Source::default() };
    let mut sink = Sink { lens, ..Sink::default() };
    let missing = transfer(near, far, wanted, &mut source, &mut sink);
    assert_eq!(missing, ChunkSet::new());
    assert_eq!(source.sent, all(wanted));
    assert!(sink.whole().into_iter().eq(all(wanted)));
    assert!(sink.complete.into_iter().eq(all(wanted)));
    [near.stats().unwrap(), far.stats().unwrap()]
}

/// A message of some 4 KB that tells its number.
fn say(link: &mut dyn Link, number: u32) {
    let sums: Vec<u8> = (number..number + 1000).flat_map(u32::to_be_bytes).collect();
    link.send(&Message::Sums(framing::Sums::new(u64::from(number), &sums).unwrap())).unwrap();
}

fn hear(link: &mut dyn Link, number: u32) {
    match link.recv(WAIT).unwrap() {
        Message::Sums(sums) => {
            assert_eq!(sums.chunks().start, u64::from(number));
            assert!(sums.iter().eq(number..number + 1000));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_side_may_talk_for_long() {
    let (mut near, mut far, _endpoint) = whole();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|number| say(&mut near, number)));
        (0..5000).for_each(|number| hear(&mut *far, number));
    });
}

#[test]
fn both_sides_may_talk_before_they_listen() {
    let (mut near, mut far, _endpoint) = whole();
    std::thread::scope(|scope| {
        // More than the other side's window holds.
        for link in [&mut near as &mut dyn Link, &mut *far] {
            scope.spawn(|| {
                (0..700).for_each(|number| say(link, number));
                (0..700).for_each(|number| hear(link, number));
            });
        }
    });
}

#[test]
fn whole_chunks_cross_on_loopback() {
    let (mut near, mut far, _endpoint) = whole();
    let lens = Lens::from([(17_000, 100), (17_001, 4095)]);
    let wanted = [3..5000, 16_000..17_003].into_iter().collect();
    let [here, there] = whole_transfer(&mut near, &mut *far, &wanted, lens);
    assert_eq!(here.datagram_len, 4119);
    assert!(here.bytes_sent >= wanted.len() * 4096 - 5000 && here.parts_sent >= wanted.len());
    assert_eq!((here.parts_sent, here.datagram_len), (there.parts_sent, there.datagram_len), "{there:?}");
    // The other way, on the same connection.
    whole_transfer(&mut *far, &mut near, &ChunkSet::from(0..3000), Lens::new());
}

#[test]
fn chunks_cross_in_pieces_where_datagrams_are_small() {
    for mtu_len in [1500, 1280] {
        let (mut near, mut far, _endpoint) = whole_with(&mtu(mtu_len));
        let lens = Lens::from([(10, 1), (11, 128), (12, 129), (13, 3000), (999, 4000)]);
        let wanted = [0..1000, 1500..1501, 2000..4000].into_iter().collect();
        let [here, _] = whole_transfer(&mut near, &mut *far, &wanted, lens);
        assert!(here.datagram_len <= mtu_len - 28, "{here:?}");
    }
}

#[test]
fn what_cannot_be_read_is_left_out_and_all_else_is_told_in_order() {
    let (mut near, mut far, _endpoint) = whole_with(&mtu(1500));
    let gone = vec![0..5, 500..510, 511..512, 1990..2000];
    let wanted = ChunkSet::from(0..2000);
    let mut source = Source { gone: gone.clone(), pauses: 50, to_say: 20, ..Source::default() };
    let mut sink = Sink { to_say: 10, ..Sink::default() };
    let missing = transfer(&mut near, &mut *far, &wanted, &mut source, &mut sink);
    assert_eq!(missing, gone.iter().cloned().collect());
    let expected: Vec<u64> =
        (0..2000).filter(|chunk| !gone.iter().any(|gone| gone.contains(chunk))).collect();
    assert_eq!(source.sent, expected);
    assert!(sink.complete.iter().copied().eq(expected));
    while sink.to_say > 0 {
        link::Talk::outgoing(&mut sink, &mut |message| far.send(message)).unwrap();
    }
    while source.heard < 10 {
        assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
        source.heard += 1;
    }
}

#[test]
fn loss_copies_damage_and_disorder_are_repaired() {
    let harm =
        Harm { lose: Some(10), double: Some(20), damage: Some(50), delay: Some(20), longest: Some(1472) };
    let (mut near, mut far, _endpoint, _relay) = relayed(harm);
    let lens = (0..2000).step_by(3).map(|chunk| (chunk, 1 + chunk as usize * 7919 % 4096)).collect();
    let [here, there] = whole_transfer(&mut near, &mut *far, &ChunkSet::from(0..2000), lens);
    assert!(here.packets_lost > 0 && here.parts_sent_again > 0 && here.loss > 0.01, "{here:?}");
    assert_eq!(here.parts_sent, there.parts_sent);
    near.send(&Message::Working).unwrap();
    assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
    near.finish();
    assert!(matches!(far.recv(WAIT), Err(LinkError::Closed)));
}

#[test]
fn a_chunk_that_can_be_read_only_once_is_given_up_when_it_is_lost() {
    let (mut near, mut far, _endpoint, _relay) = relayed(Harm { lose: Some(5), ..Harm::default() });
    let wanted = ChunkSet::from(0..1000);
    let mut source = Source { once: (0..1000).collect(), ..Source::default() };
    let mut sink = Sink::default();
    let missing = transfer(&mut near, &mut *far, &wanted, &mut source, &mut sink);
    assert_eq!(source.sent, all(&wanted));
    let complete: BTreeSet<u64> = sink.complete.iter().copied().collect();
    assert!(complete.iter().all(|chunk| !missing.contains(*chunk)));
    assert_eq!(complete.len() as u64 + missing.len(), 1000);
}

#[test]
fn a_peer_that_moves_is_followed() {
    let (mut near, mut far, _endpoint, relay) = relayed(Harm { lose: Some(50), ..Harm::default() });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let before = relay.passed();
                while relay.passed() < before + 300 && !over.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                relay.rebind();
            }
        });
        let _over = Over(&over);
        whole_transfer(&mut near, &mut *far, &ChunkSet::from(0..2000), Lens::new());
        whole_transfer(&mut *far, &mut near, &ChunkSet::from(0..500), Lens::new());
    });
}

#[test]
fn a_refusal_is_heard_in_the_middle_and_a_break_ends_the_pass() {
    let (mut near, mut far, _endpoint) =
        whole_with(&UdpOptions { rate: Some(20_000_000), ..crate::options() });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wanted = ChunkSet::from(0..100_000);
            // It stops in the middle: what it is sent further waits, or is not taken.
            let mut sink = Sink::default();
            let error = far.recv_chunks(&mut wanted, &mut Stopping(&mut sink)).unwrap_err();
            assert!(matches!(error, LinkError::Stopped));
            far.send(&Message::Refuse { refusal: Refusal::NoSpace, text: "full" }).unwrap();
            far.finish();
        });
        let error = near.send_chunks(&ChunkSet::from(0..100_000), &mut Source::default()).unwrap_err();
        assert!(matches!(error, LinkError::Refused { refusal: Refusal::NoSpace, .. }), "{error}");
    });

    let (mut near, mut far, _endpoint) = whole();
    far.send(&Message::End(Part::Want)).unwrap();
    near.send_chunks(&ChunkSet::from(0..1_000_000), &mut Source::default()).unwrap();
}

/// Takes 25 MB a second.
struct Slow<'a>(&'a mut Sink);

impl link::Talk for Slow<'_> {
    fn outgoing(
        &mut self,
        _: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        Ok(())
    }

    fn incoming(&mut self, _: Message<'_>) -> Result<std::ops::ControlFlow<()>, LinkError> {
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

impl link::ChunkSink for Slow<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.0.chunk_len(chunk)
    }

    fn write(&mut self, run: link::ChunkRun) -> Result<(), LinkError> {
        std::thread::sleep(Duration::from_nanos(run.len() * 40));
        self.0.write(run)
    }
}

struct Stopping<'a>(&'a mut Sink);

impl link::Talk for Stopping<'_> {
    fn outgoing(
        &mut self,
        _: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        Ok(())
    }

    fn incoming(&mut self, _: Message<'_>) -> Result<std::ops::ControlFlow<()>, LinkError> {
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

impl link::ChunkSink for Stopping<'_> {
    fn chunk_len(&self, chunk: u64) -> usize {
        self.0.chunk_len(chunk)
    }

    fn write(&mut self, run: link::ChunkRun) -> Result<(), LinkError> {
        self.0.write(run)?;
        if self.0.complete.len() > 500 { Err(LinkError::Stopped) } else { Ok(()) }
    }
}

#[test]
fn a_rate_is_kept_and_named_as_the_limit() {
    let options = UdpOptions { rate: Some(40_000_000), ..crate::options() };
    let (mut near, mut far, _endpoint) = whole_with(&options);
    let began = Instant::now();
    let [here, there] = whole_transfer(&mut near, &mut *far, &ChunkSet::from(0..1000), Lens::new());
    let rate = 1000.0 * 4096.0 * 8.0 / began.elapsed().as_secs_f64();
    assert!(rate < 44e6, "{rate}");
    assert_eq!((here.limiter, there.limiter), (Limiter::RateLimit, Limiter::RateLimit));
}

#[test]
fn a_slow_receiver_is_named_as_the_limit() {
    let (mut near, mut far, _endpoint) = whole();
    // With this it should know that the path is short, and let little wait; 32 MiB wait at most.
    far.send(&Message::Working).unwrap();
    assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
    std::thread::sleep(Duration::from_millis(100));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut missing, mut sink) = (ChunkSet::from(0..16_000), Sink::default());
            far.recv_chunks(&mut missing, &mut Slow(&mut sink)).unwrap();
            assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
        });
        near.send_chunks(&ChunkSet::from(0..16_000), &mut Source::default()).unwrap();
        near.send(&Message::Working).unwrap();
    });
    assert_eq!(near.stats().unwrap().limiter, Limiter::Receiver);
}

#[test]
fn plain_chunks_arrive_whole_on_a_good_path() {
    let options = UdpOptions { rate: Some(400_000_000), ..crate::options() };
    let (mut near, mut far, _endpoint) = whole_with(&options);
    let wanted: ChunkSet = [5..500, 600..2000].into_iter().collect();
    let lens = Lens::from([(499, 7)]);
    let (missing, report, sink) = plain(&mut near, &mut *far, &wanted, lens);
    assert_eq!((missing, report), (ChunkSet::new(), link::PlainReport::default()));
    assert!(sink.whole().into_iter().eq(all(&wanted)));
}

#[test]
fn what_happened_to_plain_chunks_is_told() {
    let harm = Harm { lose: Some(20), double: Some(30), damage: Some(25), delay: Some(40), longest: None };
    let (mut near, mut far, _endpoint, _relay) = relayed(harm);
    let wanted = ChunkSet::from(0..2000);
    let (missing, report, sink) = plain(&mut near, &mut *far, &wanted, Lens::new());
    // A flipped bit in the header loses the chunk, one in the payload is seen.
    // With a key nobody knows what a damaged one was.
    let damaged = if crate::HAS_KEY { &missing } else { &report.damaged };
    let counts = [&missing, damaged, &report.duplicated, &report.reordered].map(ChunkSet::len);
    assert!(counts.iter().all(|count| (20..400).contains(count)), "{counts:?}");
    let whole = sink.whole();
    let expected: BTreeSet<u64> =
        (0..2000).filter(|chunk| !missing.contains(*chunk) && !report.damaged.contains(*chunk)).collect();
    assert_eq!(whole, expected);
    assert!(sink.complete.iter().all(|chunk| !missing.contains(*chunk)));
}

fn plain(
    near: &mut dyn Link,
    far: &mut dyn Link,
    wanted: &ChunkSet,
    lens: Lens,
) -> (ChunkSet, link::PlainReport, Sink) {
    let mut source = Source { lens: lens.clone(), pauses: 100, to_say: 5, ..Source::default() };
    let mut sink = Sink { lens, lenient: true, to_say: 5, ..Sink::default() };
    let mut missing = wanted.clone();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            near.send_plain(wanted, &mut source).unwrap();
            near.send(&Message::End(Part::Chunks)).unwrap();
        });
        far.recv_plain(&mut missing, &mut sink).unwrap()
    });
    assert_eq!(source.sent, all(wanted));
    (missing, report, sink)
}

/// Both sides of a link go on to a transfer of so many chunks.
fn begin(near: &mut dyn Link, far: &mut dyn Link, chunks: u64) {
    near.begin_transfer(chunks).unwrap();
    far.begin_transfer(chunks).unwrap();
}

#[test]
fn late_parts_of_one_transfer_do_no_harm_in_the_next() {
    let (mut near, mut far, _endpoint, relay) = relayed(Harm::default());
    let first = ChunkSet::from(0..200);
    begin(&mut near, &mut *far, 200);
    relay.hold(40);
    whole_transfer(&mut near, &mut *far, &first, Lens::new());
    // In the next one the chunks of these numbers are others, and shorter.
    begin(&mut near, &mut *far, 200);
    assert_eq!(relay.let_go(), 40);
    let lens: Lens = (0..200).map(|chunk| (chunk, 100)).collect();
    whole_transfer(&mut near, &mut *far, &first, lens.clone());
    // The other way round, and plain, they don't either.
    begin(&mut near, &mut *far, 200);
    whole_transfer(&mut *far, &mut near, &first, lens.clone());
    begin(&mut near, &mut *far, 200);
    let (missing, report, sink) = plain(&mut near, &mut *far, &first, lens);
    assert_eq!((missing, report), (ChunkSet::new(), link::PlainReport::default()));
    assert!(sink.whole().into_iter().eq(all(&first)));
}

#[test]
fn stragglers_of_a_plain_transfer_do_no_harm_in_the_next() {
    let (mut near, mut far, _endpoint, relay) = relayed(Harm::default());
    let chunks = ChunkSet::from(0..20);
    begin(&mut near, &mut *far, 20);
    relay.hold(5);
    let (missing, ..) = plain(&mut near, &mut *far, &chunks, Lens::new());
    assert!(!missing.is_empty());
    let lens: Lens = (0..20).map(|chunk| (chunk, 100)).collect();
    for _ in 0..2 {
        begin(&mut near, &mut *far, 20);
        relay.let_go();
        let (missing, report, _) = plain(&mut near, &mut *far, &chunks, lens.clone());
        assert_eq!((missing, report), (ChunkSet::new(), link::PlainReport::default()));
    }
    begin(&mut near, &mut *far, 20);
    whole_transfer(&mut near, &mut *far, &chunks, lens);
}

#[test]
fn each_transfer_has_its_own_numbers_of_the_path() {
    let (mut near, mut far, _endpoint) = whole_with(&mtu(1500));
    for chunks in [1000, 10, 0, 100] {
        begin(&mut near, &mut *far, chunks);
        let stats = whole_transfer(&mut near, &mut *far, &ChunkSet::from(0..chunks), Lens::new());
        let parts = stats.map(|stats| stats.parts_sent);
        assert!(
            parts.iter().all(|parts| (2 * chunks..=8 * chunks + 20).contains(parts)),
            "{chunks}: {parts:?}"
        );
        begin(&mut near, &mut *far, 3);
        let [_, stats] = whole_transfer(&mut *far, &mut near, &ChunkSet::from(0..3), Lens::new());
        assert!((3..=60).contains(&stats.parts_sent), "the other way: {stats:?}");
    }
}

#[test]
fn many_peers_share_a_socket() {
    let mut endpoint = crate::endpoint();
    let server = link::Listener::local_addr(&endpoint);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                let mut near = connect(server);
                near.send(&Message::Working).unwrap();
                assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
                near.send_chunks(&ChunkSet::from(0..1000), &mut Source::default()).unwrap();
                near.send(&Message::End(Part::Chunks)).unwrap();
                assert!(matches!(near.recv(WAIT), Err(LinkError::Closed)));
            });
        }
        for _ in 0..8 {
            let mut far = crate::accept(&mut endpoint);
            scope.spawn(move || {
                let (mut missing, mut sink) = (ChunkSet::from(0..1000), Sink::default());
                assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
                far.send(&Message::Working).unwrap();
                far.recv_chunks(&mut missing, &mut sink).unwrap();
                assert!(missing.is_empty());
                assert_eq!(far.recv(WAIT).unwrap(), Message::End(Part::Chunks));
                far.finish();
            });
        }
    });
}

#[test]
fn ipv6_works_too() {
    let Ok(mut endpoint) = link::UdpEndpoint::bind("[::1]:0".parse().unwrap(), &crate::options()) else {
        return;
    };
    let mut near = connect(link::Listener::local_addr(&endpoint));
    let mut far = crate::meet(&mut near, &mut endpoint);
    whole_transfer(&mut near, &mut *far, &ChunkSet::from(0..1000), Lens::new());
    let (missing, _, _) = plain(&mut near, &mut *far, &ChunkSet::from(0..50), Lens::new());
    assert!(missing.is_empty());
    // Over an IPv4 address to a socket that takes both.
    let Ok(mut endpoint) = link::UdpEndpoint::bind("[::]:0".parse().unwrap(), &crate::options()) else {
        return;
    };
    let mut near = connect(format!("127.0.0.1:{}", link::Listener::local_addr(&endpoint).port()));
    let mut far = crate::meet(&mut near, &mut endpoint);
    whole_transfer(&mut *far, &mut near, &ChunkSet::from(0..1000), Lens::new());
    let (missing, _, _) = plain(&mut *far, &mut near, &ChunkSet::from(0..50), Lens::new());
    assert!(missing.is_empty());
}
